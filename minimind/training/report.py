"""report.html: a run on one page, in one file. It asks no other host for anything and follows the reader's
scheme."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import replace_text
from ..progress import MOST, rounded
from ..runs import read_run

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 96, 16, 44

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --line: #d7dce2; --page: #fff;
        --loss: #68717c; --held: #0b62b8; --floor: #b04a00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --soft: #a3adb8; --line: #3a424c; --page: #14171b;
          --loss: #8f9aa7; --held: #6db5ff; --floor: #ffa35c; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
       max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
svg { width: 100%; height: auto; font: 13px system-ui, sans-serif; }
table { border-collapse: collapse; } 
td, th { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top; }
th { font-weight: normal; color: var(--soft); } td { font-variant-numeric: tabular-nums; }
blockquote { margin: .5rem 0; padding-left: 1rem; border-left: 3px solid var(--line); }
.scroll { overflow-x: auto; }
"""


def write_report(
    folder: Path, rows: Sequence[dict[str, Any]], numerics: dict[str, Any] | None = None
) -> Path:
    """Write `report.html` of a run from its measured rows and its `run.json`.

    Args:
        folder: the run's folder.
        rows: rows of metrics.jsonl, oldest first.
        numerics: how the numbers have been computed so far; run.json has what was chosen at the start.

    Returns:
        The file.
    """
    run = read_run(folder) or {}
    run["numerics"] = {**run.get("numerics", {}), **(numerics or {})}
    threads = changed_threads(run["numerics"])
    last = rows[-1] if rows else {}
    samples = [row for row in rows if row.get("sample")]
    page = "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Run {html.escape(folder.name)}</title><style>{STYLE}</style></head><body>",
            f"<h1>Run {html.escape(folder.name)}</h1>",
            f"<p>{html.escape(summary(last))}</p>",
            f"<p>{html.escape(threads)}</p>" if threads else "",
            curves(rows),
            "<h2>What the model writes</h2>" if samples else "",
            *(
                f"<p>After {row['step']} steps:</p><blockquote>{html.escape(row['sample'])}</blockquote>"
                for row in (samples[:1] + samples[-1:] if len(samples) > 1 else samples)
            ),
            "<h2>Measured last</h2>" + table(last) if last else "",
            *(f"<h2>{name.capitalize()}</h2>{table(run[name])}" for name in SECTIONS if run.get(name)),
            "</body></html>",
        ]
    )
    path = folder / "report.html"
    replace_text(path, page)
    return path


SECTIONS = ("model", "data", "numerics", "settings", "versions")


def summary(row: dict[str, Any]) -> str:
    """The last row in a sentence."""
    if not row:
        return "No step has been measured yet."
    words = f"After {row['step']:,} steps and {row['tokens']:,} tokens "
    words += (
        f"the training loss is {row['loss']:.3f}" + (" nats a token" if "perplexity" in row else "") + "."
    )
    if row.get("validation_perplexity"):
        words += f" Perplexity on what was held out: {rounded(row['validation_perplexity'], 3)}"
        if row.get("floor_perplexity"):
            ratio = row["validation_perplexity"] / row["floor_perplexity"]
            words += f"; no model can get below {row['floor_perplexity']:.3f}, "
            words += f"so this one is at {rounded(ratio, 2)} times the floor"
        words += "."
    return words


def changed_threads(numerics: dict[str, Any]) -> str:
    """A sentence for a run whose number of threads did not stay as it was; empty for others."""
    changes = numerics.get("changed_threads")
    if not changes:
        return ""
    words = ", ".join(f"{threads} after step {step:,}" for step, threads in changes)
    return (
        f"The number of threads was not the same all the time: {numerics['threads']} at first, {words}. "
        "On some processors the last bits of the weights depend on it."
    )


def table(values: dict[str, Any]) -> str:
    """A two-column table of names and values."""
    rows = "".join(
        f"<tr><th>{html.escape(name.replace('_', ' '))}</th><td>{html.escape(readable(value))}</td></tr>"
        for name, value in values.items()
        if value is not None and name not in ("sample", "changed_threads")
    )
    return f'<div class="scroll"><table>{rows}</table></div>'


