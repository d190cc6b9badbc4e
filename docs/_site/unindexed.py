"""Figures and drawn formulas wait aside while the search reads a page: there are no words in them."""

from __future__ import annotations

import re

PICTURE = re.compile(r"<svg data-search-exclude.*?</svg>|<data data-search-exclude.*?</data>", re.S)
MARK = re.compile(r"<!-- mm-aside (\d+) -->")
PARTS: list[str] = []


def set_aside(content: str) -> str:
    """Put a mark in the place of each picture."""

    def mark(match: re.Match[str]) -> str:
        PARTS.append(match[0])
        return f"<!-- mm-aside {len(PARTS) - 1} -->"

    return PICTURE.sub(mark, content)


def put_back(content: str) -> str:
    """The page with its pictures."""
    return MARK.sub(lambda match: PARTS[int(match[1])], content)
