"""Pretraining: a model learns to predict the next token of documents."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig
from ..errors import UserError
from ..metrics import HeldOut, perplexity
from ..model import MiniMind
from ..settings import WORLD_STEPS, PretrainSettings
from .batches import Batches, RowBatches
from .corpus import Corpus, open_corpus, prepare_corpus
from .loop import FitResult
from .objectives import causal_language_model
from .show import describe_rows, sample
from .stage import run_stage


def pretrain(settings: PretrainSettings) -> FitResult | None:
    """Train a model from scratch and leave it in its run's folder.

    Args:
        settings: what `minimind pretrain --help` lists.

    Returns:
        How the training ended; None if the run was finished before.

    Raises:
        UserError: for a mistake in the settings or the data, before anything is deleted or trained.
    """
    check(settings)
    # The embedded world has no end: a run on it has a length, and reads as many rows as that takes.
    steps = settings.steps or (WORLD_STEPS if settings.data_path is None else None)
    row_count = (steps or 0) * settings.batch_size * settings.accumulation_steps
    wanted = model_config(settings).vocab_size  # Refuses numbers that do not fit before any data are read.

    def new_model(corpus: Corpus) -> MiniMind:
        model = MiniMind(model_config(settings, corpus.tokenizer.vocab_size))
        model.generation_config = corpus.tokenizer.special_ids
        return model

    def batches(corpus: Corpus, model: MiniMind) -> Batches:
        epochs = None if steps else settings.epochs
        return RowBatches(
            corpus.rows, settings.batch_size, settings.seed, settings.accumulation_steps, epochs
        )

    return run_stage(
        settings,
        prepare=lambda folder: prepare_corpus(settings, wanted, row_count, folder),
        read=open_corpus,
        model=new_model,
        batches=batches,
        objective=causal_language_model,
        validate=lambda corpus, model: validate(model, corpus.held_out),
        sample=lambda corpus, model: sample(model, corpus.tokenizer, settings.sample_tokens, settings.seed),
        describe_rows=lambda corpus, batch: describe_rows(corpus.tokenizer, batch),
        steps=steps,
    )


def check(settings: PretrainSettings) -> None:
    """Refuse what cannot work, before anything is read."""
    if settings.validation_documents < 1:
        raise UserError(f"validation_documents must be at least 1, got {settings.validation_documents}")
    if not 0 < settings.validation_share < 1:
        raise UserError(f"validation_share must be above 0 and below 1, got {settings.validation_share}")
    if settings.data_path is None and settings.epochs != 1:
        raise UserError("the embedded world has no end, so it has no epochs; set its length with --steps")
    if settings.tokenizer is not None and settings.vocab_size is not None:
        raise UserError("--tokenizer brings its own vocabulary; leave --vocab-size out")


def model_config(settings: PretrainSettings, vocab_size: int | None = None) -> ModelConfig:
    """The preset, or with --hidden-size a model of that width; other sizes as given."""
    names = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size")
    changes: dict[str, Any] = {name: getattr(settings, name) for name in names}
    changes = {name: value for name, value in changes.items() if value is not None}
    changes |= {"dropout": settings.dropout, "max_position_embeddings": settings.max_seq_len}
    if vocab_size is not None:
        changes["vocab_size"] = vocab_size
    preset = ModelConfig.preset(settings.preset, **changes if settings.hidden_size is None else {})
    return (
        preset if settings.hidden_size is None else ModelConfig(hidden_size=settings.hidden_size, **changes)
    )


def validate(model: MiniMind, documents: list[HeldOut]) -> dict[str, Any]:
    """Loss on the held-out documents, and the lowest that any model can reach, where it is known."""
    seen = perplexity(model, documents)
    return {
        "validation_loss": seen.loss,
        "validation_perplexity": seen.perplexity,
        "floor_perplexity": seen.floor_perplexity,
        "bits_per_byte": seen.bits_per_byte,
    }


if __name__ == "__main__":
    import sys

    from ..arguments import main_of

    sys.exit(main_of("pretrain", PretrainSettings, pretrain))
