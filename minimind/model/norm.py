"""RMSNorm: give every token's vector the same length; the model chooses how much of each number to keep."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _RMSNorm(torch.autograd.Function):
    """The formula and its derivative, written out: a norm is a tenth of a training step, and this halves it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        # The square of a bf16 number keeps 8 bits of precision, too few to sum; so the mean is taken in fp32.
        x32 = x.float()  # (…, D)
        mean_square = torch.linalg.vector_norm(x32, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        inverse = mean_square.add_(eps).rsqrt_()  # (…, 1), 1 / RMS(x)
        normalized = x32 * inverse  # (…, D), its own mean square is 1
        ctx.save_for_backward(normalized, inverse, weight)
        ctx.dtype = x.dtype
        return (normalized * weight).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, Tensor, None, None]:
        normalized, inverse, weight = ctx.saved_tensors
        grad_y = grad_y.float()  # (…, D)
        grad_weight = (grad_y * normalized).flatten(0, -2).sum(dim=0)  # (D,)
        grad = grad_y * weight  # (…, D), the gradient at the normalized vector
        # A change along x is undone by the division, so the gradient's part along x goes. What is left is
        # scaled like x was: by 1 / RMS(x).
        along = torch.linalg.vecdot(grad, normalized).unsqueeze(-1) / grad.shape[-1]  # (…, 1)
        grad_x = grad.addcmul_(normalized, along, value=-1).mul_(inverse)
        return grad_x.to(ctx.dtype), grad_weight.to(weight.dtype), None, None


class RMSNorm(nn.Module):
    """Root mean square normalization, `y = x / sqrt(mean(x²) + eps) * weight`, over the last dimension.

    Each token is normalized alone: no number of another token, and no other sample, has a part in it.

    Args:
        hidden_size: length of the last dimension, and of `weight`.
        eps: added to the mean square, so that a zero vector divides by more than zero.

    Shapes:
        x `(…, hidden_size)` to y `(…, hidden_size)`, in the dtype of x (under autocast, in autocast's).

    References:
        Zhang and Sennrich, Root Mean Square Layer Normalization, 2019, https://arxiv.org/abs/1910.07467
    """

    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size))  # (D,)

    def forward(self, x: Tensor) -> Tensor:
        # Under autocast a matrix product comes next, in bf16: the norm rounds once for all that read it.
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        weight = self.weight
        if not torch.is_grad_enabled() and x.dtype == weight.dtype == dtype:
            return F.rms_norm(x, weight.shape, weight, self.eps)  # the same, in one call
        return _RMSNorm.apply(x, weight, self.eps, dtype)
