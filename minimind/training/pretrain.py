"""Pretraining: a model learns to predict the next token of documents.

The first stage, and the whole recipe of a stage: settings, data, a model, an objective, and the loop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..config import ModelConfig
from ..device import choose_device, describe_device
from ..errors import UserError
from ..metrics import HeldOut, perplexity
from ..model import MiniMind
from ..progress import counted
from ..settings import WORLD_STEPS, PretrainSettings
from ..tokenizer import Tokenizer
from .batches import RowBatches
from .corpus import open_corpus, prepare_corpus
from .loop import FitResult, check_training, fit
from .numerics import choose_numerics
from .objectives import Batch, causal_language_model
from .run_folder import RunFolder


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
    config = model_config(settings)  # Refuses numbers that do not fit before any data are read.
    folder = RunFolder(settings)
    if folder.finished:
        print(f"{folder.path} is finished; nothing to resume")
        return None
    device = choose_device(settings.device)
    steps = settings.steps or (WORLD_STEPS if settings.data_path is None else None)
    if not folder.resumed:
        row_count = (steps or 0) * settings.batch_size * settings.accumulation_steps
        with folder.preparing() as prepared:
            config.vocab_size = prepare_corpus(settings, config.vocab_size, row_count, prepared)
            # A model that memory has no room for fails here, while an earlier run is still whole.
            model = new_model(config, settings.seed, device)
        folder.begin()
        corpus = open_corpus(folder.path)
    else:
        corpus = open_corpus(folder.path)
        config.vocab_size = corpus.tokenizer.vocab_size
        model = new_model(config, settings.seed, device)
    epochs = None if steps else settings.epochs
    batches = RowBatches(corpus.rows, settings.batch_size, settings.seed, settings.accumulation_steps, epochs)
    folder.describe(
        {
            "model": {"parameters": model.num_parameters(), **describe(config)},
            "data": {**corpus.facts, "rows": batches.row_count, "steps": steps or batches.step_count},
            "numerics": {"device": describe_device(device), **choose_numerics(settings, device)},
        }
    )
    print_plan(folder, model, batches)

    result = fit(
        model,
        batches,
        causal_language_model,
        replace(settings, steps=steps),
        folder=folder.path,
        validate=lambda: validate(model, corpus.held_out),
        sample=lambda: sample(model, corpus.tokenizer, settings.sample_tokens, settings.seed),
        describe_rows=lambda batch: describe_rows(corpus.tokenizer, batch),
    )
    model.save_pretrained(folder.path)
    if result.finished:
        assert folder.run is not None
        folder.finish(numerics={**folder.run["numerics"], **result.numerics})
        print(f"finished: {folder.path} holds the model; `minimind generate {folder.path}` lets it write")
    else:
        print(
            f"left at step {result.step} ({result.reason}), saved; go on with --output {folder.path} --resume"
        )
    return result


def check(settings: PretrainSettings) -> None:
    """Refuse what cannot work, before anything is read."""
    check_training(settings)
    if not 0 <= settings.seed < 2**32:
        raise UserError(f"seed must be between 0 and {2**32 - 1}, got {settings.seed}")
    if settings.validation_documents < 1:
        raise UserError(f"validation_documents must be at least 1, got {settings.validation_documents}")
    if not 0 < settings.validation_share < 1:
        raise UserError(f"validation_share must be above 0 and below 1, got {settings.validation_share}")
    if settings.data_path is None and settings.epochs != 1:
        raise UserError("the embedded world has no end, so it has no epochs; set its length with --steps")
    if settings.tokenizer is not None and settings.vocab_size is not None:
        raise UserError("--tokenizer brings its own vocabulary; leave --vocab-size out")


def new_model(config: ModelConfig, seed: int, device: torch.device) -> MiniMind:
    """A model with random weights, the same for the same seed."""
    seed_everything(seed)
    return MiniMind(config).to(device)


def model_config(settings: PretrainSettings) -> ModelConfig:
    """The preset, or with --hidden-size a model of that width; other sizes as given."""
    names = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size")
    changes: dict[str, Any] = {name: getattr(settings, name) for name in names}
    changes = {name: value for name, value in changes.items() if value is not None}
    changes |= {"dropout": settings.dropout, "max_position_embeddings": settings.max_seq_len}
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


def sample(model: MiniMind, tokenizer: Tokenizer, tokens: int, seed: int) -> str:
    """Let the model write the beginning of a document."""
    start = torch.tensor([[tokenizer.bos_token_id]], device=next(model.parameters()).device)
    ids = model.generate(
        start, max_new_tokens=tokens, temperature=0.8, eos_token_id=tokenizer.eos_token_id, seed=seed
    )
    text = tokenizer.decode(ids[0].tolist(), skip_special_tokens=True)
    # An untrained model writes control characters too; a terminal would obey them.
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def describe_rows(tokenizer: Tokenizer, batch: Batch) -> str:
    """How the documents of a batch's first row begin."""
    ids, documents = batch["input_ids"][0], batch["document_ids"][0]
    texts = [
        tokenizer.decode(ids[documents == number].tolist(), skip_special_tokens=True) for number in range(3)
    ]
    return " / ".join(repr(text[:50]) for text in texts if text)


def describe(config: ModelConfig) -> dict[str, Any]:
    """The sizes that a reader asks for first."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size")
    return {name: getattr(config, name) for name in names}


def print_plan(folder: RunFolder, model: MiniMind, batches: RowBatches) -> None:
    """Say what is about to happen."""
    assert folder.run is not None
    data, numerics = folder.run["data"], folder.run["numerics"]
    print(f"model: {model.num_parameters():,} parameters, {data['vocab_size']} token ids")
    print(f"data: {data['source']}, {data['training_documents']:,} documents in {batches.row_count:,} rows")
    print(
        f"device: {numerics['device']}, {counted(numerics['threads'], 'thread')}, {numerics['precision']}, "
        f"attention {numerics['attention_path']}"
    )


def seed_everything(seed: int) -> None:
    """Start Python's, NumPy's and torch's random generators."""
    import random

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


if __name__ == "__main__":
    import sys

    from ..arguments import main_of

    sys.exit(main_of("pretrain", PretrainSettings, pretrain))
