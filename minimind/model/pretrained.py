"""A model on disk: a Hugging Face folder, written so that a crash leaves the old files or the new ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import UserError
from ..tokenizer import SPECIAL_IDS

if TYPE_CHECKING:
    from .causal_lm import MiniMind

WEIGHTS = "model.safetensors"
GENERATION_CONFIG = "generation_config.json"


def save(model: MiniMind, folder: str | Path) -> None:
    """Write `config.json`, `generation_config.json` and `model.safetensors` into a folder.

    Raises:
        UserError: if the folder cannot be written.
    """
    folder = Path(folder)
    config = model.config.to_hugging_face()
    config["torch_dtype"] = str(model.lm_head.weight.dtype).removeprefix("torch.")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]  # It is the embedding again; Hugging Face ties it when reading.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "config.json", lambda path: path.write_text(_json(config), encoding="utf-8"))
        _write(
            folder / GENERATION_CONFIG,
            lambda path: path.write_text(_json(model.generation_config), encoding="utf-8"),
        )
        _write(folder / WEIGHTS, lambda path: save_file(weights, path, metadata={"format": "pt"}))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot write the model ({error})") from None


def read_generation_config(folder: str | Path) -> dict[str, Any]:
    """What `generation_config.json` says: which ids start, end and fill a text, and what else stands there.

    Where there is no such file, the ids are those that `config.json` names (as in older models of Hugging Face), and
    where it names none, those of this package's tokenizers.

    Raises:
        UserError: if the file is damaged.
    """
    path = Path(folder) / GENERATION_CONFIG
    if not path.is_file():
        named = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        return {name: named[name] for name in SPECIAL_IDS if name in named} or dict(SPECIAL_IDS)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged or not JSON ({error})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: must hold one JSON object, found {type(config).__name__}")
    return config


def read_weights(
    model: MiniMind, folder: str | Path, dtype: torch.dtype, device: torch.device | str
) -> dict[str, Tensor]:
    """Read `model.safetensors` and hold it against the shapes that the model expects.

    Raises:
        UserError: naming the file, the tensor, and both shapes.
    """
    path = Path(folder) / WEIGHTS
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    weights: dict[str, Tensor] = {}
    if not path.is_file():
        raise UserError(f"{path}: not found; a run's folder has config.json and {WEIGHTS}")
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no dict, and cannot be iterated
                if name not in expected:
                    raise UserError(f"{path}: {name} is not part of the model that config.json describes")
                shape = tuple(file.get_slice(name).get_shape())
                if shape != expected[name]:
                    raise UserError(f"{path}: {name} has shape {shape}, config.json says {expected[name]}")
                weights[name] = file.get_tensor(name).to(device=device, dtype=dtype, copy=True)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: damaged or not a safetensors file ({error})") from None
    if model.config.tie_word_embeddings and "model.embed_tokens.weight" in weights:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    missing = sorted(set(expected) - set(weights))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{path}: {missing[0]}{more} missing, but config.json asks for it")
    return weights


def load(folder: str | Path) -> tuple[MiniMind, Any]:
    """Read a run's folder.

    Args:
        folder: with `config.json`, `model.safetensors` and `tokenizer.json`.

    Returns:
        The model, ready to generate, and its tokenizer.

    Raises:
        UserError: if something is missing or damaged.

    Examples:
        >>> model, tokenizer = load("runs/pretrain")  # doctest: +SKIP
    """
    from ..tokenizer import Tokenizer
    from .causal_lm import MiniMind

    model, tokenizer = MiniMind.from_pretrained(folder), Tokenizer.load(folder)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} ids, the model {model.config.vocab_size}; "
            "they are not of the same run"
        )
    trained_with = _tokenizer_of_run(Path(folder))
    if trained_with not in (None, tokenizer.digest):
        raise UserError(f"{folder}: tokenizer.json is not the tokenizer that this run was trained with")
    return model, tokenizer


def _tokenizer_of_run(folder: Path) -> str | None:
    """Digest of the tokenizer that a run trained with; None where run.json is missing or does not say."""
    try:
        return json.loads((folder / "run.json").read_text(encoding="utf-8"))["data"]["tokenizer_digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Write aside, wait for the disk, then rename: the file is the old one or the new one, never half."""
    aside = path.with_name(path.name + ".part")
    try:
        write(aside)
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
