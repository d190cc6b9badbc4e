"""Gradient clipping: one bad batch must not throw the model far away."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def clip_gradients(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients down together, in place, so that their joint norm is at most `max_norm`.

    The direction of the step stays the same, because every gradient is multiplied by the same number.

    Args:
        parameters: parameters; those without a gradient are left alone.
        max_norm: longest norm that is let through.

    Returns:
        The norm before clipping, a scalar tensor. It is not finite if any gradient is not: look at it before
        a step.

    Paper:
        Pascanu et al. 2013, https://arxiv.org/abs/1211.5063
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norms = torch.stack([torch.linalg.vector_norm(gradient.float()) for gradient in gradients])
    norm = torch.linalg.vector_norm(norms)
    # The small number keeps a zero gradient from dividing by zero; the clamp leaves short gradients as they
    # are.
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, scale)
    return norm
