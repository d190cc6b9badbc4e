"""Claims: what the pages say of their own measurements, counted, listed, and said at the end of the build."""

from __future__ import annotations

from typing import Any

from mkdocs.exceptions import PluginError

from .markup import escape
from .state import build, log

MARK = "<!-- claims -->"


def place(files: Any) -> None:
    """Fill in the table of all claims, once every page has run."""
    for file in files.documentation_pages():
        if file.page and file.page.content and MARK in file.page.content:
            file.page.content = file.page.content.replace(MARK, _table(file, files))


def _table(here: Any, files: Any) -> str:
    rows = []
    for uri, names in sorted(build.claims.items()):
        if not names:
            continue
        file = files.get_file_from_path(uri)
        link = f'<a href="{file.url_relative_to(here)}">{escape(str(file.page.title))}</a>'
        for number, name in enumerate(names):
            first = f'<th scope="row" rowspan="{len(names)}">{link}</th>' if number == 0 else ""
            rows.append(f"<tr>{first}<td>{escape(name)}</td></tr>")
    total = sum(map(len, build.claims.values()))
    if not rows:
        return "<p>No page makes a claim yet.</p>"
    return (
        f"<p>{total} claims, and in this build all of them hold.</p>"
        '<table class="mm-claims-table"><thead><tr>'
        '<th scope="col">Page</th><th scope="col">Claim</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def report() -> None:
    """Print the count; fail the build if anything on any page failed."""
    holding = sum(map(len, build.claims.values()))
    log.info("claims: %d of %d hold", holding, holding + build.failed_claims)
    if build.failures and build.command != "serve":
        places = ", ".join(dict.fromkeys(build.failures))
        raise PluginError(f"{len(build.failures)} failure(s), each named above: {places}")
