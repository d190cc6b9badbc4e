"""report.html: a run on one page, in one file. It asks no other host for anything and follows the reader's
scheme."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..files import replace_text
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
            f"<h2>Loss</h2>{loss_curve(rows)}" if len(rows) > 1 else "",
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
    words += f"the training loss is {row['loss']:.3f} nats a token."
    if row.get("validation_perplexity"):
        words += f" Perplexity on held-out documents: {row['validation_perplexity']:.3f}"
        if row.get("floor_perplexity"):
            ratio = row["validation_perplexity"] / row["floor_perplexity"]
            words += f"; no model can get below {row['floor_perplexity']:.3f}, "
            words += f"so this one is at {ratio:.2f} times the floor"
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
    """A number with as many digits as it can bear."""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def loss_curve(rows: Sequence[dict[str, Any]]) -> str:
    """Training loss, held-out loss and floor over the steps, as SVG. The loss axis is logarithmic."""
    training = [(row["step"], row["loss"]) for row in rows]
    held_out = [(row["step"], row["validation_loss"]) for row in rows if row.get("validation_loss")]
    floor = next((math.log(row["floor_perplexity"]) for row in rows if row.get("floor_perplexity")), None)
    values = [loss for _, loss in training + held_out] + ([floor] if floor else [])
    low, high = max(1e-3, min(values) * 0.9), max(values) * 1.05
    last_step = training[-1][0]

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last_step

    def y(loss: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (math.log(high / max(loss, low)) / math.log(high / low))

    def line(points: Sequence[tuple[float, float]], colour: str, width: float) -> str:
        path = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in points)
        return f'<polyline points="{path}" fill="none" stroke="var(--{colour})" stroke-width="{width}"/>'

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Loss over {last_step} steps, from {training[0][1]:.2f} to {training[-1][1]:.2f} '
        'nats a token">'
    ]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    soft = 'fill="var(--soft)"'
    for tick in loss_ticks(low, high):
        height = f"{y(tick):.1f}"
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{height}" y2="{height}" stroke="var(--line)"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end" {soft}>{tick:g}</text>')
    for part in range(5):
        step = round(last_step * part / 4)
        parts.append(f'<text x="{x(step):.1f}" y="{bottom + 18}" text-anchor="middle" {soft}>{step:,}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle" {soft}>step</text>')
    parts.append(
        f'<text transform="translate(13 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle" {soft}>loss, nats a token (log scale)</text>'
    )
    labels = [(training[-1][1], "training", "loss")]
    parts.append(line(training, "loss", 1.5))
    if held_out:
        parts.append(line(held_out, "held", 2.5))
        labels.append((held_out[-1][1], "held out", "held"))
    if floor:
        parts.append(
            line([(0, floor), (last_step, floor)], "floor", 2).replace("/>", ' stroke-dasharray="6 4"/>')
        )
        labels.append((floor, "floor", "floor"))
    below = -math.inf
    for loss, words, colour in sorted(labels, reverse=True):
        below = max(
            y(loss) + 4, below + 15
        )  # Labels of lines that end close together stand one below the other.
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{below:.1f}" fill="var(--{colour})">{words} {loss:.2f}</text>'
        )
    return "".join([*parts, "</svg>"])


def loss_ticks(low: float, high: float) -> list[float]:
    """Round losses inside the range, about five of them."""
    candidates = [base * 10**power for power in range(-3, 3) for base in (1, 1.5, 2, 3, 4, 5, 7)]
    inside = [round(tick, 6) for tick in candidates if low <= tick <= high]
    return inside[:: max(1, len(inside) // 6)]
