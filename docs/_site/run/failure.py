"""What does not hold in this build, and the box that says so in its place."""

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
