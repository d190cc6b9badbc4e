"""Claims: what the pages say of their own measurements, counted, listed, and said at the end of the build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

from ..marks.markup import escape
from ..run.failure import Statement
from ..run.state import build, log

MARK = "<!-- claims -->"
FILE = "claims.json"
"""In the built site: for each page its claims, with whether each holds. compare_claims.py reads it."""


def on_env(env: Any, config: Any, files: Any) -> None:
    place(files)
    report()


def place(files: Any) -> None:
    """Fill in the table of all claims, once every page has run."""
    for file in files.documentation_pages():
        if file.page and file.page.content and MARK in file.page.content:
            file.page.content = file.page.content.replace(
                MARK, _summary() + _failed(file, files) + _table(file, files)
            )


def _counts() -> tuple[int, int]:
    """How many claims there are, and how many of them do not hold."""
    every = [statement for statements in build.claims.values() for statement in statements]
    return len(every), sum(not statement.holds for statement in every)


def _summary() -> str:
    total, false = _counts()
    if not total:
        return "<p>No page makes a claim yet.</p>"
    if not false:
        return f"<p>{total} claims, and in this build all of them hold.</p>"
    good = total - false
    says = f"{good} {'holds' if good == 1 else 'hold'} and {false} {'does' if false == 1 else 'do'} not"
    return f"<p>{total} claims; in this build {says}.</p>"


def _failed(here: Any, files: Any) -> str:
    """What else failed: whatever it would have claimed is missing from the count."""
    rows = []
    for failure in build.failures:
        file = files.get_file_from_path(failure.uri) if failure.uri and not failure.claim else None
        if file:
            link = f'<a href="{file.url_relative_to(here)}#{failure.identity}">{escape(failure.where)}</a>'
            rows.append(f"<li>{link}: {escape(failure.message.splitlines()[0])}</li>")
    if not rows:
        return ""
    return f"<p>What failed besides, so that its claims may be missing below:</p><ul>{''.join(rows)}</ul>"


def _table(here: Any, files: Any) -> str:
    rows = []
    for uri, statements in sorted(build.claims.items()):
        file = files.get_file_from_path(uri)
        address = file.url_relative_to(here)
        link = f'<a href="{address}">{escape(str(file.page.title))}</a>'
        for number, statement in enumerate(statements):
            first = f'<th scope="row" rowspan="{len(statements)}">{link}</th>' if number == 0 else ""
            rows.append(f"<tr>{first}{_cell(statement, address)}</tr>")
    if not rows:
        return ""
    return (
        '<table class="mm-claims-table"><thead><tr>'
        '<th scope="col">Page</th><th scope="col">Claim</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _cell(statement: Statement, address: str) -> str:
    if statement.holds:
        return f"<td>{escape(statement.name)}</td>"
    where = f'<a href="{address}#{statement.failure}">does not hold</a>'
    return f'<td class="is-false">{escape(statement.name)}: {where}</td>'


def report() -> None:
    """Print the count; fail the build if anything on any page failed."""
    total, false = _counts()
    log.info("claims: %d of %d hold", total - false, total)
    if build.failures and build.command != "serve":
        places = ", ".join(dict.fromkeys(failure.where for failure in build.failures))
        raise PluginError(f"{len(build.failures)} failure(s), each named above: {places}")


def on_post_build(config: Any) -> None:
    """Write all claims into the built site."""
    claims = {uri: [statement[:2] for statement in made] for uri, made in sorted(build.claims.items())}
    (Path(config.site_dir) / FILE).write_text(
        json.dumps(claims, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
