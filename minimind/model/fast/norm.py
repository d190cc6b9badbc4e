"""RMSNorm with its derivative written out: a training step calls a norm four times a layer, and this is the faster."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..cross_entropy import matmul_dtype
from ..norm import RMSNorm


class _RMSNorm(torch.autograd.Function):
    """The formula and its derivative; what the derivative needs is kept, and nothing else."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        x32 = x.float()  # (…, hidden_size)
        # The length is summed in one pass; `square()` would first write a tensor of squares.
        mean_square = torch.linalg.vector_norm(x32, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        inverse = mean_square.add_(eps).rsqrt_()  # (…, 1), 1 / RMS(x)
        normalized = x32 * inverse  # (…, hidden_size), its own mean square is 1
        ctx.save_for_backward(normalized, inverse, weight)
        ctx.dtype = x.dtype
        return (normalized * weight).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        normalized, inverse, weight = ctx.saved_tensors
        grad_y = grad_y.float()  # (…, hidden_size)
        grad_weight = None
        if ctx.needs_input_grad[1]:  # not below an adapter, where the norms are frozen
            grad_weight = (grad_y * normalized).flatten(0, -2).sum(dim=0).to(weight.dtype)  # (hidden_size,)
        grad = grad_y * weight  # (…, hidden_size), the gradient at the normalized vector
        # A change along x is undone by the division, so the gradient's part along x goes. What is left is
        # scaled like x was: by 1 / RMS(x).
        along = torch.linalg.vecdot(grad, normalized).unsqueeze(-1) / grad.shape[-1]  # (…, 1)
        grad_x = grad.addcmul_(normalized, along, value=-1).mul_(inverse)
        return grad_x.to(ctx.dtype), grad_weight, None, None


class FastRMSNorm(RMSNorm):
    """The numbers of `RMSNorm` up to rounding, always in fp32 inside.

    It has no second derivative, and `torch.func` refuses it.

    Under autocast a matrix product reads the result, so it is rounded to that product's dtype here, once for all.
    """

    def forward(self, x: Tensor) -> Tensor:
        dtype, weight = matmul_dtype(x), self.weight
        if not torch.is_grad_enabled() and x.dtype == weight.dtype == dtype:
            return F.rms_norm(x, weight.shape, weight, self.eps)  # the same, in one call
        return _RMSNorm.apply(x, weight, self.eps, dtype)
