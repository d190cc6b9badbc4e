"""Where a text stops being one that the world could have written.

A model that has learned the world writes what its rules allow: true sums, endings that follow from the story.
Whether it does needs no taste and no second model. The rules themselves read the text (see `choices.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from .world.choices import Reader, Weighted, _DeadEnd


def longest_beginning(write: Callable[..., object], text: str) -> int:
    """How many characters of a text some sequence of choices can write.

    Args:
        write: a document function such as `World.write`; it is called with a writer.
        text: a whole document, or one that breaks off.

    Returns:
        `len(text)` if a document can begin like this; else the place after which no choice goes on.

    Examples:
        >>> def fox(writer):
        ...     animal = writer.pick(["fox", "owl"])
        ...     writer.write(f" saw a hen. The {animal} ate.")
        >>> text = "owl saw a hen. The fox ate."
        >>> text[: longest_beginning(fox, text)]
        'owl saw a hen. The '
    """
    longest = 0
    paths: list[list[int]] = [[]]
    while paths:
        follower = _Follower(text, paths.pop())
        with suppress(_DeadEnd):  # These choices led no further; `reached` says how far.
            write(follower)
        longest = max(longest, follower.reached)
        paths += follower.forks
    return longest


class _Follower(Reader):
    """A reader that notes how much of the text has come true."""

    def __init__(self, text: str, path: Sequence[int]) -> None:
        super().__init__(text, path)
        self.rest = text
        self.reached = 0

    def _step(self, piece: str) -> None:
        """Go on by as much of this piece as the text has."""
        common = 0
        for letter, found in zip(piece, self.rest, strict=False):
            if letter != found:
                break
            common += 1
        self.rest = self.rest[common:]
        self.reached += common

    def write(self, text: str) -> None:
        self._step(text)
        super().write(text)

    def pick(self, options: Sequence[str]) -> str:
        if len(self.rest) < max(map(len, options)):
            self._last_words(options)
        option = super().pick(options)
        self._step(option)
        return option

    def pick_weighted(self, table: Weighted) -> str:
        if len(self.rest) < max(map(len, table.options)):
            self._last_words(table.options)
        option = super().pick_weighted(table)
        self._step(option)
        return option

    def _last_words(self, options: Sequence[str]) -> None:
        """A text may break off inside a choice: it is right as far as it goes."""
        if any(option.startswith(self.rest) for option in options):
            self.reached += len(self.rest)
            raise _DeadEnd
