"""What a run says about itself: a live line, metrics.jsonl, report.html, and TensorBoard events on
request."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..files import replace_text
from ..progress import minutes, rounded
from .report import write_report
from .tally import Tally

FORECAST_SECONDS = 10.0
"""Runs that are shorter are over before a forecast is read."""
REDRAW_SECONDS = 0.25
"""The live line changes no more often than an eye can follow."""
RECENT_SECONDS = 10.0
"""What counts as recent: older steps were perhaps made on a machine that was more busy, or less."""


SHOWN = {
    "perplexity": ("perplexity {}", 2),
    "validation_perplexity": ("held out {}", 2),
    "floor_perplexity": ("floor {}", 2),
    "bits_per_byte": ("{} bits per byte", 3),
}
"""How the line of progress shows figures that have words of their own, and with how many digits after the point; others
stand there under their names."""


class Pace:
    """How long a run will still take, from its recent steps and its last look at the held-out documents."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque()  # seconds of each step
        self.count = 0
        self.look_seconds = 0.0

    def step(self, seconds: float) -> None:
        """Take in the time from the end of one step to that of the next, with all that lies between them."""
        self.count += 1
        if self.count == 2:
            self.recent.clear()  # The first step takes memory and builds kernels; no later one is like it.
        self.recent.append(seconds)
        while len(self.recent) > 1 and sum(self.recent) - self.recent[0] > RECENT_SECONDS:
            self.recent.popleft()

    def look(self, seconds: float) -> None:
        """Take in the time of a look."""
        self.look_seconds = seconds

    def seconds(self, steps: float, looks: float) -> float:
        """The time that so many steps and looks will take."""
        return steps * sum(self.recent) / max(1, len(self.recent)) + looks * self.look_seconds


