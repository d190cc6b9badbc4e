"""Measure a run's model on documents that it has not seen."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from ..data import World, read_records
from ..device import choose_device
from ..errors import UserError
from ..metrics import HeldOut, held_out, perplexity
from ..model import load
from ..runs import find_run, read_run
from ..settings import EvaluateSettings
from ..training.corpus import read_held_out


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Perplexity, its floor where known, and bits per byte, in fp32.

    Without `data_path` these are the documents that the run held out; for a run on the embedded world, as
    many fresh ones as are asked for.

    Raises:
        UserError: if the run or the data cannot be read.
    """
    if settings.documents < 1:
        raise UserError(f"documents must be at least 1, got {settings.documents}")
    folder = find_run(settings.run)
    model, tokenizer = load(folder)
    model.to(choose_device(settings.device))
    documents, source = documents_for(folder, tokenizer, settings)
    measured = perplexity(model, documents, show_progress=True)
    return {
        "run": str(folder),
        "source": source,
        "documents": len(documents),
        "perplexity": measured.perplexity,
        "floor_perplexity": measured.floor_perplexity,
        "bits_per_byte": measured.bits_per_byte,
        "tokens": measured.tokens,
    }


def documents_for(folder: Path, tokenizer: Any, settings: EvaluateSettings) -> tuple[list[HeldOut], str]:
    """The documents to measure on, and where they come from."""
    if settings.data_path is not None:
        records = islice(
            read_records(settings.data_path, skip_bad_rows=settings.skip_bad_rows), settings.documents
        )
        return held_out(tokenizer, records), settings.data_path
    trained_on = (read_run(folder) or {}).get("settings", {})
    if trained_on.get("data_path"):
        documents, _ = read_held_out(folder)
        return documents[: settings.documents], f"{trained_on['data_path']} (held out)"
    seed = trained_on.get("seed", 0)
    fresh = islice(World(seed).documents("validation"), settings.documents)
    return held_out(tokenizer, fresh), f"the embedded world, seed {seed} (held out)"
