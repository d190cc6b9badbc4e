"""Muon: an update of a weight matrix that turns every direction by the same amount.

A gradient matrix is dominated by a few directions; a step along it teaches these and little else. Muon keeps its
directions and makes their strengths equal. Done exactly, that is a singular value decomposition with all singular
values set to one. Five steps of a polynomial in the matrix come close enough, with nothing but matrix products.

PyTorch has the same rule as `torch.optim.Muon`, one matrix at a time. Here matrices of the same shape are stacked
and go through the polynomial together, which on a small model makes the update three times as fast.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of x -> a x + b x³ + c x⁵, which drives singular values between 0 and 1 towards 1, the small ones fast."""


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Bring all singular values near one and keep the singular vectors (Newton-Schulz).

    Args:
        matrices: `(N, rows, columns)`.
        steps: rounds of the polynomial.

    Returns:
        `(N, rows, columns)` in bf16, singular values between about 0.7 and 1.2.
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT  # The products below are of the shorter side.
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)  # No singular value is above one now.
    for _ in range(steps):
        gram = x @ x.mT  # (N, short, short)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # b X Xᵀ + c (X Xᵀ)²
        x = torch.baddbmm(x, polynomial, x, beta=a)  # a X + b (X Xᵀ) X + c (X Xᵀ)² X
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are made orthogonal, scaled to be as large as AdamW's.

    Args:
        params: weight matrices, all of two dimensions.
        lr: learning rate; one that is right for AdamW is about right here.
        momentum: share of the running gradient that is kept at each step.
        weight_decay: decoupled decay.

    References:
        Jordan 2024, Muon, https://kellerjordan.github.io/posts/muon/ · Liu et al. 2025, Muon is Scalable for LLM
        Training (the scale of the step), https://arxiv.org/abs/2502.16982
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the parameters by one update."""
        for group in self.param_groups:
            same_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    same_shape[parameter.shape].append(parameter)
            for shape, parameters in same_shape.items():
                updates = torch.stack(
                    [self._momentum(parameter, group["momentum"]) for parameter in parameters]
                )
                # An orthogonal matrix has entries of size 1 / sqrt(longer side); AdamW's steps are about 0.2.
                size = group["lr"] * 0.2 * max(shape) ** 0.5
                for parameter, update in zip(parameters, orthogonalize(updates), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-size)

    def _momentum(self, parameter: Tensor, momentum: float) -> Tensor:
        """The running gradient one step ahead (Nesterov): `(rows, columns)`."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        running = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(running, momentum)
