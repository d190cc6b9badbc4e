"""What is tokenized once and then read from disk, without loading it: packed rows, or documents as they are.

Rows lie in a folder with one file a column (`input_ids.bin`, `labels.bin` …), each row after the other. A token
store holds documents of different lengths: `tokens.bin` has all ids in a row, `offsets.bin` where each document
begins (and, last, where the last one ends). In both, `index.json` says what the files must look like.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files import write_aside

FORMAT = "minimind token store 1"
ROWS_FORMAT = "minimind rows 1"
DTYPES = ["bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))]
DTYPES += ["float16", "float32", "float64"]  # what a column may be
CHECKED_TOKENS = 1 << 20  # as many ids are looked at when a store is opened
CHECKED_BLOCK = 1024  # ids that lie side by side, of these
ROWS_AT_ONCE = 1024  # rows that are written together


def write_rows(
    folder: str | os.PathLike[str],
    rows: Iterable[Mapping[str, np.ndarray]],
    vocab_size: int,
    tokenizer_digest: str = "",
) -> dict[str, np.ndarray]:
    """Write rows as they come, and open them.

    They are written aside and renamed when they are whole: a killed writer leaves no half rows. Rows that are
    already there are replaced; any other folder is refused. Ids, labels and document numbers take the smallest
    signed integers that hold them, every other column stays of its type.

    Args:
        folder: where the rows will be.
        rows: each row's columns, each (row_length,), as `pack_rows` gives them.
        vocab_size: ids and labels are below this.
        tokenizer_digest: `Tokenizer.digest` of what made the ids, checked by `open_rows`.

    Raises:
        UserError: if there is no row, a number does not fit, or the disk says no.
    """
    folder = Path(folder)
    with _aside(folder, "rows") as aside:
        _write_columns(aside, iter(rows), vocab_size, tokenizer_digest)
    return open_rows(folder)


def open_rows(folder: str | os.PathLike[str], tokenizer_digest: str = "") -> dict[str, np.ndarray]:
    """Open rows and check that they are whole.

    File sizes are checked, and ids up to about a million, spread evenly.

    Args:
        folder: what `write_rows` wrote.
        tokenizer_digest: if given, the rows must have been made with this tokenizer.

    Returns:
        The columns by name, each (rows, row_length), read from disk when they are asked for.

    Raises:
        UserError: if a file is missing, cut short, damaged, or of another tokenizer.
    """
    folder = Path(folder)
    index = _read_index(folder, ROWS_FORMAT, ("rows", "row_length", "vocab_size"), tokenizer_digest)
    shape = (index["rows"], index["row_length"])
    names = index.get("columns")
    if (
        not isinstance(names, dict)
        or "input_ids" not in names
        or not all(name.isidentifier() and dtype in DTYPES for name, dtype in names.items())
    ):
        raise UserError(f"{folder / 'index.json'}: not the index of rows{_AGAIN}")
    columns = {
        name: _map(folder / f"{name}.bin", dtype, shape[0] * shape[1]).reshape(shape)
        for name, dtype in names.items()
    }
    _check_ids(folder / "input_ids.bin", columns["input_ids"].reshape(-1), index["vocab_size"])
    return columns


class TokenStore:
    """Documents as arrays of token ids, read from disk when they are asked for.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp() + "/store"
        >>> store = TokenStore.write(folder, [[1, 5, 2], [1, 6, 7, 8, 2]], vocab_size=10)
        >>> len(store), store.num_tokens, store[1]
        (2, 8, array([1, 6, 7, 8, 2], dtype=uint16))
    """

    def __init__(self, folder: Path, index: dict[str, Any], offsets: np.ndarray, tokens: np.ndarray) -> None:
        """Use `TokenStore.open` or `TokenStore.write`."""
        self.folder = folder
        self.index = index
        self._offsets = offsets  # (documents + 1,) uint64
        self._tokens = tokens  # (tokens,) uint16 or uint32

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        if number < 0:
            number += len(self)
        if not 0 <= number < len(self):
            raise IndexError(f"document {number} of a store of {len(self)}")
        return np.asarray(self._tokens[int(self._offsets[number]) : int(self._offsets[number + 1])])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents together."""
        return len(self._tokens)

    @property
    def vocab_size(self) -> int:
        """Every id is smaller than this."""
        return self.index["vocab_size"]

    @classmethod
    def write(
        cls,
        folder: str | os.PathLike[str],
        documents: Iterable[Sequence[int] | np.ndarray],
        vocab_size: int,
        tokenizer_digest: str = "",
    ) -> TokenStore:
        """Write a store, document by document, and open it.

        It is written aside and renamed when it is whole: a killed writer leaves no half store. A store that
        is already there is replaced; any other folder is refused.

        Args:
            folder: where the store will be.
            documents: token ids of each document; none may be empty.
            vocab_size: ids are below this; up to 65,536 an id takes two bytes, beyond four.
            tokenizer_digest: `Tokenizer.digest` of what made the ids, checked by `open`.

        Raises:
            UserError: if an id is out of range, a document is empty, there is none, or the disk says no.
        """
        folder = Path(folder)
        with _aside(folder, "token store") as aside:
            _write_documents(aside, documents, vocab_size, tokenizer_digest)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], tokenizer_digest: str = "") -> TokenStore:
        """Open a store and check that it is whole.

        File sizes and all offsets are checked; ids are checked up to about a million, spread evenly.

        Args:
            folder: what `write` wrote.
            tokenizer_digest: if given, the store must have been made with this tokenizer.

        Raises:
            UserError: if the store is missing, cut short, damaged, or of another tokenizer.
        """
        folder = Path(folder)
        index = _read_index(folder, FORMAT, ("documents", "tokens", "vocab_size"), tokenizer_digest)
        if index.get("dtype") not in ("uint16", "uint32"):
            raise UserError(f"{folder / 'index.json'}: not the index of a token store{_AGAIN}")
        offsets = _map(folder / "offsets.bin", "uint64", index["documents"] + 1)
        tokens = _map(folder / "tokens.bin", index["dtype"], index["tokens"])
        if offsets[0] != 0 or offsets[-1] != len(tokens) or (offsets[1:] <= offsets[:-1]).any():
            raise UserError(f"{folder / 'offsets.bin'}: not offsets of documents{_AGAIN}")
        _check_ids(folder / "tokens.bin", tokens, index["vocab_size"])
        return cls(folder, index, offsets, tokens)


