"""Pairs of neighbouring tokens: how often each occurs, and one of them made into a token."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

Token = TypeVar("Token", int, bytes)


def count_pairs(words: Iterable[tuple[Sequence[int], int]]) -> Counter[tuple[int, int]]:
    """How often each pair of neighbours occurs in words, each given with how often it occurs itself.

    Examples:
        >>> count_pairs([([1, 1, 2], 10), ([1, 2], 5)])
        Counter({(1, 2): 15, (1, 1): 10})
    """
    counts: Counter[tuple[int, int]] = Counter()
    for word, count in words:
        for pair in pairwise(word):
            counts[pair] += count
    return counts


def merge_pair(tokens: Sequence[Token], pair: tuple[Token, Token], new: Token) -> list[Token]:
    """Replace each occurrence of a pair by one token, from left to right.

    Examples:
        >>> merge_pair([1, 1, 1, 2], (1, 1), 9)
        [9, 1, 2]
    """
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        if tuple(tokens[i : i + 2]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(tokens[i])
            i += 1
    return out
