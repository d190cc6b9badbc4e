"""`load`: a model and its tokenizer, by the path or the name of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runs import describe_run, find_run
from . import pretrained

if TYPE_CHECKING:
    from .causal_lm import MiniMind


def load(folder: str | Path) -> tuple[MiniMind, Any]:
    """Read a run's folder, or the run of a name.

    Args:
        folder: a path to a folder with `config.json`, `model.safetensors` and `tokenizer.json`; or a name such as
            `pretrain`: your own `runs/pretrain`, else the model of this name that comes with the package. Which of
            them it is, is said on stderr. `shipped/pretrain` is the latter in any case.

    Returns:
        The model in fp32, ready to generate, and its tokenizer.

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
    return pretrained.load(found)