_AGAIN = "; the store is damaged, tokenize the data again"


@contextmanager
def _aside(folder: Path, what: str) -> Iterator[Path]:
    """A folder to write into; it takes the place of `folder` once all of it is on the disk."""
    try:
        if folder.exists() and any(
            file.name != "index.json" and file.suffix != ".bin" for file in folder.iterdir()
        ):
            raise UserError(f"{folder}: exists and is not a {what}; choose another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with write_aside(folder, durable=True) as aside:
            aside.mkdir()
            yield aside
    except OSError as error:
        raise UserError(f"{folder}: the {what} cannot be written ({error.strerror})") from None


def _write_columns(
    folder: Path, rows: Iterator[Mapping[str, np.ndarray]], vocab_size: int, tokenizer_digest: str
) -> None:
    first = next(rows, None)
    if first is None:
        raise UserError("there is no row to store")
    length = len(first["input_ids"])
    types = {name: values.dtype for name, values in first.items()}
    # -100 marks labels that do not count; the documents of a row are at most as many as its tokens.
    types |= {name: _smallest(-128, vocab_size - 1) for name in ("input_ids", "labels") if name in types}
    types |= {name: _smallest(-1, length - 1) for name in ("document_ids",) if name in types}
    count = 0
    rows = chain([first], rows)
    with ExitStack() as files:
        opened = {name: files.enter_context((folder / f"{name}.bin").open("wb")) for name in types}
        while some := list(islice(rows, ROWS_AT_ONCE)):
            for name, dtype in types.items():
                values = np.stack([row[name] for row in some])  # (rows, row_length)
                _check_fits(name, values, dtype, vocab_size)
                opened[name].write(values.astype(dtype).tobytes())
            count += len(some)
    index = {
        "format": ROWS_FORMAT,
        "rows": count,
        "row_length": length,
        "columns": {name: dtype.name for name, dtype in types.items()},
        "vocab_size": vocab_size,
        "tokenizer_digest": tokenizer_digest,
    }
    (folder / "index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _smallest(low: int, high: int) -> np.dtype[Any]:
    """The smallest signed integer type that holds both."""
    return np.dtype(np.promote_types(np.min_scalar_type(low), np.min_scalar_type(-high - 1)))


def _check_fits(name: str, values: np.ndarray, dtype: np.dtype[Any], vocab_size: int) -> None:
    """Refuse what would be another number on the disk."""
    if name == "input_ids" and (values.min() < 0 or values.max() >= vocab_size):
        raise UserError(
            f"input_ids has ids from {values.min()} to {values.max()}, but vocab_size is {vocab_size}"
        )
    if name == "labels" and values.max() >= vocab_size:
        raise UserError(f"labels has ids up to {values.max()}, but vocab_size is {vocab_size}")
    if values.dtype != dtype and not (values.astype(dtype) == values).all():
        raise UserError(
            f"{name} has numbers of type {values.dtype} that are not of type {dtype}, as its first row is"
        )


def _check_ids(path: Path, ids: np.ndarray, vocab_size: int) -> None:
    """Look at some of the ids, in blocks that are evenly spread: none may be beyond the vocabulary.

    They are read, not mapped: the pages that a look through the map brings in would count as memory of the process.
    """
    apart = CHECKED_BLOCK * max(1, len(ids) // CHECKED_TOKENS)
    for start in range(0, len(ids), apart):
        offset = start * ids.dtype.itemsize
        some = np.fromfile(path, ids.dtype, CHECKED_BLOCK, offset=offset)
        wrong = int(some.min()) if some.min() < 0 else int(some.max())
        if not 0 <= wrong < vocab_size:
            raise UserError(f"{path}: id {wrong} in a vocabulary of {vocab_size}{_AGAIN}")


def _write_documents(
    folder: Path, documents: Iterable[Sequence[int] | np.ndarray], vocab_size: int, tokenizer_digest: str
) -> None:
    dtype = "uint16" if vocab_size <= 1 << 16 else "uint32"
    count = total = 0
    with (folder / "tokens.bin").open("wb") as tokens, (folder / "offsets.bin").open("wb") as offsets:
        offsets.write(np.uint64(0).tobytes())
        for document in documents:
            ids = np.asarray(document)
            if not ids.size:
                raise UserError(f"document {count} has no tokens")
            if ids.min() < 0 or ids.max() >= vocab_size:
                found = f"{ids.min()} to {ids.max()}"
                raise UserError(f"document {count} has ids from {found}, but vocab_size is {vocab_size}")
            tokens.write(ids.astype(dtype).tobytes())
            count, total = count + 1, total + ids.size
            offsets.write(np.uint64(total).tobytes())
    if not count:
        raise UserError("there is no document to store")
    index = {
        "format": FORMAT,
        "documents": count,
        "tokens": total,
        "dtype": dtype,
        "vocab_size": vocab_size,
        "tokenizer_digest": tokenizer_digest,
    }
    (folder / "index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _read_index(folder: Path, form: str, counts: tuple[str, ...], tokenizer_digest: str) -> dict[str, Any]:
    what = "token store" if form == FORMAT else "folder of rows"
    path = folder / "index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: not a {what} (no index.json)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}){_AGAIN}") from None
    whole = (
        isinstance(index, dict)
        and index.get("format") == form
        and all(isinstance(index.get(key), int) and index[key] > 0 for key in counts)
        and isinstance(index.get("tokenizer_digest"), str)
    )
    if not whole:
        raise UserError(f"{path}: not the index of a {what}{_AGAIN}")
    if tokenizer_digest and index["tokenizer_digest"] != tokenizer_digest:
        raise UserError(f"{folder}: was made with another tokenizer; tokenize the data again")
    return index


def _map(path: Path, dtype: str, count: int) -> np.ndarray:
    expected = count * np.dtype(dtype).itemsize
    try:
        found = path.stat().st_size
        if found != expected:
            raise UserError(f"{path}: has {found} bytes instead of {expected}{_AGAIN}")
        return np.memmap(path, dtype=dtype, mode="r")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}){_AGAIN}") from None
