"""How much memory pretraining takes on a file that is larger than what it may take."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ..data import World
from ..errors import UserError
from ..progress import progress
from ..runs import read_run
from .rounds import Row, machine

FILE_BYTES = 1_000_000_000
MOST_BYTES = 1_500_000_000
"""What `minimind pretrain` on this file may take at its peak."""
STEPS = 3
DIFFERENT = 2000
"""Documents of the world that the file repeats, each time with another number: tokenizing does not get easier by it."""

BETWEEN = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""A program that runs a command, and says the most memory that it held."""


def memory_row(size: int = FILE_BYTES) -> Row:
    """Train a few steps on a file of this size, in a process of its own.

    Args:
        size: bytes of the file.

    Returns:
        Peak of the process's resident memory in GB, beside what it may be.

    Raises:
        UserError: if the training fails; its own words stand above.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "texts.jsonl")
        with path.open("w", encoding="utf-8") as file:
            for line in progress(lines(size), "writing, bytes", size, len):
                file.write(line)
        run = Path(folder, "run")
        flags = ["--data_path", str(path), "--output", str(run), "--steps", str(STEPS), "--device", "cpu"]
        peak = peak_bytes([sys.executable, "-m", "minimind", "pretrain", *flags])
        numerics = (read_run(run) or {})["numerics"]
    facts = machine(numerics["precision"], numerics["attention_path"])
    return Row(f"memory, {size / 1e9:.1f} GB of text", peak / 1e9, MOST_BYTES / 1e9, "GB at the peak", facts)


def lines(size: int) -> Iterator[str]:
    """Rows of a JSONL file of this many bytes: documents of the world, no two alike."""
    texts = [json.dumps(document.text)[1:] for document in islice(World(0).documents(), DIFFERENT)]
    written = number = 0
    while written < size:
        line = f'{{"text": "Number {number}. {texts[number % DIFFERENT]}}}\n'
        written, number = written + len(line), number + 1
        yield line


def peak_bytes(command: list[str]) -> int:
    """The most memory that a command held at once; what it prints is not shown, its progress and its errors are.

    A process begins with the peak of the one that starts it, so a small process stands between it and ours.
    """
    done = subprocess.run([sys.executable, "-c", BETWEEN, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"the training that was to be measured has ended with {done.returncode}")
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)  # macOS counts bytes, Linux kilobytes
