"""Layers that read the same vector: one after the other, or, while decoding, as one product.

For one new token a layer reads its whole matrix from memory to multiply it with one vector, and reading is all the
work. Three small matrices take longer than one that is as large as all three: each call has to get under way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class JoinedLinears:
    """Calls some layers of a module on the same input.

    Args:
        owner: the module whose attributes the layers are; they may be replaced, by adapters for example.
        names: of the layers.

    Attributes:
        weight: the weights of all layers below each other, `(sum of out_features, D)`; None where the layers are
            called one by one.
    """

    def __init__(self, owner: nn.Module, *names: str) -> None:
        self.owner = owner
        self.names = names
        self.weight: Tensor | None = None
        self.widths: list[int] = []

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Apply the layers: x `(…, T, D)` to one `(…, T, out_features)` for each layer."""
        if self.weight is None or x.shape[-2] > 1 or torch.is_grad_enabled():
            return tuple(getattr(self.owner, name)(x) for name in self.names)
        return F.linear(x, self.weight).split(self.widths, dim=-1)

    def join(self) -> None:
        """Copy the weights into one matrix, if they are all that the layers are."""
        layers = [getattr(self.owner, name) for name in self.names]
        if all(map(_is_plain, layers)):
            self.widths = [layer.out_features for layer in layers]
            self.weight = torch.cat([layer.weight.detach() for layer in layers])


@contextmanager
def joined(model: nn.Module) -> Iterator[None]:
    """Join all such layers of a model for as long as a text is being written.

    The weights are read when it begins. So what training, an adapter or a hand changes counts from the next text
    on, and nobody has to notice the change.
    """
    parts = [
        part
        for module in model.modules()
        for part in vars(module).values()
        if isinstance(part, JoinedLinears)
    ]
    for part in parts:
        part.join()
    try:
        yield
    finally:
        for part in parts:
            part.weight = None


def _is_plain(layer: nn.Module) -> bool:
    """A linear layer that nobody listens to."""
    return (
        type(layer) is nn.Linear
        and layer.bias is None
        and not (layer._forward_hooks or layer._forward_pre_hooks)
    )
