"""Text written choice by choice, so that its probability is known exactly.

A generator that draws at random usually cannot say how likely its text was: different draws may lead to the
same text, and some draws never show. The rule here removes both. **Whatever is chosen is written at once**,
so the text itself tells which choice was made, and the surprise of a text is the sum of the surprises of
its choices:

    -log p(text) = sum of -log p(choice)

The sum is the text's exact information content as long as no text has two derivations. `derivations` checks
that: it walks every sequence of choices that could have produced a given text.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

_LOG = [0.0, *(math.log(count) for count in range(1, 4096))]


class Weighted:
    """Options with unequal chances.

    Args:
        weights: option -> relative weight.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        total = sum(weights.values())
        self.options = tuple(weights)
        self.nats = tuple(-math.log(weight / total) for weight in weights.values())
        self.cumulative = tuple(accumulate(weight / total for weight in weights.values()))


class Writer:
    """Writes one document at random and adds up what its choices cost.

    Args:
        random: returns a float in [0, 1), such as `random.Random(1).random`.

    Attributes:
        nats: -log p of everything written so far, in nats (natural logarithm).
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._parts: list[str] = []
        self.nats = 0.0

    def write(self, text: str) -> None:
        """Write what is certain; it costs nothing."""
        self._parts.append(text)

    def pick(self, options: Sequence[str]) -> str:
        """Choose one of the options, each as likely as the others, write it and return it."""
        count = len(options)
        option = options[int(self._random() * count)]
        self.nats += _LOG[count]
        self._parts.append(option)
        return option

    def pick_weighted(self, table: Weighted) -> str:
        """Choose one of the options by weight, write it and return it."""
        index = min(bisect(table.cumulative, self._random()), len(table.options) - 1)
        self.nats += table.nats[index]
        self._parts.append(table.options[index])
        return table.options[index]

    def text(self) -> str:
        """Everything written so far."""
        return "".join(self._parts)


class _DeadEnd(Exception):
    """These choices write something else than the text that is being explained."""


class Reader:
    """Plays the part of a `Writer`, but makes the choices that a given text shows.

    Where several options fit what comes next, it takes the first and remembers the others in `forks`.
    """

    def __init__(self, text: str, path: Sequence[int]) -> None:
        self._text = text
        self._at = 0
        self._path = path
        self.taken: list[int] = []
        self.forks: list[list[int]] = []
        self.nats = 0.0

    def write(self, text: str) -> None:
        if not self._text.startswith(text, self._at):
            raise _DeadEnd
        self._at += len(text)

    def pick(self, options: Sequence[str]) -> str:
        return self._follow(options, [_LOG[len(options)]] * len(options))

    def pick_weighted(self, table: Weighted) -> str:
        return self._follow(table.options, table.nats)

    def _follow(self, options: Sequence[str], nats: Sequence[float]) -> str:
        step = len(self.taken)
        if step < len(self._path):
            index = self._path[step]
        else:
            fits = [i for i, option in enumerate(options) if self._text.startswith(option, self._at)]
            if not fits:
                raise _DeadEnd
            index = fits[0]
            self.forks += [[*self.taken, other] for other in fits[1:]]
        self.taken.append(index)
        self.nats += nats[index]
        self._at += len(options[index])
        return options[index]

    def finished(self) -> bool:
        """Whether the whole text has been explained."""
        return self._at == len(self._text)


def derivations(write: Callable[..., object], text: str) -> list[float]:
    """Find every sequence of choices with which `write` produces exactly `text`.

    Args:
        write: a document function; it is called with a writer.
        text: the document.

    Returns:
        -log p of each derivation in nats. A text whose entropy is exact has one.

    Examples:
        >>> def coin(writer):
        ...     writer.pick(["heads", "tails"])
        >>> derivations(coin, "heads")
        [0.6931471805599453]
        >>> derivations(coin, "edge")
        []
    """
    found = []
    paths: list[list[int]] = [[]]
    while paths:
        reader = Reader(text, paths.pop())
        try:
            write(reader)
        except _DeadEnd:
            complete = False
        else:
            complete = reader.finished()
        paths += reader.forks
        if complete:
            found.append(reader.nats)
    return found
