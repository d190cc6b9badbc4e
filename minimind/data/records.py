"""Data files, row by row: find them, read them, check, and say exactly what is wrong where.

A `.jsonl` file has one JSON object a line; for pretraining `{"text": "…"}`, other fields are passed over. A
`.txt` file is one document to pretrain on.
"""

from __future__ import annotations

import glob
import json
import os
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UserError
from .world import World

SUFFIXES = (".jsonl", ".txt")
LISTED = 1000  # bad rows that a report lists; it counts all of them
SAMPLE_DOCUMENTS = 4000
"""Documents that a tokenizer learns its merges from; more change them little."""
SAMPLE_LENGTH = 10_000
"""Longest piece of one document in the sample: bytes of a plain text, characters of a row."""
READ_WHOLE = 4_000_000
"""Bytes of files that are so small that the sample is all of them."""

LATER_BYTES = bytes(range(0x80, 0xC0))
"""What the second and later bytes of a character may be in UTF-8."""

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Record:
    """One row of a data file."""

    text: str
    """What to train on."""
    path: Path
    """The file it came from."""
    line: int
    """Its line there, from 1."""
    size: int
    """Bytes of this row in the file."""
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What else rows of this kind have."""


@dataclass
class Report:
    """What a reader has met so far."""

    good: int = 0
    """Rows that were given out."""
    bad: int = 0
    """Rows that were not."""
    problems: list[str] = field(default_factory=list)
    """`path:line: what is wrong`, for the first thousand bad rows."""


class BadRow(Exception):
    """What is wrong with a row; `read_records` adds where."""


class Records(Iterator[Record]):
    """An iterator over the good rows; `report` counts along, `size` is the bytes of all files."""

    def __init__(self, files: list[Path], kind: str, skip_bad_rows: bool) -> None:
        for path in files:
            if kind != "pretrain" and path.suffix != ".jsonl":
                raise UserError(
                    f"{path}: is a document to pretrain on; rows of kind {kind!r} are in .jsonl files"
                )
        self.report = Report()
        self.size = sum(path.stat().st_size for path in files)
        self._rows = self._read(files, KINDS[kind], skip_bad_rows)

    def __next__(self) -> Record:
        return next(self._rows)

    def _read(self, files: list[Path], parse: Parser, skip_bad_rows: bool) -> Iterator[Record]:
        report = self.report
        for path in files:
            for line, raw in _raw_rows(path):
                try:
                    fields = parse(_fields(path, raw))
                except BadRow as problem:
                    report.bad += 1
                    if len(report.problems) < LISTED:
                        report.problems.append(f"{path}:{line}: {problem}")
                    continue
                report.good += 1
                yield Record(fields.pop("text"), path, line, len(raw) + 1, fields)
        if report.bad and (not skip_bad_rows or not report.good):
            raise UserError(_summary(report))
        if not report.good:
            raise UserError(f"{', '.join(map(str, files))}: no rows, only blank lines")


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


def read_records(source: Source, kind: str = "pretrain", skip_bad_rows: bool = False) -> Records:
    """Read data files, row by row.

    A bad row is passed over. Without `skip_bad_rows`, the reader then raises after the last row, so that one
    run shows all that is wrong. Blank lines are not rows.

    Args:
        source: a file, folder, glob or list of them, see `find_files`.
        kind: what the rows are, one of `KINDS`.
        skip_bad_rows: go on without the bad rows; `.report` counts and lists them.

    Returns:
        An iterator of records, with a `report`.

    Raises:
        UserError: if a file is missing or empty; at the end, if rows are bad (or, when they are skipped, if
            no good one is left).

    Examples:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "stories.jsonl"
        >>> _ = path.write_text('{"text": "Once upon a time"}\\n{"txt": "oops"}\\n')
        >>> rows = read_records(path, skip_bad_rows=True)
        >>> [record.text for record in rows]
        ['Once upon a time']
        >>> [problem.rpartition("/")[2] for problem in rows.report.problems]
        ["stories.jsonl:2: the field 'text' is missing; found 'txt'"]
    """
    if kind not in KINDS:
        raise UserError(f"no kind of record is named {kind!r}; there are {', '.join(KINDS)}")
    return Records(find_files(source), kind, skip_bad_rows)


def tokenizer_sample(source: Source | None, seed: int = 0, kind: str = "pretrain") -> list[str]:
    """Texts for a tokenizer to learn its merges from, of which each command takes the same.

    Small files are read whole. Of larger ones it takes what stands at evenly spaced places: a short document whole,
    of a long one the piece that the place lies in. So the sample does not depend on how long documents are, and not
    much of a large file is read. Bad rows are passed over: whoever reads all rows will name them.

    Args:
        source: as for `read_records`; None for the embedded world.
        seed: of the world.
        kind: what the rows are, one of `KINDS`.
    """
    if source is None:
        return [document.text for document in islice(World(seed).documents(), SAMPLE_DOCUMENTS)]
    files = find_files(source)
    sizes = [path.stat().st_size for path in files]
    if sum(sizes) <= READ_WHOLE:
        return [text for path in files for _, raw in _raw_rows(path) for text in _good_text(path, raw, kind)]
    apart = max(1, sum(sizes) // SAMPLE_DOCUMENTS)
    texts: list[str] = []
    before = 0
    for path, size in zip(files, sizes, strict=True):
        # The places are counted over all files together, so that many small ones get no more than their share.
        places = range(-before % apart, size, apart)
        texts += (
            _pieces_of_text(path, places) if path.suffix == ".txt" else _pieces_of_rows(path, places, kind)
        )
        before += size
    return texts


def _good_text(path: Path, raw: bytes, kind: str) -> list[str]:
    """The text of a row; none if the row is bad."""
    try:
        return [KINDS[kind](_fields(path, raw))["text"]]
    except BadRow:
        return []


def _pieces_of_text(path: Path, places: Sequence[int]) -> Iterator[str]:
    """The pieces of a plain text that the places lie in, each once."""
    with path.open("rb") as file:
        for number in dict.fromkeys(place // SAMPLE_LENGTH for place in places):
            file.seek(number * SAMPLE_LENGTH)
            # A cut may go through a character: its bytes behind the cut go here, those before it in the decoder.
            raw = file.read(SAMPLE_LENGTH).lstrip(LATER_BYTES)
            try:
                text = getincrementaldecoder("utf-8-sig")().decode(raw)
            except UnicodeDecodeError:
                continue
            if text.strip():
                yield text


def _pieces_of_rows(path: Path, places: Sequence[int], kind: str) -> Iterator[str]:
    """The pieces of rows that the places lie in, each once; a short row is one piece."""
    start = end = 0  # of the line that was read last
    text, last = "", -1  # what it says, and the number of the piece that was given last
    with path.open("rb") as file:
        for place in places:
            if place >= end:
                start = _line_start(file, place, end)
                file.seek(start)
                raw = file.readline()
                end = file.tell()
                text, last = "".join(_good_text(path, raw.rstrip(b"\r\n"), kind)), -1
            number = (place - start) * len(text) // (end - start) // SAMPLE_LENGTH
            if number > last:
                piece, last = text[number * SAMPLE_LENGTH :][:SAMPLE_LENGTH], number
                if piece.strip():
                    yield piece


def _line_start(file: BinaryIO, place: int, earliest: int) -> int:
    """Where the line begins that a place lies in; at `earliest` a line is known to begin."""
    while place > earliest:
        before = max(earliest, place - SAMPLE_LENGTH)
        file.seek(before)
        newline = file.read(place - before).rfind(b"\n")
        if newline >= 0:
            return before + newline + 1
        place = before
    return earliest


Parser = Callable[[dict[str, Any]], dict[str, Any]]


def _pretraining(row: dict[str, Any]) -> dict[str, Any]:
    return {"text": text_field(row, "text")}


KINDS: dict[str, Parser] = {"pretrain": _pretraining}
"""How each kind of row is checked and becomes a record: `text`, which the tokenizer learns from and by which documents
are held out, and whatever else is to stand in `fields`. A new kind is one more function."""


def text_field(row: dict[str, Any], name: str) -> str:
    """A field that must be a text which is not empty.

    Raises:
        BadRow: if it is not.
    """
    if name not in row:
        raise BadRow(f"the field {name!r} is missing; found {names_of(row)}")
    text = row[name]
    if not isinstance(text, str):
        raise BadRow(f"{name!r} must be a string, found {json.dumps(text)[:40]}")
    if not text.strip():
        raise BadRow(f"{name!r} is empty")
    return whole_characters(text, repr(name))


def names_of(row: dict[str, Any]) -> str:
    """The fields that a row has, for a message."""
    return (", ".join(map(repr, row)) or "no field")[:80]


def whole_characters(text: str, where: str) -> str:
    """The text, if UTF-8 can write it.

    Raises:
        BadRow: if it has half a character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRow(
            f"{where} has half a character (\\u{ord(text[error.start]):04x}, a lone surrogate)"
        ) from None
    return text


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


