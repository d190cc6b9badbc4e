"""Figures and drawn formulas wait aside while the search reads a page: there are no words in them."""

from __future__ import annotations

import re
from typing import Any

PICTURE = re.compile(r"<svg data-search-exclude.*?</svg>|<data data-search-exclude.*?</data>", re.S)
MARK = re.compile(r"<!-- mm-aside (\d+) -->")
PARTS: list[str] = []


def on_pre_build(config: Any) -> None:
    PARTS.clear()


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Put a mark in the place of each picture."""

    def mark(match: re.Match[str]) -> str:
        PARTS.append(match[0])
        return f"<!-- mm-aside {len(PARTS) - 1} -->"

    return PICTURE.sub(mark, content)


def on_page_context(context: Any, page: Any, config: Any, nav: Any) -> None:
    """The page with its pictures; the search has read it by now."""
    page.content = MARK.sub(lambda match: PARTS[int(match[1])], page.content)
