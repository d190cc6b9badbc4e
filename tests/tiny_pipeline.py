"""A pipeline of three stages that is done in seconds: a tokenizer, a model, and that model trained further."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from minimind.arguments import main_of
from minimind.data import World, pack, records
from minimind.model import load
from minimind.pipeline import Size, Stage, measure, pipeline
from minimind.settings import PipelineSettings, PretrainSettings, TokenizerSettings, TrainingSettings
from minimind.tokenizer import Tokenizer, render_chat
from minimind.training import FitResult, RowBatches, causal_language_model, pretrain, run_stage, tokenizer

SHORT = {
    "max_seq_len": 32,
    "batch_size": 4,
    "validate_every": 5,
    "sample_tokens": 0,
    "device": "cpu",
}


@dataclass
class Start:
    """What the training starts from."""

    from_weight: str = "pretrain"
    """Which model."""


@dataclass
class FurtherSettings(Start, TrainingSettings):
    """Train a model further, on conversations."""


def further(settings: FurtherSettings) -> FitResult | None:
    def read(folder: Path) -> SimpleNamespace:
        words = Tokenizer.load(folder)
        examples = [render_chat(words, talk.messages)[0] for talk in islice(World(0).conversations(), 40)]
        return SimpleNamespace(rows=pack(examples, settings.max_seq_len).columns, facts={"source": "talks"})

    return run_stage(
        settings,
        prepare=lambda folder: Tokenizer.load(settings.from_weight).save(folder),
        read=read,
        model=lambda data: load(settings.from_weight)[0],
        batches=lambda data, model: RowBatches(data.rows, settings.batch_size, settings.seed),
        objective=causal_language_model,
        validate=lambda data, model: {"largest": float(next(model.parameters()).max())},
    )


def of_steps(steps: int, **changes: Any) -> dict[str, Size]:
    """Two sizes: `default`, and `quick`, which is half of it."""
    changes = {**SHORT, **changes}
    return {
        "quick": Size(1, {**changes, "steps": steps // 2}),
        "default": Size(2, {**changes, "steps": steps}),
    }


TINY = (
    Stage(
        name="tokenizer",
        verb="tokenizer",
        run=tokenizer,
        settings=TokenizerSettings,
        sizes=dict.fromkeys(("quick", "default"), Size(1, {"what": "train", "vocab_size": 300})),
    ),
    Stage(
        name="pretrain",
        verb="pretrain",
        run=pretrain,
        settings=PretrainSettings,
        sizes=of_steps(20, hidden_size=32, num_hidden_layers=1, validation_documents=4),
        reads={"tokenizer": "tokenizer"},
    ),
    Stage(
        name="further",
        verb="further",
        run=further,
        settings=FurtherSettings,
        sizes=of_steps(20, checkpoint_seconds=0.0),
        reads={"from_weight": "pretrain"},
    ),
)


SMALL = ((records, "SAMPLE_DOCUMENTS", 100), (measure, "DOCUMENTS", 4), (measure, "CASES", 2))
"""What else is smaller than usual: where, what and how much."""


def tiny_pipeline(settings: PipelineSettings) -> FitResult | None:
    """The whole of it."""
    return pipeline(settings, TINY)


if __name__ == "__main__":
    for module, name, value in SMALL:
        setattr(module, name, value)
    sys.exit(main_of("pipeline", PipelineSettings, tiny_pipeline))
