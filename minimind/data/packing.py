"""Packing: documents of different lengths, side by side in rows of one length.

Padding is wasted work. Packing fills a row with whole documents instead, and says which token belongs to
which document, so that attention and positions can respect the borders.

Papers: Krell et al., "Efficient Sequence Packing without Cross-contamination" (2021); Ding et al., "Fewer
Truncations Improve Language Modeling" (2024); both choose what fits a row best, as here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import UserError

BUFFER = 1024  # documents that wait to be placed; more fill the rows a little better


class Packed(NamedTuple):
    """Full rows, ready for training."""

    input_ids: np.ndarray
    """Token ids, (rows, row_length), int64."""
    document_ids: np.ndarray
    """0, 1, 2 … for the documents of each row, -1 on padding; (rows, row_length), int64."""

    @property
    def fill(self) -> float:
        """Share of the positions that hold a token and not padding."""
        return float((self.document_ids >= 0).mean()) if self.document_ids.size else 0.0


def pack(documents: Iterable[Sequence[int] | np.ndarray], row_length: int, pad_id: int = 0) -> Packed:
    """Pack tokenized documents into rows.

    Every token appears exactly once. A document longer than a row is cut into pieces of a row's length; each
    piece then counts as a document of its own. The same documents give the same rows.

    Args:
        documents: token ids of each document.
        row_length: tokens per row.
        pad_id: the id that fills what is left of a row.

    Returns:
        The rows; `.fill` is their share of real tokens.

    Raises:
        UserError: if `row_length` is below 2, or there is no document.

    Examples:
        >>> packed = pack([[1, 2, 3, 4], [5, 6, 7], [8, 9]], row_length=6)  # lengths 4, 3, 2
        >>> packed.input_ids  # (2, 6)
        array([[1, 2, 3, 4, 8, 9],
               [5, 6, 7, 0, 0, 0]])
        >>> packed.document_ids
        array([[ 0,  0,  0,  0,  1,  1],
               [ 0,  0,  0, -1, -1, -1]])
        >>> packed.fill
        0.75
    """
    ids, owners = [], []
    for row in pack_rows(documents, row_length):
        padding = row_length - sum(map(len, row))
        ids.append(np.concatenate([*row, np.full(padding, pad_id)]))
        owners.append(np.repeat([*range(len(row)), -1], [*map(len, row), padding]))
    if not ids:
        raise UserError("there is no document to pack")
    return Packed(np.stack(ids).astype(np.int64), np.stack(owners).astype(np.int64))


def pack_rows(
    documents: Iterable[Sequence[int] | np.ndarray], row_length: int, buffer: int = BUFFER
) -> Iterator[list[np.ndarray]]:
    """Choose which documents share a row, one row after the other.

    Each row starts with the document that has waited longest, so none waits for ever. Then comes, again and
    again, whatever fills the rest of the row best: one waiting document, or two.

    Args:
        documents: token ids of each document; empty ones are passed over.
        row_length: tokens per row.
        buffer: how many documents wait at most; memory grows with it and with nothing else.
    """
    if row_length < 2:
        raise UserError(f"row_length must be at least 2 (a token and the one it predicts), got {row_length}")
    waiting: dict[int, deque[tuple[int, np.ndarray]]] = {}  # by length; of one length the oldest comes first
    count = 0

    def take(length: int) -> np.ndarray:
        queue = waiting[length]
        _, piece = queue.popleft()
        if not queue:
            del waiting[length]
        return piece

    def next_row() -> list[np.ndarray]:
        oldest = min(waiting, key=lambda length: waiting[length][0][0])
        row = [take(oldest)]
        space = row_length - oldest
        while space and (lengths := _best_fit({length: len(waiting[length]) for length in waiting}, space)):
            row += [take(length) for length in lengths]
            space -= sum(lengths)
        return row

    for number, piece in enumerate(_pieces(documents, row_length)):
        waiting.setdefault(len(piece), deque()).append((number, piece))
        count += 1
        if count >= buffer:
            row = next_row()
            count -= len(row)
            yield row
    while waiting:
        yield next_row()


def _best_fit(available: dict[int, int], space: int) -> list[int]:
    """The length, or the two lengths, that together come closest to the space.

    Args:
        available: how many documents there are of each length.
        space: tokens to fill.

    Examples:
        >>> _best_fit({3: 1, 4: 1, 6: 1}, space=8), _best_fit({3: 1, 4: 1, 6: 1}, space=2)
        ([4, 3], [])
    """
    lengths = sorted(available)
    fitting = bisect_right(lengths, space)
    if not fitting:
        return []
    best = [lengths[fitting - 1]]
    for short in lengths[: bisect_right(lengths, space // 2)]:
        index = bisect_right(lengths, space - short) - 1
        long = lengths[index]
        if long == short and available[short] < 2:
            continue  # It cannot be taken twice, and a shorter partner was tried before.
        if short + long > sum(best):
            best = [long, short]
    return best


def _pieces(documents: Iterable[Sequence[int] | np.ndarray], row_length: int) -> Iterator[np.ndarray]:
    for document in documents:
        tokens = np.asarray(document)
        for start in range(0, len(tokens), row_length):
            yield tokens[start : start + row_length]
