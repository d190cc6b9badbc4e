"""Check a reader's function: every property in plain words, the smallest case that fails, and the mistake's name.

The reader's answers come from a process of their own (`runner`). Ours come from the task's solution, and those of
each known mistake from the solution with that mistake in it. A mistake is named only if it gives the reader's
answers on every case, the right ones and the wrong ones alike.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from .runner import outcome_of
from .task import Case, Mistake, Task, function_of

SECONDS = 10.0
"""Longest time that a reader's function may take for all cases."""
START_SECONDS = 60.0
"""Longest time in which the process must have started; importing torch takes some of it."""
SHOWN_NUMBERS = 24
"""A tensor with more numbers is shown by its shape and a few of them."""
ROUNDING = 1e-7
"""A smaller number in a tensor is shown as 0: the cosine of π/2 comes out as -4e-8."""

Outcome = dict[str, Any]


@dataclass
class Verdict:
    """What the check found.

    Attributes:
        passed: whether every property holds.
        lines: the report.
        mistakes: the known mistakes that explain it, if any.
    """

    passed: bool
    lines: list[str]
    mistakes: list[Mistake] = field(default_factory=list)


def check(task: Task, file: Path, seconds: float = SECONDS) -> Verdict:
    """Run a reader's file and judge it.

    Args:
        task: the exercise.
        file: with the reader's function.
        seconds: time for all cases together.

    Raises:
        UserError: if there is no such file.
    """
    if not file.is_file():
        raise UserError(f"{file}: not found; `minimind exercise start {task.name}` makes it")
    try:
        outcomes = run_apart(task, file, seconds)
    except CannotLoad as error:
        return Verdict(False, [str(error)])
    right = outcomes_of(task, task.solved())
    holds = list(map(agrees, outcomes, right, tolerances(task)))
    lines = []
    number, explained = 0, False
    for property in task.properties:
        cases = range(number, number + len(property.cases))
        number = cases.stop
        failed = next((case for case in cases if not holds[case]), None)
        lines.append(f"  {'holds' if failed is None else 'fails'}  {property.words}")
        if failed is not None and not explained:  # One failure is enough to read; the others often follow.
            lines += _shown(property.cases[failed - cases.start])
            lines += [f"         compared: {property.compares}"] if property.compares else []
            lines += [f"         {line}" for line in difference(task, outcomes[failed], right[failed])]
            explained = True
    if not explained:
        return Verdict(True, lines)
    mistakes = diagnose(task, outcomes)
    if mistakes:
        lines.append(
            "This is what you would get if " + ", and if ".join(mistake.words for mistake in mistakes) + "."
        )
        lines += [mistake.look for mistake in mistakes]
    return Verdict(False, lines, mistakes)


class CannotLoad(Exception):
    """A reader's file in which there is no function to call; says why in a sentence."""


def run_apart(task: Task, file: Path, seconds: float) -> list[Outcome]:
    """Let a process of its own run the reader's function.

    Returns:
        What it did on each case. Where it hung or ended the process, all cases from there on say so.

    Raises:
        CannotLoad: if the file has no function to call.
    """
    count = sum(len(property.cases) for property in task.properties)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        command = [
            sys.executable,
            "-m",
            "minimind.course.exercises.runner",
            str(file.resolve()),
            task.name,
            folder,
        ]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; what the reader's code has started, we end.
        )
        try:
            problem = _wait(process, place, seconds)
        finally:
            _end(process)
        problem = problem or f"your code ended the process here (exit status {process.returncode})"
        if not (place / "loading.pt").exists():
            raise CannotLoad(f"{file}: {problem}")
        loading = torch.load(place / "loading.pt", weights_only=True)
        if "error" in loading:
            raise CannotLoad(_loading_problem(task, file, loading))
        outcomes = [torch.load(path, weights_only=True) for path in sorted(place.glob("case-*.pt"))]
    return outcomes + [{"stopped": problem}] * (count - len(outcomes))


def _wait(process: subprocess.Popen[bytes], place: Path, seconds: float) -> str | None:
    """Wait for the process to end; end it when its time is up."""
    limit, started = time.monotonic() + START_SECONDS, False
    while process.poll() is None:
        if not started and (place / "started").exists():
            started, limit = True, time.monotonic() + seconds
        if time.monotonic() > limit:
            if not started:
                return f"Python did not start within {START_SECONDS:g} seconds; try again when the machine is less busy"
            return (
                f"your code did not come to an end in {seconds:g} seconds; look for a loop that never stops"
            )
        time.sleep(0.02)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and, where the system knows groups, all that it has started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _loading_problem(task: Task, file: Path, outcome: Outcome) -> str:
    """Why there is no function to call."""
    if outcome["error"] == "AttributeError" and outcome["line"] is None:
        return f"{file}: there is no function {task.name}; keep the name that the file started with"
    line = f":{outcome['line']}" if outcome["line"] else ""
    return f"{outcome.get('file', file)}{line}: Python cannot run this file: {outcome['error']}: {outcome['message']}"


def outcomes_of(task: Task, text: str) -> list[Outcome]:
    """What the function in a file's text does on every case."""
    function = function_of(text, task.name, f"<{task.name}>")
    return [outcome_of(function, property, case) for property in task.properties for case in property.cases]


