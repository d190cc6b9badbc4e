"""`minimind exercise`: list, start, check, hint, solution and train."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from ...errors import UserError
from ...settings import ExerciseSettings
from .catalog import find_task
from .desk import Desk

MARKS = {"passed": "[x]", "changed": "[~]", "started": "[ ]", "open": "   "}


def exercise(given: ExerciseSettings) -> int:
    """Do one thing with the exercises; gives the exit status, 1 for an answer that is not right yet."""
    desk = Desk(given.folder)
    if given.what == "list":
        if given.name is not None:
            raise UserError(f"`list` shows all exercises; leave {given.name!r} out")
        rows = desk.rows()
        print(json.dumps(rows) if given.json else overview(rows))
        return 0
    if given.what == "train":
        if given.name is not None:
            raise UserError(f"`train` takes all parts together; leave {given.name!r} out")
        if not 0 < given.seconds <= 3600:
            raise UserError(f"seconds must be above 0 and at most 3600, got {given.seconds:g}")
        from .train import race, story

        print(story(race(desk, given.seconds)))
        return 0
    if given.name is None:
        raise UserError(
            f"which one? minimind exercise {given.what} NAME; `minimind exercise list` shows the names"
        )
    task = find_task(given.name)
    if given.what == "start":
        path = desk.start(task)
        print(f"{path}: write the body of {task.name}, then `minimind exercise check {task.name}`")
    elif given.what == "hint":
        number, words = desk.hint(task)
        print(f"hint {number} of 3: {words}")
    elif given.what == "solution":
        if not given.yes and not asked(
            f"Show the solution of {task.name}? You learn more by writing it [y/N] "
        ):
            print(f"not shown; `minimind exercise hint {task.name}` helps without giving it away")
            return 0
        print(task.source, end="")
    else:
        return check(desk, task)
    return 0


def check(desk: Desk, task: Any) -> int:
    """Check a reader's file and say what was found."""
    from .checker import check as judge

    verdict = judge(task, desk.file(task.name))
    print(f"{task.name} ({desk.file(task.name)})")
    print("\n".join(verdict.lines))
    if verdict.passed:
        desk.passed(task)
        print("passed")
        return 0
    print(f"not right yet; `minimind exercise hint {task.name}` helps")
    return 1


def asked(question: str) -> bool:
    """Whether the answer to a question is yes. Where nobody can answer, it is no."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def overview(rows: list[dict[str, Any]]) -> str:
    """The list for a terminal."""
    lines = []
    for module, group in groupby(rows, key=lambda row: row["module"]):
        lines.append(module.replace("_", " "))
        for row in group:
            part = "" if row["core"] else " (extra)"
            lines.append(
                f"  {MARKS[row['state']]} {row['name']:<28}{row['minutes']:>3} min  {row['title']}{part}"
            )
    done = sum(row["state"] == "passed" for row in rows)
    lines += ["", f"{done} of {len(rows)} passed; [x] passed, [ ] started, [~] changed since it passed"]
    return "\n".join(lines)
