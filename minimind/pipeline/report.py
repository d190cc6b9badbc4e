"""pipeline.html: all stages on one page, in one file, as the report of a single run is."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..benchmark.rounds import machine
from ..data.world import TASKS, Case
from ..files import replace_text
from ..progress import minutes, rounded
from ..runs import read_run
from ..settings import PipelineSettings
from ..training.log import read_metrics
from ..training.report import STYLE, curves, table
from .measure import Measures, questions
from .stages import Stage

Planned = Sequence[tuple[Stage, Any]]
"""The stages, each with its settings."""
Measured = dict[str, dict[str, Any]]
"""What was measured of each stage's model, by the stage's name, in the order of the stages."""

OWN_STYLE = """
:root { --right: #1a7f37; } @media (prefers-color-scheme: dark) { :root { --right: #57c46e; } }
ol { padding-left: 1.4rem; } li { margin: .8rem 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; font-size: .85rem; }
.soft { color: var(--soft); } .right { color: var(--right); }
.wide td, .wide th { white-space: nowrap; }
.asked { border-top: 1px solid var(--line); padding: .8rem 0; white-space: pre-line; }
.replies { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem 1.2rem;
           margin-top: .5rem; }
.replies div { overflow-wrap: anywhere; } .replies b { display: block; font-weight: normal; color: var(--soft); }
"""


def write_report(settings: PipelineSettings, planned: Planned, measures: Measures) -> Path:
    """Write what is known of all stages by now, and give the file."""
    looks = {stage.name: measures.of(stage, given) for stage, given in planned}
    measured = {name: look for name, look in looks.items() if look is not None}
    runs = {stage.name: read_run(Path(given.output)) for stage, given in planned}
    page = "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Pipeline</title><style>{STYLE}{OWN_STYLE}</style></head><body>",
            "<h1>From text to a model, stage by stage</h1>",
            what_was_run(settings, planned, runs),
            held_out_figures(measured),
            by_task(measured),
            side_by_side(settings.seed, measured),
            *(one_stage(stage, given, runs[stage.name]) for stage, given in planned if runs[stage.name]),
            "</body></html>",
        ]
    )
    path = Path(settings.output) / "pipeline.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, page)
    return path


def what_was_run(settings: PipelineSettings, planned: Planned, runs: dict[str, Any]) -> str:
    """The stages in order: how each stands, how long it took, and the command that does the same by hand."""
    items, total = [], 0.0
    for stage, given in planned:
        seconds = seconds_of(Path(given.output), runs[stage.name])
        total += seconds
        state = (runs[stage.name] or {"status": "not begun"})["status"]
        state += f", {minutes(seconds)}" if seconds else ""
        command = html.escape(stage.command(as_begun(given, runs[stage.name])))
        items.append(
            f'<li><strong>{stage.name}</strong> <span class="soft">{state}</span><pre>{command}</pre></li>'
        )
    where = html.escape(str(machine("", "")["machine"]))
    words = f"Size {settings.size}, seed {settings.seed}; {minutes(total)} of training on {where}. "
    words += "Each stage goes on from one before it. These commands do the same one by one:"
    return f"<p>{words}</p><ol>{''.join(items)}</ol>"


def as_begun(given: Any, run: dict[str, Any] | None) -> Any:
    """The settings that a stage was begun with; those that are planned where it was not."""
    told = (run or {"settings": {}})["settings"]
    names = {one.name for one in fields(given)} - {"resume", "overwrite"}
    return replace(given, **{name: value for name, value in told.items() if name in names})


def seconds_of(folder: Path, run: dict[str, Any] | None) -> float:
    """How long a stage has trained, over all the times that it was begun."""
    rows = read_metrics(folder / "metrics.jsonl")
    return float(rows[-1]["seconds"] if rows else (run or {}).get("seconds", 0.0))


def held_out_figures(measured: Measured) -> str:
    """What each model is worth on held-out data; each line is one stage."""
    found = {name: look["figures"] for name, look in measured.items() if "figures" in look}
    if not found:
        return ""
    heads = ["", "perplexity", "floor", "times the floor", "answers right", "answers ended"]
    lines = []
    for name, figures in found.items():
        floor = figures["floor_perplexity"]
        ratio = figures["perplexity"] / floor if floor else None
        numbers = [number(figures["perplexity"]), number(floor), number(ratio)]
        lines.append([name, *numbers, share(figures.get("accuracy")), share(figures.get("stop_rate"))])
    return (
        "<h2>On held-out data</h2><p>Perplexity is that of documents such as pretraining reads; no model can get "
        "below the floor. Answers are counted over all kinds of questions that are not meant to be hard.</p>"
        + wide_table(heads, lines)
    )


def by_task(measured: Measured) -> str:
    """Right answers of each model for each kind of question, with the interval that the true share lies in."""
    found = {
        name: look["figures"]["tasks"]
        for name, look in measured.items()
        if look.get("figures", {}).get("tasks")
    }
    if not found:
        return ""
    lines = [
        [task, share(TASKS[task].chance), *(with_interval(tasks[task]) for tasks in found.values())]
        for task in TASKS
    ]
    return (
        "<h2>Right answers, by kind of question</h2><p>No training showed these questions. In brackets stands the "
        "interval that holds the true share with 95 % confidence.</p>"
        + wide_table(["", "by guessing", *found], lines)
    )


def side_by_side(seed: int, measured: Measured) -> str:
    """The same questions, answered by each stage's model."""
    replies = {name: look["answers"] for name, look in measured.items() if "answers" in look}
    if not replies:
        return ""
    blocks = []
    for place, (task, case) in enumerate(zip(TASKS, questions(seed), strict=True)):
        given = "".join(
            f"<div><b>{html.escape(name)}</b>{reply_in_words(said[place])}</div>"
            for name, said in replies.items()
        )
        blocks.append(
            f'<div class="asked"><span class="soft">{task}</span>\n{conversation(case)}'
            f'<div class="replies">{given}</div></div>'
        )
    return (
        "<h2>The same questions, asked of each stage</h2><p>Always the likeliest token is taken. A pretrained model "
        'is asked in the form of a conversation too. <span class="right">What is right in this world is green.</span>'
        "</p>" + "".join(blocks)
    )


def conversation(case: Case) -> str:
    """What is asked, a message a line, what was answered on the way in italics; and the right answer."""
    lines = [
        f"<i>{words}</i>" if message["role"] == "assistant" else words
        for message in case.messages
        for words in [html.escape(message["content"])]
    ]
    return "\n".join(lines) + f'\n<span class="soft">right: {html.escape(case.answers.short)}</span>'


def reply_in_words(reply: dict[str, Any]) -> str:
    """An answer; one that the model did not end goes on with dots."""
    words = html.escape(reply["text"].strip()) + ("" if reply["ended"] else " …")
    return f'<span class="right">{words}</span>' if reply["right"] else words


def one_stage(stage: Stage, given: Any, run: Any) -> str:
    """A stage's curves, and what it learned from."""
    drawn = curves(read_metrics(Path(given.output) / "metrics.jsonl"), heading="h3")
    facts = table(run["data"]) if "data" in run else ""
    return f"<h2>{stage.name}</h2>{drawn}<h3>Data</h3>{facts}"


def wide_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table that scrolls for itself where the screen is narrow."""
    head = "".join(f"<th>{html.escape(word)}</th>" for word in heads)
    body = "".join(
        f"<tr><th>{html.escape(first)}</th>{''.join(f'<td>{html.escape(word)}</td>' for word in rest)}</tr>"
        for first, *rest in lines
    )
    return f'<div class="scroll wide"><table><tr>{head}</tr>{body}</table></div>'


def number(value: float | None) -> str:
    """A figure with three digits after the point, or a dash."""
    return "–" if value is None else rounded(value, 3)


def share(value: float | None) -> str:
    """A share in percent, or a dash.

    Examples:
        >>> share(0.973), share(None)
        ('97.3 %', '–')
    """
    return "–" if value is None else f"{100 * value:.1f} %"


def with_interval(task: dict[str, Any]) -> str:
    """The share of right answers and its interval.

    Examples:
        >>> with_interval({"accuracy": 0.95, "low": 0.888, "high": 0.978})
        '95.0 % (89 to 98)'
    """
    return f"{share(task['accuracy'])} ({100 * task['low']:.0f} to {100 * task['high']:.0f})"
