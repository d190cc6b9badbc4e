"""How things are measured: in turn, several times, the median; and on which machine."""

from __future__ import annotations

import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError


@dataclass
class Row:
    """One line of a benchmark.

    Attributes:
        name: what was measured.
        value: ours.
        baseline: the plain baseline's, in the same run.
        unit: of both.
        facts: machine, versions, and how ours was computed.
    """

    name: str
    value: float
    baseline: float
    unit: str
    facts: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Flat, for JSON: name, value, baseline, ratio, then the rest."""
        row = {"name": self.name, "value": self.value, "baseline": self.baseline}
        return {**row, "ratio": self.value / self.baseline, "unit": self.unit, **self.facts}


def check_rounds(rounds: int) -> None:
    """Refuse less than one round, before anything is made ready."""
    if rounds < 1:
        raise UserError(f"rounds must be at least 1, got {rounds}")


def in_turn(arms: Sequence[Callable[[], float]], rounds: int, name: str) -> list[float]:
    """Measure the arms in turn, so that a busy minute of the machine meets all of them.

    Args:
        arms: each runs once and gives its speed.
        rounds: how often, at least once.
        name: for the progress line on stderr.

    Returns:
        The median of each arm.
    """
    speeds: list[list[float]] = [[] for _ in arms]
    for number in range(rounds):
        print(f"{name}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for arm, found in zip(arms, speeds, strict=True):
            found.append(arm())
    return [statistics.median(found) for found in speeds]


def machine(precision: str, attention_path: str) -> dict[str, Any]:
    """What a figure depends on beside the code."""
    return {
        "precision": precision,
        "attention_path": attention_path,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": f"{_processor()}, {platform.system()}",
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
