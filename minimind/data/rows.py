"""Rows: documents become token ids, and stand side by side in rows of one length.

Padding is wasted work. Packing fills a row with whole documents instead, and says which token belongs to
which document, so that attention and positions can respect the borders. What else is known of each token (its
label, a log-probability, an advantage) travels in columns of its own, aligned with the ids.

Papers: Krell et al., "Efficient Sequence Packing without Cross-contamination" (2021); Ding et al., "Fewer
Truncations Improve Language Modeling" (2024); both choose what fits a row best, as here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..tokenizer import Tokenizer

IGNORE = -100
"""The label of a token that nothing is to be learned from."""
BUFFER = 1024  # documents that wait to be placed; more fill the rows a little better
TEXTS_AT_ONCE, CHARACTERS_AT_ONCE = 1000, 1 << 20  # texts that are tokenized together, and their length

Columns = dict[str, np.ndarray]
"""Arrays by name, with one entry for each token."""
Example = Sequence[int] | np.ndarray | Mapping[str, Sequence[float] | np.ndarray]
"""A document's token ids; or its columns, one of which is `input_ids`."""


@dataclass(frozen=True)
class Packed:
    """Full rows, ready for training."""

    columns: Columns
    """All columns by name, each (rows, row_length)."""

    @property
    def input_ids(self) -> np.ndarray:
        """Token ids, (rows, row_length)."""
        return self.columns["input_ids"]

    @property
    def document_ids(self) -> np.ndarray:
        """0, 1, 2 … for the documents of each row, -1 on padding; (rows, row_length), int64."""
        return self.columns["document_ids"]

    @property
    def fill(self) -> float:
        """Share of the positions that hold a token and not padding."""
        return float((self.document_ids >= 0).mean())


