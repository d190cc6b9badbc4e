"""What `minimind evaluate` prints."""

from __future__ import annotations

from typing import Any

from ..data.world import HARD
from ..metrics.tasks import EASY
from ..progress import rounded
from ..runs import describe_run


def report(measured: dict[str, Any]) -> str:
    """The figures of `evaluate` as text."""
    adapter = f" with {' and '.join(measured['adapters'])}" if "adapters" in measured else ""
    floor = measured["floor_perplexity"]
    lines = [
        f"{describe_run(measured['run'])}{adapter}, on {measured['documents']:,} documents of {measured['source']}",
        f"  perplexity     {rounded(measured['perplexity'], 3)}"
        + (f"   (floor {floor:.3f})" if floor else ""),
        f"  bits per byte  {measured['bits_per_byte']:.3f}",
        f"  tokens         {measured['tokens']:,}",
    ]
    if "tasks" in measured:
        lines += ["", *task_table(measured)]
    if "compare" in measured:
        lines += ["", *comparison_table(measured["compare"])]
    return "\n".join(lines)


def task_table(measured: dict[str, Any]) -> list[str]:
    """A line a task, then the mean; the hard tasks stand below it."""
    tasks = measured["tasks"]

    def line(task: str) -> str:
        row = tasks[task]
        counts = f"{row['correct']:>5,} of {row['total']:>5,}"
        interval = f"{row['low']:>7.1%} to {row['high']:>6.1%}"
        return f"  {task:<12}  {counts}  {row['accuracy']:>8.1%}  {interval}  {row['chance']:>6.0%}"

    return [
        f"questions of {measured['asked_of']} that no training conversation asks",
        f"  {'task':<12}  {'right':>14}  {'accuracy':>8}  {'95 % interval':>17}  {'chance':>6}",
        *map(line, EASY),
        f"  {'mean':<12}  {'':>14}  {measured['accuracy']:>8.1%}",
        "hard ones, apart",
        *map(line, HARD),
        f"answers that it ended by itself: {measured['stop_rate']:.1%}",
    ]


def comparison_table(compared: dict[str, Any]) -> list[str]:
    """A line a task: how much better than the other run, in points."""

    def line(name: str, row: dict[str, float]) -> str:
        difference, low, high = (100 * row[key] for key in ("difference", "low", "high"))
        return f"  {name:<12}  {difference:>+10.1f}  {low:>+7.1f} to {high:>+6.1f}  {row['p']:>9.2g}"

    return [
        f"better than {describe_run(compared['run'])}, at the same questions, by so many points",
        f"  {'task':<12}  {'difference':>10}  {'95 % interval':>17}  {'p':>9}",
        *(line(task, compared["tasks"][task]) for task in EASY),
        line("together", compared["all"]),
        *(line(task, compared["tasks"][task]) for task in HARD),
    ]
