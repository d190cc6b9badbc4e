"""What is said of a model's answers, task by task: how sure the shares are, and whether another model does better."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from ..data.world import TASKS
from ..metrics import confidence_interval, paired_difference
from ..metrics.tasks import EASY, TaskAnswers, mean_accuracy


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
            "accuracy": given.accuracy,
            "low": low,
            "high": high,
            "chance": TASKS[task].chance,
        }
    return {
        "tasks": tasks,
        "accuracy": mean_accuracy(answers),
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
