"""RMSNorm: give every token's vector the same length; the model chooses how much of each number to keep."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root mean square normalization, `y = x / sqrt(mean(x²) + eps) * weight`, over the last dimension.

    Each token is normalized alone: no number of another token, and no other sample, has a part in it.

    Args:
        hidden_size: length of the last dimension, and of `weight`.
        eps: added to the mean square, so that a zero vector divides by more than zero.

    Shapes:
        x `(…, hidden_size)` to y `(…, hidden_size)`, in the dtype of x.

    References:
        Zhang and Sennrich, Root Mean Square Layer Normalization, 2019, https://arxiv.org/abs/1910.07467
    """

    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size))  # (D,)

    def forward(self, x: Tensor) -> Tensor:
        # The square of a bf16 number keeps 8 bits of precision, too few to sum; so the mean is taken in fp32.
        x32 = x.float()  # (…, D)
        mean_square = x32.pow(2).mean(dim=-1, keepdim=True)  # (…, 1)
        normalized = x32 * torch.rsqrt(mean_square + self.eps)  # (…, D), its own mean square is 1
        return (normalized * self.weight).to(x.dtype)