class Log:
    """Collects what the loop measures and writes a row now and then.

    Args:
        folder: folder of the run; None writes no files.
        total: steps of the whole run.
        step: steps that are already done; rows of metrics.jsonl beyond it are dropped, they will be made
            again.
        validate_every: steps between two looks at the held-out documents.
        tensorboard: write TensorBoard events too.
        flops: floating-point operations that training spends on one token.
        peak: most of them that the device can do in a second, where known.
        numerics: how the numbers are computed, for the report; it is read when that is written.
        quiet: print nothing.
    """

    def __init__(
        self,
        folder: Path | None,
        total: int,
        step: int,
        validate_every: int,
        tensorboard: bool,
        flops: float,
        peak: float | None,
        numerics: dict[str, Any],
        quiet: bool = False,
    ) -> None:
        self.total, self.flops, self.peak = total, flops, peak
        self.validate_every, self.numerics = validate_every, numerics
        self.path = folder / "metrics.jsonl" if folder else None
        self.folder = folder
        self.rows: list[dict[str, Any]] = [row for row in read_metrics(self.path) if row["step"] <= step]
        self.latest: dict[str, Any] = {}
        self.seen_last: dict[str, Any] = {}
        self.tally = Tally()  # since the last row
        self.stepped = 0.0
        self.pace, self.forecast = Pace(), False
        self.seen = time.monotonic()  # when a step or a look ended last
        self.console = Console(highlight=False, soft_wrap=True, file=StringIO() if quiet else None)
        self.live: Live | None = None
        self.drawn = 0.0  # when the live line was drawn last
        self.writer = _tensorboard_writer(folder, step) if tensorboard and folder else None

    def __enter__(self) -> Log:
        if self.path:
            replace_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))
        if self.console.is_terminal:
            self.live = Live(console=self.console, auto_refresh=False, transient=False)
            self.live.start()
        self.seen = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live:
            self.live.stop()
        if self.writer:
            self.writer.close()
        if self.folder:
            write_report(self.folder, self.rows, self.numerics)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the live line away for as long as something else may draw a bar in its place."""
        if self.live:
            self.live.transient = True
            self.live.stop()
        yield
        if self.live:
            self.live.transient = False
            self.live.start()

    def unwritten(self) -> dict[str, Any]:
        """What was taken in since the last row, and seen last, for the checkpoint."""
        return {"unwritten": asdict(self.tally), "seen_last": self.seen_last}

    def go_on_from(self, state: dict[str, Any] | None) -> None:
        """Take up what a checkpoint holds of the next row, so that a resumed run writes the same mean."""
        if state:
            self.tally, self.seen_last = Tally(**state["unwritten"]), state["seen_last"]

    def before(self, seen: dict[str, Any]) -> None:
        """Say what was measured before the first step."""
        self.pace.look(self._passed())
        if "validation_loss" in seen:
            self.say(f"before training: held-out loss {seen['validation_loss']:.3f}")
        elif figures := [shown(name, value) for name, value in seen.items() if isinstance(value, float)]:
            self.say(f"before training: {', '.join(figures)}")

    def look(self, seen: dict[str, Any]) -> None:
        """Take in what was measured on held-out data; the next row carries it."""
        self.pace.look(self._passed())
        self.latest = self.seen_last = seen

    def step(self, step: int, tally: Tally, norm: float, rate: float, seconds: float) -> None:
        """Take in one step of the loop and the time it took; measuring and saving do not count."""
        self.stepped += seconds
        self.pace.step(self._passed())
        self.tally.add(tally)
        self.now = {"step": step, "gradient_norm": norm, "learning_rate": rate}
        if self.live:
            due = self.seen - self.drawn >= REDRAW_SECONDS
            self.live.update(Text(self._line(tally.means(), self._speed())), refresh=due)
            self.drawn = self.seen if due else self.drawn
        elif not self.forecast and sum(self.pace.recent) >= 1 and self.pace.count >= 3 and step < self.total:
            self.forecast = True
            if self._left() >= FORECAST_SECONDS:
                self.say(f"about {minutes(self._left())} for {self.total - step} steps")

    def row(self, tokens: int, seconds: float) -> None:
        """Write one row: the mean loss since the row before it, and the newest held-out measurement."""
        means, speed = self.tally.means(), self._speed()
        row = {
            "step": self.now["step"],
            "tokens": tokens,
            **means,
            "validation_loss": None,
            "validation_perplexity": None,
            "floor_perplexity": None,
            **self.latest,
            "learning_rate": self.now["learning_rate"],
            "gradient_norm": self.now["gradient_norm"],
            "tokens_per_second": round(speed, 1),
            "seconds": round(seconds, 3),
        }
        if self.peak:
            row["mfu"] = round(speed * self.flops / self.peak, 4)
        self.rows.append(row)
        if self.path:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        if self.writer:
            for name, value in row.items():
                if isinstance(value, int | float):
                    self.writer.add_scalar(name, value, row["step"])
        if not self.live and (self.latest or len(self.rows) % 10 == 0):
            self.say(self._line(means, speed))
        if self.latest.get("sample"):
            self.say(f"  the model writes: {' '.join(self.latest['sample'].split())}")
        if self.latest and self.folder:
            write_report(self.folder, self.rows, self.numerics)
        self.latest = {}
        self.tally, self.stepped = Tally(), 0.0

    def say(self, words: str) -> None:
        """Print a line that stays."""
        self.console.print(Text(words))

    def _speed(self) -> float:
        return self.tally.tokens / max(self.stepped, 1e-9)

    def _line(self, means: dict[str, float], speed: float) -> str:
        step = self.now["step"]
        parts = [f"step {step}/{self.total}"]
        # Figures of the training, then those of the last look. A loss that a perplexity tells again is left out.
        figures = {**means, **self.seen_last}
        if "validation_perplexity" in figures:
            figures.pop("validation_loss", None)
        parts += [shown(name, value) for name, value in figures.items() if isinstance(value, float)]
        parts.append(f"{speed:,.0f} tokens/s")
        if self.peak:
            parts.append(f"MFU {speed * self.flops / self.peak:.1%}")
        parts.append(f"{minutes(self._left())} left")
        return " · ".join(parts)

    def _left(self) -> float:
        """Seconds to the end. A look is due at each multiple of `validate_every`, and after the last step."""
        step, every = self.now["step"], self.validate_every
        looks = self.total // every - step // every + (self.total % every != 0 and step < self.total)
        return self.pace.seconds(self.total - step, looks)

    def _passed(self) -> float:
        """Seconds since a step or a look ended last."""
        before, self.seen = self.seen, time.monotonic()
        return self.seen - before


def read_metrics(path: Path | None) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, up to a line that was cut off by a crash or is no row."""
    if path is None or not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            break
        rows.append(row)
    return rows


def shown(name: str, value: float) -> str:
    """A figure in the line of progress.

    Examples:
        >>> shown("bits_per_byte", 0.51234), shown("margin", 1.5)
        ('0.512 bits per byte', 'margin 1.500')
        >>> shown("validation_perplexity", 1e120)
        'held out > 1e+9'
    """
    words, digits = SHOWN.get(name, (name.replace("_", " ") + " {}", 3))
    return words.format(rounded(value, digits))


def _tensorboard_writer(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    # What a killed run wrote beyond its last checkpoint is made again, and must not be shown twice.
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)
