"""Where training text comes from: strings, or plain text files read in blocks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import UserError

BLOCK = 1 << 20  # characters

TextSource = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def documents_of(source: TextSource) -> Iterator[Iterator[str]]:
    """Give each document as a stream of text blocks, so that no file has to fit into memory.

    A string is a document; a `Path` is a plain text file, which is one document too. A string, or a list of
    nothing but strings that name existing files, is taken as paths: a file's name is never a corpus.

    Args:
        source: a string, a path, or an iterable of strings and paths.

    Yields:
        One iterator of blocks per document. A block ends after a line end that text follows, so no pre-token
        lies across two blocks.

    Raises:
        UserError: if a file is missing, empty, not UTF-8, or not plain text.
    """
    if isinstance(source, str | os.PathLike):
        source = [source]
    only_paths = isinstance(source, list | tuple) and all(map(_names_a_file, source))
    for item in source:
        if isinstance(item, os.PathLike) or only_paths:
            yield _blocks(Path(item))
        elif isinstance(item, str):
            yield iter((item,))
        else:
            raise UserError(f"training text must be strings or paths, found {type(item).__name__}")


def _names_a_file(item: object) -> bool:
    if isinstance(item, os.PathLike):
        return True
    return isinstance(item, str) and 0 < len(item) < 1000 and item.isprintable() and os.path.isfile(item)


def _blocks(path: Path) -> Iterator[str]:
    if path.suffix == ".jsonl":
        raise UserError(
            f"{path}: a JSONL file is not plain text; train on (record.text for record in read_records(path))"
        )
    block: list[str] = []
    size = 0
    try:
        # newline="" keeps "\r\n" as it stands in the file; a byte order mark is not text.
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for line in lines:
                if size >= BLOCK and not line[0].isspace():
                    yield "".join(block)
                    block, size = [], 0
                block.append(line)
                size += len(line)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not block:
        raise UserError(f"{path}: the file is empty")
    yield "".join(block)
