"""A model on disk: a Hugging Face folder, written so that a crash leaves the old files or the new ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..config import ModelConfig
from ..errors import UserError
from ..files import replace_text, write_aside
from ..tokenizer import SPECIAL_IDS

WEIGHTS = "model.safetensors"
GENERATION_CONFIG = "generation_config.json"


def save(
    config: ModelConfig, generation_config: dict[str, Any], weights: dict[str, Tensor], folder: str | Path
) -> None:
    """Write `config.json`, `generation_config.json` and `model.safetensors` into a folder.

    Args:
        config: the model's shape.
        generation_config: which ids start, end and fill a text; they stand in `config.json` too.
        weights: the model's state dict.
        folder: made if it is missing.

    Raises:
        UserError: if the folder cannot be written, or the model has adapters: no such folder holds those.
    """
    folder = Path(folder)
    if any(".lora_A." in name for name in weights):
        raise UserError(
            f"{folder}: a model with adapters is no whole model; merge them (merge_lora) or save them alone"
        )
    described = config.to_hugging_face()
    ids = {name: generation_config[name] for name in SPECIAL_IDS if name in generation_config}
    if list(ids.values()).count(ids.get("pad_token_id")) > 1:
        # Hugging Face trains no embedding of padding; as a start or end it needs one.
        del ids["pad_token_id"]
    described.update(ids)
    described["torch_dtype"] = str(weights["lm_head.weight"].dtype).removeprefix("torch.")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    if config.tie_word_embeddings:
        del weights["lm_head.weight"]  # It is the embedding again; Hugging Face ties it when reading.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / "config.json", to_json(described), durable=True)
        replace_text(folder / GENERATION_CONFIG, to_json(generation_config), durable=True)
        with write_aside(folder / WEIGHTS, durable=True) as part:
            save_file(weights, part, metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot write the model ({error})") from None


def read_generation_config(folder: str | Path) -> dict[str, Any]:
    """What `generation_config.json` says: which ids start, end and fill a text, and what else stands there.

    Where there is no such file, the ids are those that `config.json` names, as in older models of Hugging Face. An id
    that nobody names is left out; `load` takes it from the tokenizer.

    Raises:
        UserError: if the file is damaged, or an id is no whole number.
    """
    path, kept = Path(folder) / GENERATION_CONFIG, None
    if not path.is_file():
        path, kept = path.with_name("config.json"), SPECIAL_IDS
    config = read_json(path)
    for name in SPECIAL_IDS:
        if config.get(name) is None:
            config.pop(name, None)
        elif not _are_ids(config[name], several=name == "eos_token_id"):
            raise UserError(f"{path}: {name} must be a token id, found {config[name]!r}")
    return {name: value for name, value in config.items() if kept is None or name in kept}


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        UserError: if the file is damaged, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged or not JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold one JSON object, found {type(content).__name__}")
    return content


def _are_ids(value: Any, several: bool) -> bool:
    """Whether a value is a token id, or a list of them where there may be several."""
    ids = value if several and isinstance(value, list) and value else [value]
    return all(type(id) is int and id >= 0 for id in ids)


def read_weights(
    config: ModelConfig,
    expected: dict[str, Tensor],
    folder: str | Path,
    dtype: torch.dtype,
    device: torch.device | str,
) -> dict[str, Tensor]:
    """Read `model.safetensors` and hold it against the shapes that the model expects.

    Args:
        config: the model's shape.
        expected: the model's state dict, of which the names and shapes are looked at.
        folder: where the file is.
        dtype: what the weights are turned to.
        device: where they go.

    Raises:
        UserError: naming the file, the tensor, and both shapes.
    """
    path = Path(folder) / WEIGHTS
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    weights: dict[str, Tensor] = {}
    if not path.is_file():
        raise UserError(f"{path}: not found; a run's folder has config.json and {WEIGHTS}")
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no dict, and cannot be iterated
                if name not in shapes:
                    raise UserError(f"{path}: {name} is not part of the model that config.json describes")
                shape = tuple(file.get_slice(name).get_shape())
                if shape != shapes[name]:
                    raise UserError(f"{path}: {name} has shape {shape}, config.json says {shapes[name]}")
                weights[name] = file.get_tensor(name).to(device=device, dtype=dtype, copy=True)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: damaged or not a safetensors file ({error})") from None
    if config.tie_word_embeddings and "model.embed_tokens.weight" in weights:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    missing = sorted(set(shapes) - set(weights))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{path}: {missing[0]}{more} missing, but config.json asks for it")
    return weights


def to_json(data: dict[str, Any]) -> str:
    """As it stands in a file, for people to read."""
    return json.dumps(data, indent=2) + "\n"
