"""`load`: a model and its tokenizer, by the path or the name of a run."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import UserError
from ..runs import describe_run, find_run, read_run
from ..tokenizer import Tokenizer
from .causal_lm import MiniMind


def load(folder: str | Path) -> tuple[MiniMind, Tokenizer]:
    """Read a run's folder, or the run of a name.

    Args:
        folder: a path to a folder with `config.json`, `model.safetensors` and `tokenizer.json`; or a name such as
            `pretrain`: your own `runs/pretrain`, else the model of this name that comes with the package. Which of
            them it is, is said on stderr. `shipped/pretrain` is the latter in any case.

    Returns:
        The model in fp32, ready to generate, and its tokenizer. A start, end or padding id that the folder does not
        name for the model is the tokenizer's.

    Raises:
        UserError: if there is no such run, or something in it is missing or damaged.

    Examples:
        >>> model, tokenizer = load("shipped/pretrain")
        >>> model.config.num_hidden_layers
        3
    """
    found = find_run(folder)
    if found != Path(folder):
        print(f"model: {describe_run(found)}", file=sys.stderr)
    model, tokenizer = MiniMind.from_pretrained(found), Tokenizer.load(found)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise UserError(
            f"{found}: the tokenizer has {tokenizer.vocab_size} ids, the model {model.config.vocab_size}; "
            "they are not of the same run"
        )
    trained_on = (read_run(found) or {}).get("data")
    trained_with = trained_on.get("tokenizer_digest") if isinstance(trained_on, dict) else None
    if trained_with not in (None, tokenizer.digest):
        raise UserError(f"{found}: tokenizer.json is not the tokenizer that this run was trained with")
    model.generation_config = {**tokenizer.special_ids, **model.generation_config}
    return model, tokenizer
