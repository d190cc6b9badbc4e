"""Layers that read the same vector: one after the other, or, while decoding, as one product.

For one new token a layer reads its whole matrix from memory to multiply it with one vector, and reading is all the
work. Three small matrices take longer than one that is as large as all three: each call has to get under way.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class JoinedLinears:
    """Calls some layers of a module on the same input.

    Where one token is read without gradients, their weights stand below each other in one matrix, which is made
    when it is first needed and again when a weight has changed.

    Args:
        owner: the module whose attributes the layers are; they may be replaced, by adapters for example.
        names: of the layers.
    """

    def __init__(self, owner: nn.Module, *names: str) -> None:
        self.owner = owner
        self.names = names
        self.parts: list[Tensor] = []
        self.versions: list[int] = []
        self.widths: list[int] = []
        self.weight = torch.empty(0)

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Apply the layers: x `(…, T, D)` to one `(…, T, out_features)` for each layer."""
        layers: list[Any] = [
            self.owner._modules[name] for name in self.names
        ]  # getattr, at a fifth of its time
        if x.shape[-2] > 1 or torch.is_grad_enabled() or not all(map(_is_plain, layers)):
            return tuple(layer(x) for layer in layers)
        weights = [layer._parameters["weight"] for layer in layers]
        if not self._holds(weights):
            self.parts = [weight.detach() for weight in weights]
            self.versions = [weight._version for weight in weights]
            self.widths = [weight.shape[0] for weight in weights]
            self.weight = torch.cat(self.parts)  # (sum of out_features, D)
        return F.linear(x, self.weight).split(self.widths, dim=-1)

    def _holds(self, weights: list[Tensor]) -> bool:
        """Whether the joined matrix still is what the weights are.

        The parts keep the old memory alive, so a new tensor cannot take its place; and writing into a tensor
        raises its version.
        """
        for weight, part, version in zip(weights, self.parts, self.versions, strict=False):
            if weight.data_ptr() != part.data_ptr() or weight._version != version:
                return False
        return bool(self.parts)


def _is_plain(layer: nn.Module) -> bool:
    """A linear layer that nobody listens to."""
    return (
        type(layer) is nn.Linear
        and layer._parameters["bias"] is None
        and not (layer._forward_hooks or layer._forward_pre_hooks)
    )
