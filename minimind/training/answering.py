"""What is measured while a model learns to answer, and at the end."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from ..data import World
from ..data.world import TASKS
from ..metrics import perplexity
from ..metrics.held_out_answers import held_out_answers
from ..metrics.tasks import answer_tasks, mean_accuracy
from ..model import MiniMind
from ..progress import rounded
from ..runs import read_run
from ..sampling import Sampling
from ..tokenizer import Tokenizer
from .fine_tuning import Conversations
from .show import printable

CASES = 25
"""Held-out questions of each task of the world that are asked at the end; `minimind evaluate` asks more."""


def measure(data: Conversations, model: MiniMind) -> dict[str, Any]:
    """Figures on held-out answers, and on documents of the pretraining."""
    figures: dict[str, Any] = held_out_answers(model, data.answers).figures(data.facts["held_out_nats"])
    if data.corpus.held_out:
        figures["pretraining_perplexity"] = perplexity(model, data.corpus.held_out).perplexity
    return figures


def ask_tasks(data: Conversations, model: MiniMind) -> dict[str, Any]:
    """How many held-out questions of the world are answered rightly: the mean over tasks, without the hard ones, and
    each task. No figures for conversations of the reader's own."""
    seed = data.facts["conversations_seed"]
    return {} if seed is None else accuracy(model, data.tokenizer, World(seed), TASKS)


def accuracy(model: MiniMind, tokenizer: Tokenizer, world: World, tasks: Collection[str]) -> dict[str, Any]:
    """Ask a model a few held-out questions of some tasks of a world; figures as in `ask_tasks`, and how many answers it
    ended by itself."""
    answers = answer_tasks(model, tokenizer, world, CASES, tasks, show_progress=True)
    return {
        "accuracy": mean_accuracy(answers),
        "accuracy_by_task": {task: given.accuracy for task, given in answers.items()},
        "stop_rate": fmean(ended for given in answers.values() for ended in given.ended),
    }


def cost_in_pretraining(folder: str, rows: list[dict[str, Any]]) -> str:
    """What the training has cost on text of the pretraining, in a sentence; empty where that is not known."""
    before = (read_run(Path(folder)) or {}).get("data", {}).get("pretraining_perplexity_before")
    now = rows[-1].get("pretraining_perplexity") if rows else None
    if before is None or now is None:
        return ""
    more = f" ({now / before - 1:+.1%})" if now < 10 * before else ""
    return f"text of the pretraining: perplexity {before:.3f} before, {rounded(now, 3)} now{more}"


def sample_answer(data: Conversations, model: MiniMind, tokens: int) -> str:
    """Let the model answer the first question that is held out."""
    ids, labels = data.answers["input_ids"][0], data.answers["labels"][0]
    first = int((labels >= 0).argmax())
    prompt = torch.from_numpy(ids[None, :first].astype(np.int64)).to(next(model.parameters()).device)
    written = model.generate(prompt, sampling=Sampling(max_new_tokens=tokens, temperature=0))[0].tolist()
    return printable(data.tokenizer.decode(written, skip_special_tokens=True))
