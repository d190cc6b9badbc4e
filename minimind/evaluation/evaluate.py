"""Measure a run's model on documents and questions that it has not seen."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from ..data import World, read_records
from ..device import choose_device
from ..errors import UserError
from ..metrics import HeldOut, held_out, perplexity
from ..metrics.tasks import answer_tasks
from ..model import load
from ..runs import find_run, read_run
from ..settings import EvaluateSettings
from ..training.corpus import read_held_out
from .tasks import compare_tasks, task_figures


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Perplexity, its floor where known, and bits per byte; and how many questions are answered rightly. All in fp32.

    Without `data_path` the documents are those that the run held out; for a run on the embedded world, as
    many fresh ones as are asked for. A fine-tuned run is measured on the documents of the world that its model was
    pretrained on, as the pretrained one is, so that both compare. Questions are asked where the model has learned to
    answer, and where it is asked for.

    Raises:
        UserError: if the run, the data or the adapter cannot be read.
    """
    for name in ("documents", "cases"):
        if getattr(settings, name) < 1:
            raise UserError(f"{name} must be at least 1, got {getattr(settings, name)}")
    folder = find_run(settings.run)
    device = choose_device(settings.device)
    model, tokenizer = load(folder, settings.adapter)
    # Read now, so that a mistake in its name does not come up after all the work.
    other = None if settings.compare is None else find_run(settings.compare)
    other_model, other_tokenizer = (None, None) if other is None else load(other)
    run = read_run(folder) or {"settings": {}}
    measured: dict[str, Any] = {"run": str(folder)}
    if settings.adapter:
        measured["adapters"] = list(settings.adapter)
    model.to(device)
    documents, source = documents_for(folder, run, tokenizer, settings)
    found = perplexity(model, documents, show_progress=True)
    measured |= {
        "source": source,
        "documents": len(documents),
        "perplexity": found.perplexity,
        "floor_perplexity": found.floor_perplexity,
        "bits_per_byte": found.bits_per_byte,
        "tokens": found.tokens,
    }
    asked = question_seed(run)
    has_learned = asked is not None and (is_fine_tuned(run) or bool(settings.adapter))
    if settings.tasks or other is not None or has_learned:
        world = World(asked or 0)
        answers = answer_tasks(model, tokenizer, world, settings.cases, show_progress=True)
        measured |= {"asked_of": name_of(world), **task_figures(answers)}
        if other_model is not None:
            others = answer_tasks(
                other_model.to(device), other_tokenizer, world, settings.cases, show_progress=True
            )
            measured["compare"] = {"run": str(other), **compare_tasks(answers, others)}
    return measured


def world_seed(run: dict[str, Any]) -> int | None:
    """Seed of the world that a run's model was pretrained on; None for documents of the reader's own.

    Args:
        run: the contents of run.json. A fine-tuned run says there, under `data`, which world its model comes from.
    """
    learned_from, told = run.get("data"), run["settings"]
    if isinstance(learned_from, dict) and "world_seed" in learned_from:
        return learned_from["world_seed"]
    return None if told.get("data_path") else told.get("seed", 0)


def question_seed(run: dict[str, Any]) -> int | None:
    """Seed of the world whose questions a run's model has learned to answer, or at least could."""
    learned_from = run.get("data")
    answers_of = learned_from.get("conversations_seed") if isinstance(learned_from, dict) else None
    return world_seed(run) if answers_of is None else answers_of


def is_fine_tuned(run: dict[str, Any]) -> bool:
    """Whether the model began from another one."""
    return run["settings"].get("from_weight") is not None


def name_of(world: World) -> str:
    """A world in a few words."""
    return f"the embedded world, seed {world.seed}"


def documents_for(
    folder: Path, run: dict[str, Any], tokenizer: Any, settings: EvaluateSettings
) -> tuple[list[HeldOut], str]:
    """The documents to measure on, and where they come from."""
    if settings.data_path is not None:
        records = islice(
            read_records(settings.data_path, skip_bad_rows=settings.skip_bad_rows), settings.documents
        )
        return held_out(tokenizer, records), settings.data_path
    seed = world_seed(run)
    if seed is None:
        documents, _ = read_held_out(folder)
        if not documents:
            raise UserError(f"{folder}: what its model was pretrained on is not there; give --data-path")
        told = run["settings"]
        source = (
            f"what {told['from_weight']} was pretrained on" if is_fine_tuned(run) else told.get("data_path")
        )
        return documents[: settings.documents], f"{source} (held out)"
    world = World(seed)
    fresh = islice(world.documents("validation"), settings.documents)
    return held_out(tokenizer, fresh), f"{name_of(world)} (held out)"