def _raw_rows(path: Path) -> Iterator[tuple[int, bytes]]:
    """Line numbers and bytes: the lines of a JSONL file that are not blank, or the whole text file."""
    try:
        if path.suffix == ".txt":
            yield 1, path.read_bytes()
            return
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                if raw.strip(b"\xef\xbb\xbf \t\r\n"):
                    yield number, raw.rstrip(b"\r\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")  # a byte order mark, as some editors write it, is not text
    except UnicodeDecodeError as error:
        raise BadRow(f"not UTF-8: byte 0x{raw[error.start]:02x} at column {error.start + 1}") from None


def _fields(path: Path, raw: bytes) -> dict[str, Any]:
    """The fields of a row; a plain text is one field."""
    return _decode_row(raw) if path.suffix == ".jsonl" else {"text": _decode(raw)}


def _decode_row(raw: bytes) -> dict[str, Any]:
    try:
        row = json.loads(_decode(raw))
    except json.JSONDecodeError as error:
        found = error.msg.removesuffix(" at")  # some of the messages end with "at", some do not
        raise BadRow(f"broken JSON: {found} at column {error.colno}") from None
    except RecursionError:
        raise BadRow("broken JSON: nested too deeply") from None
    except ValueError:
        raise BadRow("broken JSON: a number has thousands of digits") from None
    if not isinstance(row, dict):
        raise BadRow(f'expected a JSON object such as {{"text": …}}, found {json.dumps(row)[:40]}')
    return row


def _summary(report: Report) -> str:
    rows = "1 bad row" if report.bad == 1 else f"{report.bad} bad rows"
    more = f" (and {report.bad - 3} more)" if report.bad > 3 else ""
    end = "correct them, or leave them out with --skip-bad-rows" if report.good else "no good row is left"
    return f"{rows}: {' | '.join(report.problems[:3])}{more}; {end}"
