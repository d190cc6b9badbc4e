"""What a tokenizer refuses: text that is none, and vocabularies that are too small or too large."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UserError

LARGEST = 2**22
"""Ids at most; the largest vocabularies in use have a quarter of a million."""


def check_vocab_size(vocab_size: int, special_tokens: Sequence[str]) -> None:
    """Refuse a vocabulary that has no room for the special tokens and the bytes."""
    smallest = 256 + len(special_tokens)
    if vocab_size < smallest:
        raise UserError(
            f"vocab_size must be at least {smallest} (256 bytes and {len(special_tokens)} special tokens), "
            f"got {vocab_size}"
        )
    if vocab_size > LARGEST:
        raise UserError(f"vocab_size must be at most {LARGEST:,}, got {vocab_size}")


def check_text(text: object) -> None:
    """Refuse what is no string, and text that UTF-8 cannot write: it was read with a wrong encoding."""
    if not isinstance(text, str):
        raise UserError(f"a text must be a string, found {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"U+{ord(text[error.start]):04X}"
        raise UserError(
            f"the text holds half a character ({found}, a lone surrogate); read it as what it is encoded in"
        ) from None
