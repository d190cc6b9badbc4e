"""The process in which a reader's code runs: it calls the function on every case and writes down what came out.

It judges nothing. So code that hangs, crashes or ends the process takes nothing with it, and the checker can say
on which case it happened.
"""

from __future__ import annotations

import contextlib
import copy
import io
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .catalog import find_task
from .task import Case, Property, function_of

PRINTED = 300
"""Characters of a reader's own prints that are shown."""


def main(file: str, name: str, folder: str) -> None:
    """Run all cases of a task with the function in a file.

    Args:
        file: the reader's file.
        name: of the task.
        folder: gets `started` when the work begins, `loading.pt`, and then `case-000.pt`, `case-001.pt`, …
    """
    task = find_task(name)
    place = Path(folder)
    sys.path.insert(0, str(Path(file).parent))  # A reader's file may import another one of theirs.
    torch.set_num_threads(1)
    (place / "started").touch()
    outcome, function = _load(Path(file), name)
    torch.save(outcome, place / "loading.pt")
    if function is None:
        return
    number = 0
    for property in task.properties:
        for case in property.cases:
            outcome = outcome_of(function, property, case, file)
            aside = place / "next"
            torch.save(outcome, aside)
            aside.rename(place / f"case-{number:03}.pt")
            number += 1


def outcome_of(
    function: Callable[..., Any], property: Property, case: Case, file: str = ""
) -> dict[str, Any]:
    """What a call did.

    Returns:
        `value`, or `error`, `message` and `line`; with `changed`, the names of arguments that are not as they
        were; and `printed`.
    """
    given = copy.deepcopy(case)
    printed = io.StringIO()
    outcome: dict[str, Any]
    torch.manual_seed(0)
    try:
        with contextlib.redirect_stdout(printed):
            outcome = {"value": _plain(property.observe(function, **given))}
    except BaseException as error:
        outcome = _failure(error, file)
    outcome["changed"] = [name for name in case if not same(given[name], case[name])]
    outcome["printed"] = printed.getvalue()[:PRINTED]
    return outcome


def same(one: Any, two: Any) -> bool:
    """Whether two arguments are equal, number by number."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.shape == two.shape and one.dtype == two.dtype and bool(((one == two) | (one != one)).all())
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[name], two[name]) for name in one)
    return type(one) is type(two) and (one == two or isinstance(one, torch.Generator))


def _load(file: Path, name: str) -> tuple[dict[str, Any], Callable[..., Any] | None]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return {}, function_of(file.read_text(encoding="utf-8-sig"), name, str(file))
    except BaseException as error:
        return _failure(error, str(file)), None


def _failure(error: BaseException, file: str) -> dict[str, Any]:
    """The kind of an exception, its words, and the last line of the reader's file that it went through."""
    if isinstance(error, SyntaxError):  # perhaps of another file that this one imports
        where = {"line": error.lineno, "file": error.filename or file}
        return {"error": type(error).__name__, "message": error.msg, **where}
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return {"error": type(error).__name__, "message": str(error), "line": lines[-1] if lines else None}


def _plain(value: Any) -> Any:
    """A value of kinds that are read back without running code; anything else becomes its type's name."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, tuple | list):
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item) for key, item in value.items()}
    for kind in (bool, int, float, str):  # A number of NumPy counts as one of Python's.
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else f"a value of type {type(value).__module__}.{type(value).__name__}"


if __name__ == "__main__":
    main(*sys.argv[1:])
