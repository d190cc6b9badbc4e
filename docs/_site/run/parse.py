"""Find a page's fenced blocks, the line each one starts on, and the file each of its lines came from."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from .state import ROOT

OPENING = re.compile(r"^(?P<indent>[ \t>]*)(?P<marks>`{3,}|~{3,})(?P<info>[^`\n]*)$")
INCLUDE = re.compile(r'^(?P<indent>\s*)-{1,}8<-{1,} "(?P<path>[^":\n]+)(?::(?P<section>[^"\n]+))?"\s*$')


@dataclass
class Fence:
    """One outermost fenced block; lines count from 1, as in an editor."""

    first: int  # the line of the opening marks
    last: int  # the line of the closing marks
    indent: str
    marks: str
    info: str
    body: list[str]

    @property
    def language(self) -> str:
        return self.info.split(None, 1)[0] if self.info.split() else ""

    @property
    def executes(self) -> bool:
        return self.language in {"python", "py"} and re.search(r'\bexec="', self.info) is not None


def find_fences(text: str) -> list[Fence]:
    """The outermost fences of a page in order; what stands inside a longer fence is its text."""
    fences: list[Fence] = []
    current: Fence | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        match = OPENING.match(line)
        if current is None:
            if match:
                current = Fence(number, number, match["indent"], match["marks"], match["info"].strip(), [])
        elif match and not match["info"].strip() and match["marks"].startswith(current.marks):
            current.last = number
            fences.append(current)
            current = None
        else:
            current.body.append(line.removeprefix(current.indent))
    return fences


def origins(fence: Fence) -> list[tuple[str, int]]:
    """For each line of the block after inclusion: the snippet's file and line, or ("", line of the page)."""
    lines: list[tuple[str, int]] = []
    for offset, text in enumerate(fence.body, start=1):
        include = INCLUDE.match(text)
        if include:
            lines += [(include["path"], number) for number in _included(include["path"], include["section"])]
        else:
            lines.append(("", fence.first + offset))
    return lines


def _included(path: str, section: str | None) -> list[int]:
    """The line numbers that an include takes from a file; empty where the file does not exist."""
    file = ROOT / path
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").splitlines()
    marker = re.compile(r"-{1,}8<-{1,} \[(start|end):\s*([\w-]+)\s*\]")
    taken, inside = [], section is None
    for number, line in enumerate(lines, start=1):
        match = marker.search(line)
        if match:
            if match[2] == section:
                inside = match[1] == "start"
        elif inside:
            taken.append(number)
    return taken


def dedent(text: str) -> str:
    return textwrap.dedent(text).strip("\n")
