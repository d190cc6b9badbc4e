"""Pretraining: a model learns to predict the next token of documents."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..metrics import perplexity
from ..model import MiniMind
from ..settings import WORLD_STEPS, PretrainSettings
from ..tokenizer import Tokenizer
from .batches import Batches, RowBatches
from .corpus import Corpus, NewTokenizer, check_documents, open_corpus, prepare_corpus
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
    check_documents(settings)
    if settings.tokenizer is not None and settings.vocab_size is not None:
        raise UserError("--tokenizer brings its own vocabulary; leave --vocab-size out")
    # The embedded world has no end: a run on it has a length, and reads as many rows as that takes.
    steps = settings.steps or (WORLD_STEPS if settings.data_path is None else None)
    row_count = (steps or 0) * settings.batch_size * settings.accumulation_steps
    wanted = settings.model_config().vocab_size  # Refuses numbers that do not fit before any data are read.

    def prepare(folder: Path) -> int:
        given = Tokenizer.load(settings.tokenizer) if settings.tokenizer is not None else None
        new = NewTokenizer(wanted, exact=settings.vocab_size is not None)
        return prepare_corpus(settings, given or new, row_count, folder)

    def new_model(corpus: Corpus) -> MiniMind:
        model = MiniMind(settings.model_config(corpus.tokenizer.vocab_size))
        model.generation_config = corpus.tokenizer.special_ids
        return model

    def batches(corpus: Corpus, model: MiniMind) -> Batches:
        epochs = None if steps else settings.epochs
        return RowBatches(
            corpus.rows, settings.batch_size, settings.seed, settings.accumulation_steps, epochs
        )

    return run_stage(
        settings,
        prepare=prepare,
        read=open_corpus,
        model=new_model,
        batches=batches,
        objective=causal_language_model,
        validate=lambda corpus, model: perplexity(model, corpus.held_out).figures(),
        sample=lambda corpus, model: sample(model, corpus.tokenizer, settings.sample_tokens, settings.seed),
        describe_rows=lambda corpus, batch: describe_rows(corpus.tokenizer, batch),
        steps=steps,
    )


if __name__ == "__main__":
    import sys

    from ..arguments import main_of

    sys.exit(main_of("pretrain", PretrainSettings, pretrain))
