"""RMSNorm: give every token's vector the same length; the model chooses how much of each number to keep."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root mean square normalization, `y = x / sqrt(mean(x²) + eps) * weight`, over the last dimension.

    Each token is normalized alone: no number of another token, and no other sample, has a part in it.

    Args:
        hidden_size: length of the last dimension, and of `weight`; for the norm of a head, the numbers of a head.
        eps: added to the mean square, so that a zero vector divides by more than zero.

    Shapes:
        x `(…, hidden_size)` to y `(…, hidden_size)`, in the dtype of x.

    References:
        Zhang and Sennrich, Root Mean Square Layer Normalization, 2019, https://arxiv.org/abs/1910.07467
    """

    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size))  # (hidden_size,)

    def forward(self, x: Tensor) -> Tensor:
        # The square of a bf16 number keeps 8 bits, too few to sum: inside, at least fp32.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # (…, hidden_size)
        inverse = (wide.square().mean(dim=-1, keepdim=True) + self.eps).rsqrt()  # (…, 1), 1 / RMS(x)
        return (wide * inverse * self.weight).to(x.dtype)  # (…, hidden_size)
