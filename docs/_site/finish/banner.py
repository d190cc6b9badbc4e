"""A note at the top of a page of which something does not hold in this build; it leads to the box of each failure.

A build that fails writes no pages. `mkdocs serve` shows them, and must not say what it knows to be untrue.
"""

from __future__ import annotations

import html
from typing import Any

from ..run.failure import Failure
from ..run.state import build


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """The note, below the page's title."""
    return banner(content, build.failed(page.file.src_uri))


def banner(content: str, failures: list[Failure]) -> str:
    """A page with a note below its title that says how much of it does not hold, and where."""
    if not failures:
        return content
    claims = sum(failure.claim for failure in failures)
    others = len(failures) - claims
    parts = []
    if claims:
        parts.append(
            f"{claims} statement{'s' * (claims > 1)} of this page {'do' if claims > 1 else 'does'} not hold"
        )
    if others:
        parts.append(
            f"{others} {'parts' if others > 1 else 'part'} of {'it' if claims else 'this page'} failed"
        )
    rows = "".join(f"<li>{_link(failure, content)}</li>" for failure in failures)
    note = (
        '<div class="mm-banner" role="note" data-search-exclude>'
        f"<p><strong>In this build, {' and '.join(parts)}.</strong> "
        "What the text says near these places may be wrong here:</p>"
        f"<ul>{rows}</ul></div>"
    )
    head, title, rest = content.partition("</h1>")
    return f"{head}{title}{note}{rest}" if title else note + content


def _link(failure: Failure, content: str) -> str:
    text = html.escape(failure.message.split("\n")[0])
    # A value inside of a tag has no box that a link could lead to.
    if f'id="{failure.identity}"' not in content:
        return f"{text} (<code>{html.escape(failure.where)}</code>)"
    return f'<a href="#{failure.identity}">{text}</a>'
