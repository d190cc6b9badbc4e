"""What a model can do, task by task: the world's questions that no training conversation asks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from ..data import World
from ..data.world import HARD, TASKS
from .answers import answer

EASY = tuple(task for task in TASKS if task not in HARD)
"""The tasks that count for the mean; the hard ones are told apart."""


@dataclass
class TaskAnswers:
    """What a model answered to the questions of one task, in the order of `World.cases`."""

    right: list[bool] = field(default_factory=list)
    """Whether the answer is right."""
    ended: list[bool] = field(default_factory=list)
    """Whether the model ended the answer by itself."""

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return fmean(self.right)


def answer_tasks(
    model: Any,
    tokenizer: Any,
    world: World,
    count: int,
    tasks: Collection[str] = tuple(TASKS),
    show_progress: bool = False,
) -> dict[str, TaskAnswers]:
    """Ask a model the held-out questions of some tasks.

    Args:
        model: a `MiniMind`.
        tokenizer: the model's.
        world: whose questions.
        count: most questions a task; a task that has fewer asks what it has.
        tasks: names of tasks; default: all.
        show_progress: draw a bar on a terminal.

    Returns:
        The answers, by the task's name.
    """
    cases = [case for task in tasks for case in world.cases(task, count)]
    replies = answer(model, tokenizer, [case.messages for case in cases], show_progress=show_progress)
    answers = {task: TaskAnswers() for task in tasks}
    for case, reply in zip(cases, replies, strict=True):
        answers[case.task].right.append(case.is_right(reply.text))
        answers[case.task].ended.append(reply.ended)
    return answers


def mean_accuracy(answers: Mapping[str, TaskAnswers]) -> float:
    """The mean of the tasks' accuracies, each task alike, without the hard tasks."""
    return fmean(given.accuracy for task, given in answers.items() if task in EASY)
