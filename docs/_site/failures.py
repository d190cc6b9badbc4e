"""What does not hold in this build: a box in its place, and a note at the top of the page that leads to each box.

A build that fails writes no pages. `mkdocs serve` shows them, and must not say what it knows to be untrue.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import NamedTuple


class Statement(NamedTuple):
    """A claim as a page made it."""

    name: str
    holds: bool
    failure: str = ""  # the id of the box that says that it does not hold


@dataclass
class Failure:
    """One thing that failed."""

    uri: str  # the page's source, "" where no page was being rendered
    where: str  # "docs/page.md:12"
    message: str  # the claim's name, or the error's own words
    place: str = ""  # the line of a snippet, "snippets/world/exp1_floor.py:8"
    values: str = ""  # what a claim compared
    claim: bool = False
    identity: str = ""  # of its box

    def line(self) -> str:
        """The failure for the log."""
        kind = "claim does not hold: " if self.claim else ""
        measured = f"\n    measured: {self.values}" if self.values else ""
        return f"{self.where}: {f'({self.place}) ' if self.place else ''}{kind}{self.message}{measured}"


def box(failure: Failure) -> str:
    """The failure where the result should have stood. One line, so that it may stand in Markdown."""
    kind = "This does not hold in this build" if failure.claim else "This could not be computed"
    parts = [f'<p class="mm-failure__kind">{kind}</p>']
    lines = html.escape(failure.message).split("\n")
    parts.append(f'<p class="mm-failure__what">{"<br>".join(lines)}</p>')
    if failure.values:
        parts.append(
            f'<p class="mm-failure__values">Measured: <code>{html.escape(failure.values)}</code></p>'
        )
    places = "".join(
        f"<code>{html.escape(place)}</code>" for place in (failure.where, failure.place) if place
    )
    parts.append(f'<p class="mm-failure__where">{places}</p>')
    return f'<div class="mm-failure" id="{failure.identity}" data-search-exclude>{"".join(parts)}</div>'


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
