"""Which files a name stands for: a file, a folder, a glob, or a list of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError

SUFFIXES = (".jsonl", ".txt")

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def find_files(source: Source) -> list[Path]:
    """Resolve names into data files.

    Args:
        source: a file; a folder, for the `.jsonl` and `.txt` files in it; a glob such as `data/*.jsonl`; or a
            list of these. Files of a folder or a glob come sorted by name, so the order is always the same.

    Raises:
        UserError: if there is no such file, or one is empty or of another kind.
    """
    if isinstance(source, str | os.PathLike):
        source = [source]
    files = [file for name in source for file in _resolve(os.fspath(name))]
    if not files:
        raise UserError("no data file was named")
    for file in files:
        if file.suffix not in SUFFIXES:
            raise UserError(f"{file}: data files are .jsonl (one JSON object a line) or .txt (one document)")
        if file.stat().st_size == 0:
            raise UserError(f"{file}: the file is empty")
    return files


def _resolve(name: str) -> list[Path]:
    path = Path(name)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
        if not files:
            raise UserError(f"{name}: the folder has no .jsonl and no .txt file")
        return files
    if any(character in name for character in "*?["):
        files = sorted(file for match in glob.glob(name, recursive=True) if (file := Path(match)).is_file())
        if not files:
            raise UserError(f"{name}: no file matches")
        return files
    raise UserError(f"{name}: no such file or folder")
