"""What a model can do, task by task: the world's questions that no training conversation asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from ..data import World
from ..data.world import HARD, TASKS
from ..metrics import answer, confidence_interval, paired_difference

EASY = tuple(task for task in TASKS if task not in HARD)
"""The tasks that count for the mean; the hard ones are told apart."""


@dataclass
class TaskAnswers:
    """What a model answered to the questions of one task, in the order of `World.cases`."""

    right: list[bool] = field(default_factory=list)
    """Whether the answer is right."""
    ended: list[bool] = field(default_factory=list)
    """Whether the model ended the answer by itself."""


def answer_tasks(
    model: Any, tokenizer: Any, world: World, count: int, show_progress: bool = False
) -> dict[str, TaskAnswers]:
    """Ask a model the held-out questions of every task.

    Args:
        model: a `MiniMind`.
        tokenizer: the model's.
        world: whose questions.
        count: most questions a task; a task that has fewer asks what it has.
        show_progress: draw a bar on a terminal.

    Returns:
        The answers, by the task's name.
    """
    cases = [case for task in TASKS for case in world.cases(task, count)]
    replies = answer(model, tokenizer, [case.messages for case in cases], show_progress=show_progress)
    answers = {task: TaskAnswers() for task in TASKS}
    for case, reply in zip(cases, replies, strict=True):
        answers[case.task].right.append(case.is_right(reply.text))
        answers[case.task].ended.append(reply.ended)
    return answers


def task_figures(answers: dict[str, TaskAnswers]) -> dict[str, Any]:
    """The figures of a model's answers.

    Returns:
        `tasks`: by name, how many answers are right, their share with its 95 % interval, and what a guess gets;
        `accuracy`: the mean of these shares, each task alike, without the hard tasks;
        `stop_rate`: the share of all answers that the model ended by itself.
    """
    tasks: dict[str, dict[str, float]] = {}
    for task, given in answers.items():
        correct, total = sum(given.right), len(given.right)
        low, high = confidence_interval(correct, total)
        tasks[task] = {
            "correct": correct,
            "total": total,
            "accuracy": correct / total,
            "low": low,
            "high": high,
            "chance": TASKS[task].chance,
        }
    return {
        "tasks": tasks,
        "accuracy": fmean(tasks[task]["accuracy"] for task in EASY),
        "stop_rate": fmean(ended for given in answers.values() for ended in given.ended),
    }


def compare_tasks(answers: dict[str, TaskAnswers], others: dict[str, TaskAnswers]) -> dict[str, Any]:
    """Hold a model's answers against another model's to the same questions.

    Returns:
        `tasks`: by name, the fields of `paired_difference`, above 0 where the first model is better;
        `all`: the same over all questions but those of the hard tasks, each question alike.
    """
    return {
        "tasks": {
            task: paired_difference(given.right, others[task].right)._asdict()
            for task, given in answers.items()
        },
        "all": paired_difference(
            [right for task in EASY for right in answers[task].right],
            [right for task in EASY for right in others[task].right],
        )._asdict(),
    }
