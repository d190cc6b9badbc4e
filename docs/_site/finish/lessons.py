"""What lesson pages share: how long a page takes, core and extra apart, and the box of an exercise.

`<!-- time -->` becomes "Core 12 minutes · extra 5 minutes", counted from the page itself: words, shown code, figures,
questions, exercises, and the time its scripts take. A section whose heading starts with "Extra:" is extra, and so is a
whole page with `extra: true` in its front matter. `<!-- exercise: rms_norm -->` becomes the exercise's box.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..fences.sources import excerpt
from ..marks.markup import escape
from ..run.parse import find_fences, origins
from ..run.state import ROOT, build

WORDS_A_MINUTE = 150
CODE_LINES_A_MINUTE = 20
MINUTES_A_FIGURE = 1.0
MINUTES_A_QUESTION = 0.75
EXERCISE = re.compile(r"<!-- exercise: (\w+) -->")
TIME = "<!-- time -->"
EXTRA = "Extra:"


@dataclass
class Minutes:
    """How long a page takes."""

    core: float = 0.0
    extra: float = 0.0


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in the marks of a page."""
    markdown = EXERCISE.sub(lambda found: _box(found[1]), markdown)
    if TIME not in markdown:
        return markdown
    minutes = minutes_of(Path(page.file.abs_src_path))
    return markdown.replace(TIME, f'<p class="mm-time">{escape(told(minutes))}</p>')


def told(minutes: Minutes) -> str:
    """Minutes in words: "Core 12 minutes · extra 1 minute"; what rounds to nothing is left out."""
    rounded = {name: round(value) for name, value in vars(minutes).items()}
    parts = [
        f"{name} {number} minute{'s' if number > 1 else ''}" for name, number in rounded.items() if number
    ]
    return " · ".join(parts).capitalize()


def _box(name: str) -> str:
    from minimind.course.exercises.catalog import find_task
    from minimind.errors import UserError

    try:
        task = find_task(name)
    except UserError as error:
        return build.fail(build.page.file.src_uri, str(error))
    kind = "" if task.core else ", extra"
    tick = name.replace("_", "-")
    return (
        f'!!! example "`{name}` ({task.minutes} min{kind}): {task.title}"\n\n'
        f"    ```bash\n    minimind exercise start {name}\n    minimind exercise check {name}\n    ```\n\n"
        f'    ```checklist\n    - {{id: exercise-{tick}, text: "The check says that `{name}` is right"}}\n'
        "    ```\n"
    )


def minutes_of(path: Path) -> Minutes:
    """Core and extra minutes of a page, from its source."""
    text = path.read_text(encoding="utf-8-sig")
    whole = False
    if text.startswith("---\n"):
        front, _, text = text[4:].partition("\n---\n")
        whole = bool((yaml.safe_load(front) or {}).get("extra"))
    minutes = Minutes()
    for extra, part in _sections(text):
        took = _minutes(part)
        if extra or whole:
            minutes.extra += took
        else:
            minutes.core += took
    return minutes


def _sections(text: str) -> list[tuple[bool, str]]:
    """A page cut at its headings; each piece with whether it is extra."""
    inside = {line for fence in find_fences(text) for line in range(fence.first, fence.last + 1)}
    pieces: list[tuple[bool, list[str]]] = [(False, [])]
    depth = 0  # of the heading that began an extra part; 0 outside of one
    for number, line in enumerate(text.split("\n"), start=1):
        heading = re.match(r"(#+) (.*)", line) if number not in inside else None
        if heading:
            level = len(heading[1])
            if depth and level <= depth:
                depth = 0
            if not depth and heading[2].startswith(EXTRA):
                depth = level
            pieces.append((bool(depth), []))
        pieces[-1][1].append(line)
    return [(extra, "\n".join(lines)) for extra, lines in pieces]


def _minutes(text: str) -> float:
    from minimind.course.exercises.catalog import find_task

    prose, lines, questions, shown = text.split("\n"), 0, 0, 0.0
    for fence in find_fences(text):
        prose[fence.first - 1 : fence.last] = [""] * (fence.last - fence.first + 1)
        if fence.language == "quiz":
            questions += 1
        elif fence.language == "source":
            name = fence.info.split()[1]
            lines += excerpt(name, 'docstrings="0"' not in fence.info)[3].count("\n") + 1
        elif fence.language == "python":
            shown += MINUTES_A_FIGURE * sum(
                1 + alt.count("|") for alt in re.findall(r'alt="([^"]*)"', fence.info)
            )
            prose += re.findall(r'caption="([^"]*)"', fence.info)
            if 'source="fold"' not in fence.info and 'source="none"' not in fence.info:
                lines += len(origins(fence))
        elif fence.language == "bash":
            scripts = re.findall(r"python (snippets/[\w/]+\.py)", "\n".join(fence.body))
            shown += sum(map(_seconds_of, scripts)) / 60
    words = re.findall(
        r"\w[\w'’-]*", re.sub(r"\]\([^)]*\)|<!--.*?-->|\[\[[=~].*?\]\](?!\])", " ", "\n".join(prose))
    )
    exercises = sum(find_task(name).minutes for name in EXERCISE.findall(text))
    return (
        len(words) / WORDS_A_MINUTE
        + lines / CODE_LINES_A_MINUTE
        + shown
        + questions * MINUTES_A_QUESTION
        + exercises
    )


def _seconds_of(script: str) -> float:
    from minimind.course.snippets import read_script

    found = re.search(r"(\d+) s", read_script(ROOT / script).time)
    return float(found[1]) if found else 0.0
