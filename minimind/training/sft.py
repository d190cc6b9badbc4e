"""Supervised fine-tuning (SFT): a model that goes on with documents learns to answer.

The loss is that of pretraining. What differs are the rows: conversations in the chat template, of which only what the
assistant says is learned, and between them some documents of the pretraining. All weights are trained.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..model import MiniMind
from ..progress import counted
from ..settings import WORLD_STEPS, SftSettings
from .answering import ask_tasks, cost_in_pretraining, measure, sample_answer
from .base import find_base
from .batches import Batches, RowBatches
from .corpus import check_documents
from .fine_tuning import (
    Conversations,
    base_model,
    check_start,
    open_conversations,
    prepare_conversations,
)
from .loop import FitResult
from .objectives import Batch, Loss, causal_language_model
from .show import describe_rows
from .stage import run_stage

FEW_STEPS = 100
"""Shorter runs hardly move the weights: the learning rate rises and falls before much was seen."""


def answers(model: Any, batch: Batch) -> Loss:
    """Predict each token of the answers. The speed counts all tokens that are read: without questions no answers."""
    read = batch["document_ids"] >= 0
    return replace(causal_language_model(model, batch), tokens=read.sum())


def sft(settings: SftSettings) -> FitResult | None:
    """Fine-tune a model on conversations and leave it in a run's folder of its own.

    Args:
        settings: what `minimind sft --help` lists.

    Returns:
        How the training ended; None if the run was finished before.

    Raises:
        UserError: for a mistake in the settings, the base or the data, before anything is deleted or trained.
    """
    check_documents(settings)
    check_start(settings)
    steps = settings.steps or (WORLD_STEPS if settings.data_path is None else None)
    row_count = (steps or 0) * settings.batch_size * settings.accumulation_steps

    def batches(data: Conversations, model: MiniMind) -> Batches:
        epochs = None if steps else settings.epochs
        rows = RowBatches(
            data.corpus.rows, settings.batch_size, settings.seed, settings.accumulation_steps, epochs
        )
        if rows.step_count is not None and rows.step_count < FEW_STEPS:
            enough = math.ceil(FEW_STEPS * settings.epochs / rows.step_count)
            print(
                f"{counted(rows.step_count, 'step')} may be too few to learn from; --epochs {enough} makes more"
            )
        return rows

    result = run_stage(
        settings,
        prepare=lambda folder: prepare_conversations(settings, find_base(settings), row_count, folder),
        read=open_conversations,
        model=base_model,
        batches=batches,
        objective=answers,
        validate=measure,
        examine=ask_tasks,
        sample=lambda data, model: sample_answer(data, model, settings.sample_tokens),
        describe_rows=lambda data, batch: describe_rows(data.tokenizer, batch),
        steps=steps,
        use="`minimind chat {}` talks with it",
    )
    if result is not None and (cost := cost_in_pretraining(settings.output, result.rows)):
        print(cost)
    return result


if __name__ == "__main__":
    import sys

    from ..arguments import main_of

    sys.exit(main_of("sft", SftSettings, sft))
