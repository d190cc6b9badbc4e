"""The model that a fine-tuning run starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..model import MiniMind, load
from ..runs import find_run, is_adapter, weights_digest
from ..settings import FineTuneSettings
from ..tokenizer import Tokenizer
from .replay import Pretraining, pretraining_of


@dataclass(frozen=True)
class Base:
    """The model that a run starts from."""

    folder: Path
    model: MiniMind
    tokenizer: Tokenizer
    digest: str
    """Of its weights."""
    pretraining: Pretraining
    """What it was pretrained on."""


def find_base(settings: FineTuneSettings) -> Base:
    """Load the model of `--from-weight`.

    Raises:
        UserError: if it cannot be read, or this run cannot start from it.
    """
    name = settings.from_weight
    try:
        folder = find_run(name)
    except UserError as error:
        raise UserError(f"--from-weight {error}") from None
    if folder.resolve() == Path(settings.output).resolve():
        raise UserError(f"--from-weight {name} is --output itself; choose another --output")
    if is_adapter(folder):
        raise UserError(
            f"--from-weight {folder}: is an adapter; `minimind merge {folder}` makes a model of it first"
        )
    model, tokenizer = load(name)
    longest = model.config.max_position_embeddings
    if settings.max_seq_len > longest:
        raise UserError(
            f"max_seq_len {settings.max_seq_len} is longer than {longest}, the longest text that "
            f"{name} was trained on; give --max-seq-len {longest}"
        )
    return Base(folder, model, tokenizer, weights_digest(folder), pretraining_of(folder, tokenizer))
