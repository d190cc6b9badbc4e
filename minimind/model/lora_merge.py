"""Merging: adapters are folded into the matrices, so that the model is as small and fast as before them.

`W x + scale * B(A(x))` is `(W + scale * B A) x`: what was learned beside the matrix fits into it. A merged model is a
plain one: it is saved like any other, and can get new adapters, which add to those that are merged.
"""

import torch
from torch import Tensor, nn

from ..errors import UserError
from .lora import LoRALinear, lora_layers, put_in_place


def merge_lora(model: nn.Module) -> None:
    """Fold the adapters into the matrices, in place: plain layers again, as fast as before, and all parameters learn.

    The adapted layers are put aside with the matrices as they were, for `unmerge_lora`: W + d - d is W only up to
    rounding. In bf16, what is smaller than a step between two numbers is lost in the merged matrix.

    Raises:
        UserError: if the model has no adapters.
    """
    layers = lora_layers(model)
    if not layers:
        raise UserError("there is nothing to merge: the model has no adapters")
    with torch.no_grad():
        put_in_place(model, {name: _plain(layer, layer.merged_weight()) for name, layer in layers.items()})
    _put_aside(model).append(layers)


def unmerge_lora(model: nn.Module) -> None:
    """Take back the last `merge_lora`, to the bit: the matrices as they were, with their adapters beside them.

    What the merged matrices have learned since is gone.

    Raises:
        UserError: if nothing is merged, or newer adapters stand on the merged matrices.
    """
    if not _put_aside(model):
        raise UserError("there is nothing to unmerge: no adapters were merged into this model")
    if lora_layers(model):
        raise UserError("newer adapters stand on the merged ones: merge_lora or remove_lora comes first")
    layers = _put_aside(model).pop()
    for name, layer in layers.items():
        merged = model.get_submodule(name)
        weight = merged.get_parameter("weight")
        layer.to(weight.device, weight.dtype).train(merged.training)  # the model may have moved since
    put_in_place(model, layers)


def remove_lora(model: nn.Module) -> None:
    """Take out the adapters that are not merged, in place: the model as it was before them."""
    if layers := lora_layers(model):
        put_in_place(model, {name: _plain(layer, layer.weight) for name, layer in layers.items()})


def _put_aside(model: nn.Module) -> list[dict[str, LoRALinear]]:
    """What each merge took out of the model, the last one at the end. No module of the model, so it is not saved."""
    return vars(model).setdefault("layers_before_merge", [])


def _plain(layer: LoRALinear, weight: Tensor) -> nn.Linear:
    plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
    plain.weight, plain.bias = nn.Parameter(weight), layer.bias
    return plain.train(layer.training)
