"""What is checked in every row of a data file, whatever its kind."""

from __future__ import annotations

import json
from typing import Any


class BadRow(Exception):
    """What is wrong with a row; `read_records` adds where."""


def text_field(row: dict[str, Any], name: str) -> str:
    """A field that must be a text which is not empty.

    Raises:
        BadRow: if it is not.
    """
    if name not in row:
        raise BadRow(f"the field {name!r} is missing; found {names_of(row)}")
    text = row[name]
    if not isinstance(text, str):
        raise BadRow(f"{name!r} must be a string, found {json.dumps(text)[:40]}")
    if not text.strip():
        raise BadRow(f"{name!r} is empty")
    return whole_characters(text, repr(name))


def names_of(row: dict[str, Any]) -> str:
    """The fields that a row has, for a message."""
    return (", ".join(map(repr, row)) or "no field")[:80]


def whole_characters(text: str, where: str) -> str:
    """The text, if UTF-8 can write it.

    Raises:
        BadRow: if it has half a character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRow(
            f"{where} has half a character (\\u{ord(text[error.start]):04x}, a lone surrogate)"
        ) from None
    return text
