"""An adapter on disk, in the format of Hugging Face's PEFT: its settings, and two small matrices for each layer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import UserError
from ..files import replace_text, write_aside
from .lora import adaptable, apply_lora, ends_with, lora_layers
from .pretrained import read_json, to_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NAME = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<matrix>[AB])\.weight")
"""How PEFT names the matrices A and B of a layer."""

UNDERSTOOD = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "bias", "init_lora_weights"}
WITHOUT_EFFECT = {
    # which layers: the weights say it
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    # where it comes from
    "base_model_name_or_path", "revision", "task_type", "auto_mapping", "peft_version", "inference_mode",
    # nothing without other settings, which are refused; how A began
    "ensure_weight_tying", "qalora_group_size", "megatron_core", "eva_config",
}  # fmt: skip
PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""How A and B began. The other ways (PiSSA, OLoRA …) change W too, and an adapter does not hold W."""

Matrices = dict[str, dict[str, Tensor]]
"""By the layer's name: "A" `(r, in)` and "B" `(out, r)`."""


@dataclass(frozen=True)
class AdapterConfig:
    """What an adapter's folder says of it.

    Attributes:
        rank: r of every layer.
        alpha: the scale is alpha / r, or alpha / sqrt(r) if `rank_stabilized`.
        dropout: of the training.
        rank_stabilized: see `alpha`.
        base: name or path of the model that was adapted, as it was given; it may be empty.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    rank_stabilized: bool = False
    base: str = ""


def save_adapter(model: nn.Module, folder: str | Path, base: str | Path = "") -> None:
    """Write the adapters of a model, without the model, so that `load_adapter` and PEFT read them.

    Args:
        model: with adapters that are not merged.
        folder: gets `adapter_config.json` and `adapter_model.safetensors`; made if it is missing.
        base: name or path of the model that was adapted, for those who read the adapter.

    Raises:
        UserError: if the model has no adapters, or the folder cannot be written.
        ValueError: if the layers differ in rank, alpha or dropout.
    """
    folder, layers = Path(folder), lora_layers(model)
    if not layers:
        raise UserError(f"{folder}: there is no adapter to save; the model has none, or it is merged")
    kinds = {(layer.rank, layer.alpha, layer.dropout.p, layer.rank_stabilized) for layer in layers.values()}
    if len(kinds) > 1:
        raise ValueError(f"the layers of an adapter have one rank, alpha and dropout, got {sorted(kinds)}")
    [(rank, alpha, dropout, rank_stabilized)] = kinds
    # The last parts of the names say which layers, unless others are called the same.
    last_parts = {name.rpartition(".")[2] for name in layers}
    alike = any(name.rpartition(".")[2] in last_parts for name in adaptable(model))
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": dropout,
        "use_rslora": rank_stabilized,
        "target_modules": sorted(layers if alike else last_parts),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "inference_mode": True,
    }
    weights = {}
    for name, layer in layers.items():
        for matrix, linear in (("A", layer.lora_A), ("B", layer.lora_B)):
            key = f"base_model.model.{name}.lora_{matrix}.weight"
            weights[key] = linear.weight.detach().cpu().contiguous()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / CONFIG, to_json(settings), durable=True)
        with write_aside(folder / WEIGHTS, durable=True) as part:
            save_file(weights, part, metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot write the adapter ({error})") from None


def load_adapter(model: nn.Module, folder: str | Path) -> AdapterConfig:
    """Give a model the adapters that `save_adapter` or PEFT wrote; only they learn from then on.

    To exchange them for others, call `remove_lora` first; to add others to them, `merge_lora`.

    Args:
        model: the one that was adapted, without adapters or with merged ones. After an error it is as it was.
        folder: with `adapter_config.json` and `adapter_model.safetensors`.

    Returns:
        The adapter's settings.

    Raises:
        UserError: if a file is missing or damaged, the adapter is more than plain LoRA, or belongs to another model.
    """
    folder = Path(folder)
    config = read_adapter_config(folder)
    matrices = _read_matrices(folder / WEIGHTS)
    _check_layers(adaptable(model) | lora_layers(model), config.rank, matrices, folder)
    try:
        apply_lora(model, config.rank, config.alpha, config.dropout, list(matrices), config.rank_stabilized)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    with torch.no_grad():
        for name, layer in lora_layers(model).items():
            layer.lora_A.weight.copy_(matrices[name]["A"])
            layer.lora_B.weight.copy_(matrices[name]["B"])
    return config


def read_adapter_config(folder: str | Path) -> AdapterConfig:
    """What an adapter is, and of which model, without its weights.

    Raises:
        UserError: if the file is missing or damaged, or the adapter is more than plain LoRA.
    """
    path = Path(folder) / CONFIG
    settings = read_json(_found(path))
    if settings.get("peft_type") != "LORA":
        raise UserError(f"{path}: peft_type is {settings.get('peft_type')!r}; only LORA can be read")
    # A setting that we do not have, and that is on, would change the numbers.
    more = {
        name: value for name, value in settings.items() if value and name not in UNDERSTOOD | WITHOUT_EFFECT
    }
    if settings.get("bias", "none") != "none":
        more["bias"] = settings["bias"]
    if settings.get("init_lora_weights", True) not in PLAIN_STARTS:
        more["init_lora_weights"] = settings["init_lora_weights"]
    for name, value in more.items():
        raise UserError(f"{path}: {name} is {value!r}; only plain LoRA of linear layers can be read")
    read = {"lora_dropout": 0.0, "use_rslora": False} | settings
    number, kinds = (int, float), {"r": (int,), "use_rslora": (bool,)}
    for name in ("r", "lora_alpha", "lora_dropout", "use_rslora"):
        if type(read.get(name)) not in kinds.get(name, number):
            raise UserError(f"{path}: {name} cannot be {read.get(name)!r}")
    base = str(settings.get("base_model_name_or_path") or "")
    return AdapterConfig(read["r"], read["lora_alpha"], read["lora_dropout"], read["use_rslora"], base)


def _found(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: not found; an adapter's folder has {CONFIG} and {WEIGHTS}")
    return path


def _read_matrices(path: Path) -> Matrices:
    matrices: Matrices = {}
    try:
        tensors = load_file(_found(path))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: damaged or not a safetensors file ({error})") from None
    for key, tensor in tensors.items():
        match = NAME.fullmatch(key)
        if match is None:
            raise UserError(f"{path}: {key} is not a matrix A or B of LoRA")
        matrices.setdefault(match["layer"], {})[match["matrix"]] = tensor
    if not matrices:
        raise UserError(f"{path}: holds no weights")
    return matrices


def _check_layers(linears: dict[str, nn.Linear], rank: int, matrices: Matrices, folder: Path) -> None:
    """Every matrix has a layer of its size, and every layer that the settings name has its two matrices."""
    path = folder / WEIGHTS
    for name, pair in matrices.items():
        if name not in linears:
            raise UserError(
                f"{path}: made for another model; here no linear layer {name} can have an adapter"
            )
        linear = linears[name]
        for matrix, shape in (("A", (rank, linear.in_features)), ("B", (linear.out_features, rank))):
            if matrix not in pair:
                raise UserError(f"{path}: not whole; {name} has no lora_{matrix}")
            found = tuple(pair[matrix].shape)
            if found != shape:
                raise UserError(
                    f"{path}: lora_{matrix} of {name} has shape {found}, but this model and rank {rank} need {shape}"
                )
    settings = read_json(folder / CONFIG)
    targets = settings.get("target_modules")
    narrowed = settings.get("layers_to_transform") is not None or settings.get("exclude_modules")
    if not isinstance(targets, list) or narrowed:
        return  # a pattern, or words such as "all-linear": what PEFT made of it stands in the weights
    for name in linears:
        if name not in matrices and any(ends_with(name, str(target)) for target in targets):
            raise UserError(f"{path}: not whole; {CONFIG} names {name}, which has no matrices")
