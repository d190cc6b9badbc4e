"""`load`: a model and its tokenizer, by the path or the name of a run, with the adapters that it is to wear."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..runs import describe_run, find_run, is_adapter, read_run, weights_digest
from ..tokenizer import Tokenizer
from .adapters import load_adapter, read_adapter_config
from .causal_lm import MiniMind
from .lora_merge import merge_lora


def load(folder: str | Path, adapters: Sequence[str | Path] = ()) -> tuple[MiniMind, Tokenizer]:
    """Read a run's folder, or the run of a name.

    Args:
        folder: a path to a folder with `config.json`, `model.safetensors` and `tokenizer.json`; or a name such as
            `pretrain`: your own `runs/pretrain`, else the model of this name that comes with the package. Which of
            them it is, is said on stderr. `shipped/pretrain` is the latter in any case. A folder with an adapter
            stands for the adapter on the model that it was trained on.
        adapters: folders or names of adapters that the model takes on, one after the other. They are merged: so there
            can be several, and the model is as fast as without them.

    Returns:
        The model in fp32, ready to generate, and its tokenizer. A start, end or padding id that the folder does not
        name for the model is the tokenizer's.

    Raises:
        UserError: if there is no such run, something in it is missing or damaged, or an adapter is another model's.

    Examples:
        >>> model, tokenizer = load("shipped/pretrain")
        >>> model.config.num_hidden_layers
        3
    """
    found = find_run(folder)
    if found != Path(folder):
        print(f"model: {describe_run(found)}", file=sys.stderr)
    if is_adapter(found):
        base = base_of(found)
        print(f"model: {found} is an adapter of {base}", file=sys.stderr)
        return load(base, [found, *adapters])
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
    for adapter in adapters:
        put_on(model, find_run(adapter), found)
    return model, tokenizer


def base_of(adapter: Path) -> Path:
    """The folder of the model that an adapter was trained on.

    Raises:
        UserError: if the adapter does not name one, or none is there.
    """
    name = read_adapter_config(adapter).base
    try:
        base = find_run(name) if name else None
    except UserError:
        base = None
    if base is None:
        raise UserError(
            f"{adapter}: is an adapter, and {name or 'the model'} that it was trained on is not there; "
            f"name the model as RUN, with --adapter {adapter}"
        )
    if is_adapter(base):
        raise UserError(
            f"{adapter}: {base}, which it was trained on, is an adapter itself; merge that one first"
        )
    return base


def put_on(model: MiniMind, adapter: Path, base: Path) -> None:
    """Give a model an adapter and merge it.

    Args:
        model: read from `base`.
        adapter: folder of the adapter.
        base: folder of the model, to compare it with the one that the adapter was trained on.

    Raises:
        UserError: if there is no adapter, or it was trained on other weights.
    """
    trained_on = (read_run(adapter) or {}).get("data")
    weights = trained_on.get("base_weights") if isinstance(trained_on, dict) else None
    if weights not in (None, weights_digest(base)):
        raise UserError(
            f"{adapter}: was trained on other weights than those in {base}, and corrects only its own; "
            "train it anew on these"
        )
    load_adapter(model, adapter)
    merge_lora(model)