def tolerances(task: Task) -> list[float]:
    """Of each case, the largest relative difference that counts as rounding."""
    return [property.tolerance for property in task.properties for _ in property.cases]


def agrees(found: Outcome, expected: Outcome, tolerance: float = 1e-5) -> bool:
    """Whether an outcome is right: the value, its shape and dtype, and all arguments as they were."""
    if "value" not in found or "value" not in expected:
        return "error" in found and found["error"] == expected.get("error")
    return found["changed"] == expected["changed"] and equal(found["value"], expected["value"], tolerance)


def equal(one: Any, two: Any, tolerance: float = 1e-5) -> bool:
    """Whether two values are equal up to rounding; NaN equals NaN. Where a whole number is due, 3.0 is not 3."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        if one.shape != two.shape or one.dtype != two.dtype:
            return False
        relative = 1e-2 if one.dtype == torch.bfloat16 else tolerance
        return torch.allclose(one.float(), two.float(), rtol=relative, atol=tolerance / 10, equal_nan=True)
    if isinstance(one, tuple) and isinstance(two, tuple):
        return len(one) == len(two) and all(equal(*pair, tolerance) for pair in zip(one, two, strict=True))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key], tolerance) for key in one)
    if isinstance(two, float):
        both = isinstance(one, int | float) and isinstance(two, int | float)
        return both and abs(one - two) <= 1e-6 + 1e-5 * abs(two)
    return type(one) is type(two) and bool(one == two)


def diagnose(task: Task, outcomes: list[Outcome]) -> list[Mistake]:
    """The known mistakes, one or two at once, that give the reader's answers on every case."""
    for count in (1, 2):
        for mistakes in itertools.combinations(task.mistakes, count):
            try:
                wrong = outcomes_of(task, task.wrong(*mistakes))
            except ValueError:
                continue  # These two change the same text.
            if all(map(agrees, outcomes, wrong, tolerances(task))):
                return list(mistakes)
    return []


def difference(task: Task, found: Outcome, expected: Outcome) -> list[str]:
    """What came out of a case, beside what should have."""
    if "stopped" in found:
        return [found["stopped"]]
    if "error" in found:
        line = f" in line {found['line']}" if found["line"] else ""
        return [f"{found['error']}{line}: {found['message'].splitlines()[0] if found['message'] else ''}"]
    printed = [f"(it printed {found['printed'].strip()!r})"] if found["printed"].strip() else []
    value, wanted = found["value"], expected["value"]
    if value is None:
        return [f"{task.name} gives None; write its body, and let it return the result", *printed]
    if found["changed"]:
        return [f"the argument {' and '.join(found['changed'])} was changed; work on a copy", *printed]
    lines = [f"expected {show(wanted)}", f"yours    {show(value)}"]
    if _type_of(value) != _type_of(wanted) and not (isinstance(value, int) and isinstance(wanted, float)):
        lines.append(f"the type is {_type_of(value)}, it should be {_type_of(wanted)}")
    elif isinstance(value, dict) and isinstance(wanted, dict):
        lines += [
            f"{key}: the type is {_type_of(value[key])}, it should be {_type_of(wanted[key])}"
            for key in wanted
            if key in value and _type_of(value[key]) != _type_of(wanted[key])
        ][:1]
    if isinstance(value, Tensor) and isinstance(wanted, Tensor):
        if value.shape != wanted.shape:
            lines.append(f"the shape is {tuple(value.shape)}, it should be {tuple(wanted.shape)}")
        elif value.dtype != wanted.dtype:
            lines.append(f"the dtype is {value.dtype}, it should be {wanted.dtype}")
        elif bool(value.isnan().any()) and not bool(wanted.isnan().any()):
            lines.append("there is a NaN in it")
    return lines + printed


def _type_of(value: Any) -> str:
    """The type of what a function gave, as its reader wrote it: `runner` keeps lists as tuples."""
    return "list or tuple" if isinstance(value, tuple) else type(value).__name__


def _shown(case: Case) -> list[str]:
    width = max(map(len, case))
    return [f"         {name:<{width}} = {show(value)}" for name, value in case.items()]


def show(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, list) and value and all(map(callable, value)):
        return "[" + ", ".join(map(show, value)) + "]"
    if isinstance(value, dict):
        # Of the weights of a whole layer, the shapes are all that one can read.
        many = sum(item.numel() for item in value.values() if isinstance(item, Tensor)) > SHOWN_NUMBERS
        shown = (
            f"{key}: {tuple(item.shape) if many and isinstance(item, Tensor) else show(item)}"
            for key, item in value.items()
        )
        return "{" + ", ".join(shown) + "}"
    if callable(value) and not isinstance(value, Tensor):
        return getattr(value, "__name__", type(value).__name__)
    if not isinstance(value, Tensor):
        return _number(value) if isinstance(value, float) else repr(value)
    kind = (
        ""
        if value.dtype in (torch.float32, torch.bool, torch.int64)
        else f" {value.dtype}".replace("torch.", "")
    )
    if value.numel() > SHOWN_NUMBERS:
        some = ", ".join(_number(number) for number in value.flatten()[:4].tolist())
        return f"[{some}, …] {tuple(value.shape)}{kind}"
    return _nested(value.tolist()) + kind


def _nested(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_nested, value)) + "]"
    return "0" if isinstance(value, float) and abs(value) < ROUNDING else _number(value)


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
