"""Files that are whole or not there: written aside, then renamed.

Whoever is killed, or runs out of disk, halfway through a file leaves the old one as it was. And whoever reads while
another writes sees the old file or the new one, never half of it. A folder is never half either; but no system can
exchange two folders in one stroke, so between the old one and the new one there is a moment with neither. One writer
at a time: two of the same path would write into each other's part.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_aside(path: str | os.PathLike[str], durable: bool = False) -> Iterator[Path]:
    """Give a path to write to; when the block ends well, what lies there takes its place at `path`.

    When the block fails, what it wrote is removed and `path` stays as it was. The block may also make a
    folder: it takes the place of the folder that is there.

    Args:
        path: where the file or folder belongs.
        durable: wait until the file, or all files of the folder, are on the disk before they are renamed. A
            power cut could else leave a file of the right name that is empty.

    Yields:
        A path beside `path`, where nothing is yet.

    Examples:
        >>> folder = getfixture("tmp_path")
        >>> with write_aside(folder / "numbers.bin") as part:
        ...     _ = part.write_bytes(bytes(3))
        >>> [file.name for file in folder.iterdir()]
        ['numbers.bin']
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    _remove(part)  # what a killed writer may have left
    try:
        yield part
        for written in [part, *part.rglob("*")] if durable else []:
            if written.is_file():
                with open(written, "rb+") as file:
                    os.fsync(file.fileno())
        if part.is_dir() and path.is_dir():  # A folder can only be renamed to a name that is free.
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        _remove(part)


def replace_text(path: str | os.PathLike[str], text: str, durable: bool = False) -> None:
    """Make `text` the content of a file, in UTF-8 and with the line ends that it has, by `write_aside`."""
    with write_aside(path, durable) as part:
        part.write_text(text, encoding="utf-8", newline="")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
