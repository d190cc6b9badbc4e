"""The token store: a corpus that is tokenized once and then read from disk, without loading it.

A store is a folder of three files: `tokens.bin` has all ids in a row, `offsets.bin` where each document
begins (and, last, where the last one ends), `index.json` what the two must look like.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError

FORMAT = "minimind token store 1"
FILES = ("index.json", "offsets.bin", "tokens.bin")
COUNTS = ("documents", "tokens", "vocab_size")
CHECKED_TOKENS = 1 << 20  # as many ids are looked at when a store is opened


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
        aside = folder.with_name(folder.name + ".partial")
        try:
            if folder.exists() and not {file.name for file in folder.iterdir()} <= set(FILES):
                raise UserError(f"{folder}: exists and is not a token store; choose another folder")
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            _write_files(aside, documents, vocab_size, tokenizer_digest)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(aside, folder)
        except OSError as error:
            raise UserError(f"{folder}: the token store cannot be written ({error.strerror})") from None
        finally:
            shutil.rmtree(aside, ignore_errors=True)
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
        index = _read_index(folder)
        if tokenizer_digest and index["tokenizer_digest"] != tokenizer_digest:
            raise UserError(f"{folder}: was made with another tokenizer; tokenize the data again")
        offsets = _map(folder / "offsets.bin", "uint64", index["documents"] + 1)
        tokens = _map(folder / "tokens.bin", index["dtype"], index["tokens"])
        if offsets[0] != 0 or offsets[-1] != len(tokens) or (offsets[1:] <= offsets[:-1]).any():
            raise UserError(f"{folder / 'offsets.bin'}: not offsets of documents{_AGAIN}")
        step = max(1, len(tokens) // CHECKED_TOKENS)
        largest = int(tokens[::step].max())
        if largest >= index["vocab_size"]:
            size = index["vocab_size"]
            raise UserError(f"{folder / 'tokens.bin'}: id {largest} in a vocabulary of {size}{_AGAIN}")
        return cls(folder, index, offsets, tokens)


_AGAIN = "; the store is damaged, tokenize the data again"


def _write_files(
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
    for name in FILES:  # What is renamed must be on the disk, and not only promised to it.
        with (folder / name).open("rb+") as file:
            os.fsync(file.fileno())


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: not a token store (no index.json)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}){_AGAIN}") from None
    whole = (
        isinstance(index, dict)
        and index.get("format") == FORMAT
        and index.get("dtype") in ("uint16", "uint32")
        and all(isinstance(index.get(key), int) and index[key] > 0 for key in COUNTS)
        and isinstance(index.get("tokenizer_digest"), str)
    )
    if not whole:
        raise UserError(f"{path}: not the index of a token store{_AGAIN}")
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