def encode_documents(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[list[int]]:
    """Tokenize texts as documents.

    Each becomes `[start] + encode(text) + [end]`. So the first token of the text has something to be
    predicted from, and the end is predicted too.

    Examples:
        >>> from minimind.tokenizer import train_tokenizer
        >>> tokenizer = train_tokenizer(["low lower lowest"], vocab_size=262)
        >>> list(encode_documents(tokenizer, ["low", "low low"]))
        [[1, 260, 2], [1, 260, 261, 2]]
    """
    for together in _some_at_once(texts):
        for ids in tokenizer.encode_batch(together):
            yield [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]


def pack(examples: Iterable[Example], row_length: int, pad_id: int = 0) -> Packed:
    """Pack examples into rows.

    Every token appears exactly once. An example longer than a row is cut into pieces of a row's length; each
    piece then counts as a document of its own. The same examples give the same rows.

    An example is a document's token ids, and then each token is also a label; or it is a dict of equally long
    arrays, of which `input_ids` is one, and these are the columns. A column keeps its type: what was a float32
    stays one. In `labels` the first token of each document becomes -100, because nothing stands before it that
    could foresee it. Padding is `pad_id` in `input_ids`, -100 in `labels` and 0 elsewhere.

    Args:
        examples: documents to pack.
        row_length: tokens per row.
        pad_id: the id that fills what is left of a row.

    Returns:
        The rows: the columns of the examples and `document_ids`. `.fill` is their share of real tokens.

    Raises:
        UserError: if `row_length` is below 2, there is no token, or the columns of an example do not fit.

    Examples:
        >>> packed = pack([[1, 2, 3, 4], [5, 6, 7], [8, 9]], row_length=6)  # lengths 4, 3, 2
        >>> packed.input_ids  # (2, 6)
        array([[1, 2, 3, 4, 8, 9],
               [5, 6, 7, 0, 0, 0]])
        >>> packed.document_ids
        array([[ 0,  0,  0,  0,  1,  1],
               [ 0,  0,  0, -1, -1, -1]])
        >>> packed.columns["labels"]
        array([[-100,    2,    3,    4, -100,    9],
               [-100,    6,    7, -100, -100, -100]])
        >>> packed.fill
        0.75
        >>> pack([{"input_ids": [1, 2], "weights": [0.5, -0.7]}], row_length=3).columns["weights"]
        array([[ 0.5, -0.7,  0. ]])
    """
    rows = list(pack_rows(examples, row_length, pad_id))
    if not rows:
        raise UserError("there is no document to pack")
    return Packed({name: np.stack([row[name] for row in rows]) for name in rows[0]})


def pack_rows(
    examples: Iterable[Example], row_length: int, pad_id: int = 0, buffer: int = BUFFER
) -> Iterator[Columns]:
    """Pack examples and hand over each row as soon as it is full, so that no more than the buffer is in memory.

    Args:
        examples: as for `pack`; empty ones are passed over.
        row_length: tokens per row.
        pad_id: the id that fills what is left of a row.
        buffer: how many examples wait at most; memory grows with it and with nothing else.

    Yields:
        The columns of one row, each (row_length,).
    """
    if row_length < 2:
        raise UserError(f"row_length must be at least 2 (a token and the one it predicts), got {row_length}")
    for pieces in _choose(_pieces(examples, row_length), row_length, buffer):
        yield _side_by_side(pieces, row_length, pad_id)


def _choose(pieces: Iterable[Columns], row_length: int, buffer: int) -> Iterator[list[Columns]]:
    """Choose which pieces share a row, one row after the other.

    Each row starts with the piece that has waited longest, so none waits for ever. Then comes, again and
    again, whatever fills the rest of the row best: one waiting piece, or two.
    """
    waiting: dict[int, deque[tuple[int, Columns]]] = {}  # by length; of one length the oldest comes first
    count = 0

    def take(length: int) -> Columns:
        queue = waiting[length]
        _, piece = queue.popleft()
        if not queue:
            del waiting[length]
        return piece

    def next_row() -> list[Columns]:
        oldest = min(waiting, key=lambda length: waiting[length][0][0])
        row = [take(oldest)]
        space = row_length - oldest
        while space and (lengths := _best_fit({length: len(waiting[length]) for length in waiting}, space)):
            row += [take(length) for length in lengths]
            space -= sum(lengths)
        return row

    for number, piece in enumerate(pieces):
        waiting.setdefault(len(piece["input_ids"]), deque()).append((number, piece))
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


def _pieces(examples: Iterable[Example], row_length: int) -> Iterator[Columns]:
    """The columns of each example, cut where they are longer than a row."""
    names: set[str] | None = None
    for number, example in enumerate(examples):
        columns = _columns_of(example, number)
        length = len(columns["input_ids"])
        if not length:
            continue
        names = names or set(columns)
        if set(columns) != names:
            raise UserError(
                f"example {number} has the columns {_listed(columns)}; those before {_listed(names)}"
            )
        for start in range(0, length, row_length):
            piece = {name: values[start : start + row_length] for name, values in columns.items()}
            if "labels" in piece:
                piece["labels"] = _without_first(piece["labels"])
            yield piece


def _columns_of(example: Example, number: int) -> Columns:
    if not isinstance(example, Mapping):
        ids = np.asarray(example, dtype=np.int64)
        return {"input_ids": ids, "labels": ids}
    columns = {name: np.asarray(values) for name, values in example.items()}
    if "input_ids" not in columns or "document_ids" in columns:
        found = _listed(columns)
        raise UserError(
            f"example {number}: needs input_ids, and no document_ids (packing makes them); found {found}"
        )
    shapes = {values.shape for values in columns.values()}
    if len(shapes) > 1 or columns["input_ids"].ndim != 1:
        found = ", ".join(f"{name} {values.shape}" for name, values in columns.items())
        raise UserError(f"example {number}: its columns must be equally long lists of numbers, found {found}")
    return columns


def _without_first(labels: np.ndarray) -> np.ndarray:
    """A copy that does not ask for the first token, in a type that can hold -100."""
    labels = labels.astype(np.result_type(labels.dtype, np.int8))
    labels[0] = IGNORE
    return labels


def _side_by_side(pieces: list[Columns], row_length: int, pad_id: int) -> Columns:
    """One row of pieces, and padding behind them."""
    lengths = [len(piece["input_ids"]) for piece in pieces]
    padding = row_length - sum(lengths)
    fill = {"input_ids": pad_id, "labels": IGNORE}
    row = {}
    for name, values in pieces[0].items():
        rest = np.full(padding, fill.get(name, 0), dtype=values.dtype)
        row[name] = np.concatenate([*(piece[name] for piece in pieces), rest])
    row["document_ids"] = np.repeat([*range(len(pieces)), -1], [*lengths, padding])
    return row


def _some_at_once(texts: Iterable[str]) -> Iterator[list[str]]:
    """Many short texts, or a few long ones: tokenizing takes memory for all that it is given."""
    together: list[str] = []
    characters = 0
    for text in texts:
        together.append(text)
        characters += len(text)
        if len(together) == TEXTS_AT_ONCE or characters >= CHARACTERS_AT_ONCE:
            yield together
            together, characters = [], 0
    if together:
        yield together


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
