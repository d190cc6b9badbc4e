"""Speed beside other work: alone, beside a process that keeps a core busy, and two at once, in turn.

Each side is a process of its own (`worker`), as a user's would be, and waits without computing until it is its turn.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ..errors import UserError
from .rounds import Row, in_turn, machine

# It ends by itself if we are killed and cannot end it.
SPIN = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def busy_process() -> Iterator[subprocess.Popen[bytes]]:
    """While this context lasts, another process computes on one core, at our own priority."""
    with _process([sys.executable, "-c", SPIN]) as process:
        yield process


class Worker:
    """A `worker` process.

    Args:
        process: that has said "ready".
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def start(self, seconds: float) -> None:
        """Let it work for so long."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n".encode())
        self.process.stdin.flush()

    def speed(self) -> float:
        """Wait until it is done; gives tokens a second.

        Raises:
            UserError: if it ended instead.
        """
        return float(self.line())

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline().decode().strip()
        if not said:
            raise UserError("a process that was to be measured has ended; close other programs and try again")
        return said


@contextmanager
def worker(what: str, of: str) -> Iterator[Worker]:
    """A worker that is ready; it ends with this context.

    Args:
        what: "train" or "decode".
        of: folder of a prepared corpus, or a preset's name.
    """
    with _process([sys.executable, "-m", "minimind.benchmark.worker", what, of]) as process:
        started = Worker(process)
        started.line()
        yield started


def busy_rows(
    name: str, what: str, of: str, seconds: float, rounds: int, precision: str, attention_path: str
) -> list[Row]:
    """Measure one kind of work alone, beside a busy process, and twice at once.

    Args:
        name: of the work, for the rows.
        what: "train" or "decode".
        of: as for `worker`.
        seconds: length of each measurement.
        rounds: the median of this many is taken.
        precision: for the rows.
        attention_path: for the rows.

    Returns:
        A row beside the busy process and a row for two at once (the slower of both), in tokens a second; the
        baseline is the speed alone.
    """
    with ExitStack() as stack:
        first = stack.enter_context(worker(what, of))
        second = stack.enter_context(worker(what, of))

        def alone() -> float:
            first.start(seconds)
            return first.speed()

        def beside() -> float:
            with busy_process():
                return alone()

        def together() -> float:
            for one in (first, second):
                one.start(seconds)
            return min(first.speed(), second.speed())

        baseline, busy, both = in_turn([alone, beside, together], rounds, name)
    facts = machine(precision, attention_path)
    return [
        Row(f"{name}, busy", busy, baseline, "tokens/s", facts),
        Row(f"{name}, two", both, baseline, "tokens/s", facts),
    ]


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended when the context is left, whatever the reason."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