def readable(value: Any) -> str:
    """A number with as many digits as it can bear.

    Examples:
        >>> readable(0.123456), readable(12345.6), readable(1e120)
        ('0.1235', '12,346', '1e+120')
    """
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < MOST else f"{value:,.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {readable(part)}" for name, part in value.items())
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def curves(rows: Sequence[dict[str, Any]], heading: str = "h2") -> str:
    """The loss over the steps, and each figure of the objective's own, one curve below the other, as SVG.

    Args:
        rows: of metrics.jsonl, oldest first.
        heading: the HTML element that names each curve.
    """
    if len(rows) < 2:
        return ""
    in_nats = "perplexity" in rows[-1]  # the loss of a token, then; its logarithm shows what is left to learn
    floor = next((math.log(row["floor_perplexity"]) for row in rows if row.get("floor_perplexity")), None)
    loss = [Line("training", "loss", 1.5, points_of(rows, "loss"))]
    if len(loss[0].points) < 2:
        return ""
    if held_out := points_of(rows, "validation_loss"):
        loss.append(Line("held out", "held", 2.5, held_out))
    if floor is not None:
        loss.append(Line("floor", "floor", 2, [(0, floor), (rows[-1]["step"], floor)], dashed=True))
    parts = [
        f"<{heading}>Loss</{heading}>",
        draw(loss, "loss, nats a token (log scale)" if in_nats else "loss", in_nats),
    ]
    for name in rows[-1]:
        points = points_of(rows, name)
        if name not in COMMON and len(points) > 1:
            words = name.replace("_", " ")
            own = Line("", "held", 2, points)
            title = f"<{heading}>{html.escape(words.capitalize())}</{heading}>"
            parts += [title, draw([own], html.escape(words), False)]
    return "".join(parts)


COMMON = {
    "step", "tokens", "loss", "perplexity", "validation_loss", "validation_perplexity", "floor_perplexity",
    "bits_per_byte", "learning_rate", "gradient_norm", "tokens_per_second", "seconds", "mfu",
}  # fmt: skip
"""What every run writes down, and the loss in other words; it gets no curve of its own."""


@dataclass
class Line:
    """A line of a curve."""

    words: str
    colour: str
    width: float
    points: Sequence[tuple[float, float]]
    """(step, value), in the order of the steps."""
    dashed: bool = False


def points_of(rows: Sequence[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """(step, value) of each row that has a number of this name; what is not finite cannot be drawn."""
    numbers = ((row["step"], row.get(name)) for row in rows)
    return [(step, value) for step, value in numbers if isinstance(value, float) and math.isfinite(value)]


def draw(lines: Sequence[Line], axis: str, logarithmic: bool) -> str:
    """Lines over the steps, as SVG, each labelled with its last value."""
    values = [value for line in lines for _, value in line.points]
    low, high = min(values), max(values)
    if logarithmic:
        low, high = max(1e-3, low * 0.9), high * 1.05
    else:
        margin = 0.05 * (high - low) or max(0.05 * abs(high), 1e-3)
        low, high = low - margin, high + margin
    last_step = lines[0].points[-1][0]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(step: float) -> float:
        return LEFT + (right - LEFT) * step / last_step

    def y(value: float) -> float:
        if logarithmic:
            return TOP + (bottom - TOP) * (math.log(high / max(value, low)) / math.log(high / low))
        return TOP + (bottom - TOP) * (high - value) / (high - low)

    first, last = lines[0].points[0][1], lines[0].points[-1][1]
    label = f"{axis} over {last_step} steps, from {first:.2f} to {last:.2f}"
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">']
    soft = 'fill="var(--soft)"'
    for tick in loss_ticks(low, high) if logarithmic else even_ticks(low, high):
        height = f"{y(tick):.1f}"
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{height}" y2="{height}" stroke="var(--line)"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end" {soft}>{tick:g}</text>')
    for part in range(5):
        step = round(last_step * part / 4)
        parts.append(f'<text x="{x(step):.1f}" y="{bottom + 18}" text-anchor="middle" {soft}>{step:,}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle" {soft}>step</text>')
    parts.append(
        f'<text transform="translate(13 {(TOP + bottom) / 2}) rotate(-90)" '
        f'text-anchor="middle" {soft}>{axis}</text>'
    )
    for line in lines:
        path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in line.points)
        dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
        stroke = f'stroke="var(--{line.colour})" stroke-width="{line.width}"{dashes}'
        parts.append(f'<polyline points="{path}" fill="none" {stroke}/>')
    below = -math.inf
    for value, line in sorted(((line.points[-1][1], line) for line in lines), key=lambda pair: -pair[0]):
        # Labels of lines that end close together stand one below the other.
        below = max(y(value) + 4, below + 15)
        words = f"{line.words} {value:.2f}".strip()
        parts.append(f'<text x="{right + 8}" y="{below:.1f}" fill="var(--{line.colour})">{words}</text>')
    return "".join([*parts, "</svg>"])


def loss_ticks(low: float, high: float) -> list[float]:
    """Round losses inside the range, about five of them."""
    candidates = [base * 10**power for power in range(-3, 3) for base in (1, 1.5, 2, 3, 4, 5, 7)]
    inside = [round(tick, 6) for tick in candidates if low <= tick <= high]
    return inside[:: max(1, len(inside) // 6)]


def even_ticks(low: float, high: float) -> list[float]:
    """Round numbers at equal distances inside the range, three to six of them.

    Examples:
        >>> even_ticks(-0.31, 1.2)
        [0.0, 0.5, 1.0]
    """
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(number * step, 12) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
