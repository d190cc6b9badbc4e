"""LoRA: a fine-tuned model learns something new, and its own weights stay as they are.

Only the adapters are trained, and they are what the run's folder holds at the end: a small file beside a large model.
The model must not forget what it could do, so conversations and documents that it has read are repeated between the new
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..data import Record, World, read_records
from ..data.chat_examples import fields_of
from ..data.world import TASKS, Case, Conversation
from ..errors import UserError
from ..metrics import answer
from ..model import MiniMind, apply_lora, remove_lora, save_adapter
from ..progress import progress
from ..runs import read_run, weights_digest
from ..settings import LoraSettings
from .answering import accuracy, measure, sample_answer
from .base import Base, find_base
from .batches import Batches, RowBatches
from .corpus import check_documents
from .fine_tuning import (
    Conversations,
    Lesson,
    base_model,
    check_start,
    open_conversations,
    prepare_conversations,
)
from .loop import FitResult
from .replay import learned_last, questions_in
from .sft import answers
from .show import describe_rows
from .stage import run_stage

SUBJECTS: dict[str, Callable[[World, str], Iterable[Conversation]]] = {
    "identity": lambda world, split: world.identity(split=split),
    "far": World.far_conversations,
}
"""What the embedded world has to teach an adapter."""
STEPS = 1000
"""Length of the default run, most of which is replay. A short file is repeated to fill as many steps, unless `epochs`
says how often: an adapter learns from few examples, if it sees them often."""
KEPT_TASKS = tuple(task for task in TASKS if task != "identity")
"""What an adapter must not spoil. Who the model is, it may change."""
CASES = 200
"""Held-out questions about the subject that are asked at the end."""


def lora(settings: LoraSettings) -> FitResult | None:
    """Train an adapter and leave it in a run's folder, in PEFT's format.

    Args:
        settings: what `minimind lora --help` lists.

    Returns:
        How the training ended; None if the run was finished before.

    Raises:
        UserError: for a mistake in the settings, the base or the data, before anything is deleted or trained.
    """
    check_documents(settings)
    check_start(settings)
    own = settings.data_path is not None
    steps = settings.steps or (None if own else STEPS)
    # The world goes on for ever; a file is stored as often as it takes for the usual length, and then passed again.
    row_count = (STEPS if own else steps or STEPS) * settings.batch_size * settings.accumulation_steps
    counted = settings.epochs != LoraSettings.epochs  # Who says how often a file is passed gets no more.

    def adapt(model: MiniMind) -> None:
        s = settings
        apply_lora(model, s.rank, s.alpha, s.lora_dropout, s.target_modules, s.rank_stabilized)

    def prepare(folder: Path) -> None:
        base = find_base(settings)
        adapt(base.model)  # What cannot be adapted is refused here, before any data are read.
        remove_lora(base.model)
        asked = questions_anew(settings)
        replayed = learned_last(base.folder, base.pretraining, settings.max_seq_len, settings.seed, asked)
        tokens = 0 if counted else row_count * settings.max_seq_len
        subject = SUBJECTS[settings.subject]
        lesson = Lesson(f"lora {settings.subject}", subject, tokens, replayed, facts_of_base)
        prepare_conversations(settings, base, row_count, folder, lesson)

    def adapted(data: Conversations) -> MiniMind:
        if weights_digest(data.base) != data.facts["base_weights"]:
            raise UserError(f"{data.base}: has changed since the run began; start over with --overwrite")
        model = base_model(data)
        adapt(model)
        return model

    def batches(data: Conversations, model: MiniMind) -> Batches:
        epochs = None if steps else settings.epochs
        return RowBatches(
            data.corpus.rows, settings.batch_size, settings.seed, settings.accumulation_steps, epochs
        )

    return run_stage(
        settings,
        prepare=prepare,
        read=open_conversations,
        model=adapted,
        batches=batches,
        objective=answers,
        validate=measure,
        examine=lambda data, model: examine(data, model, settings.subject),
        sample=lambda data, model: sample_answer(data, model, settings.sample_tokens),
        describe_rows=lambda data, batch: describe_rows(data.tokenizer, batch),
        steps=steps,
        use="`minimind chat {}` talks with its model",
        save=lambda model, folder, data: save_adapter(model, folder, data.facts["base"]),
    )


def questions_anew(settings: LoraSettings) -> set[int]:
    """Questions that the adapter learns to answer otherwise than its base, as `questions_in` gives them."""
    conversations: Iterable[Record | Conversation] = ()
    if settings.data_path is not None:
        records = read_records(settings.data_path, "sft", skip_bad_rows=settings.skip_bad_rows)
        shown = progress(records, "reading questions, bytes", records.size, lambda record: record.size)
        conversations = shown
    elif settings.subject == "identity":
        conversations = World().identity()
    return {number for one in conversations for number in questions_in(fields_of(one)["messages"])}


def facts_of_base(base: Base) -> dict[str, Any]:
    """How well the model answers questions of its world before it is adapted, if it has learned to."""
    facts: dict[str, Any] = {"kept_tasks_seed": None}
    learned_from = (read_run(base.folder) or {}).get("data")
    seed = learned_from.get("conversations_seed") if isinstance(learned_from, dict) else None
    if seed is not None:
        before = accuracy(base.model, base.tokenizer, World(seed), KEPT_TASKS)
        facts |= {"kept_tasks_seed": seed, "accuracy_before": before["accuracy"]}
        facts["accuracy_by_task_before"] = before["accuracy_by_task"]
    return facts


def examine(data: Conversations, model: MiniMind, subject: str) -> dict[str, Any]:
    """How many held-out questions about the subject are answered rightly, and of what the model could do before."""
    figures: dict[str, Any] = {}
    if (seed := data.facts["conversations_seed"]) is not None:
        cases = cases_about(subject, World(seed), CASES)
        questions = [case.messages for case in cases]
        replies = answer(model, data.tokenizer, questions, show_progress=True)
        right = [case.is_right(reply.text) for case, reply in zip(cases, replies, strict=True)]
        figures["subject_accuracy"] = sum(right) / len(right)
    if (seed := data.facts["kept_tasks_seed"]) is not None:
        figures |= accuracy(model, data.tokenizer, World(seed), KEPT_TASKS)
    return figures


def cases_about(subject: str, world: World, count: int) -> list[Case]:
    """Held-out questions about what the adapter was taught, at most `count`."""
    return world.identity_cases()[:count] if subject == "identity" else world.cases(subject, count)


if __name__ == "__main__":
    import sys

    from ..arguments import main_of

    sys.exit(main_of("lora", LoraSettings, lora))
