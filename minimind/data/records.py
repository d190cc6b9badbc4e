"""Data files, row by row: read, check, and say exactly what is wrong where.

A `.jsonl` file has one JSON object a line; for pretraining `{"text": "…"}`, other fields are passed over. A
`.txt` file is one document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from .sources import Source, find_files

LISTED = 1000  # bad rows that a report lists; it counts all of them


@dataclass(frozen=True)
class Record:
    """One row of a data file."""

    text: str
    """What to train on."""
    path: Path
    """The file it came from."""
    line: int
    """Its line there, from 1."""


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
    """An iterator over the good rows; `report` counts along."""

    def __init__(self, files: list[Path], kind: str, skip_bad_rows: bool) -> None:
        self.report = Report()
        self._rows = self._read(files, KINDS[kind], skip_bad_rows)

    def __next__(self) -> Record:
        return next(self._rows)

    def _read(self, files: list[Path], parse: Parser, skip_bad_rows: bool) -> Iterator[Record]:
        report = self.report
        for path in files:
            for line, raw in _raw_rows(path):
                try:
                    fields = parse(_decode_row(raw) if path.suffix == ".jsonl" else {"text": _decode(raw)})
                except BadRow as problem:
                    report.bad += 1
                    if len(report.problems) < LISTED:
                        report.problems.append(f"{path}:{line}: {problem}")
                    continue
                report.good += 1
                yield Record(**fields, path=path, line=line)
        if report.bad and (not skip_bad_rows or not report.good):
            raise UserError(_summary(report))
        if not report.good:
            raise UserError(f"{', '.join(map(str, files))}: no rows, only blank lines")


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


Parser = Callable[[dict[str, Any]], dict[str, Any]]


def _pretraining(row: dict[str, Any]) -> dict[str, Any]:
    return {"text": _text_field(row, "text")}


KINDS: dict[str, Parser] = {"pretrain": _pretraining}
"""How each kind of row becomes the fields of a record; a new kind is one more function."""


def _text_field(row: dict[str, Any], name: str) -> str:
    if name not in row:
        found = ", ".join(map(repr, row)) or "no field"
        raise BadRow(f"the field {name!r} is missing; found {found[:80]}")
    text = row[name]
    if not isinstance(text, str):
        raise BadRow(f"{name!r} must be a string, found {json.dumps(text)[:40]}")
    if not text.strip():
        raise BadRow(f"{name!r} is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRow(
            f"{name!r} has half a character (\\u{ord(text[error.start]):04x}, a lone surrogate)"
        ) from None
    return text


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
