"""A bar for everything that may take longer than two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")

PATIENCE = 1.0
"""Seconds before a bar is shown; most things are done by then."""
MOST = 1e9
"""Figures beyond it are shown as no more than that."""


def progress(
    items: Iterable[Item],
    what: str,
    total: float | None = None,
    size: Callable[[Item], float] = lambda _: 1,
    console: Console | None = None,
) -> Iterator[Item]:
    """Hand the items on, and show on a terminal how far they are.

    Args:
        items: anything to loop over.
        what: stands beside the bar, such as "encoding".
        total: sum of all sizes; None draws a bar without an end.
        size: of an item.
        console: where to draw; default: stderr, so that a pipe gets the results alone.
    """
    console = console or Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(what, total=total)
    began, shown, done = time.monotonic(), False, 0.0
    try:
        for item in items:
            yield item
            done += size(item)
            if not shown and time.monotonic() - began > PATIENCE:
                bar.start()
                shown = True
            if shown:
                bar.update(task, completed=done)
    finally:
        if shown:
            bar.stop()


def minutes(seconds: float) -> str:
    """A time as minutes and seconds.

    >>> minutes(83.6)
    '1:23'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "thread"), counted(2, "thread")
    ('1 thread', '2 threads')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def rounded(value: float, digits: int) -> str:
    """A figure with some digits after the point. The perplexity of a model that fell apart would have hundreds before.

    >>> rounded(3.14159, 2), rounded(1e300, 2)
    ('3.14', '> 1e+9')
    """
    return "> 1e+9" if value > MOST else f"{value:.{digits}f}"
