"""Attention for a CPU with bf16 units, where it beats the built-in kernel up to rows of 512 tokens.

Scores, scale and mask are one call of `baddbmm`. The query heads of a group stand below each other as rows of one
matrix, so keys and values are never copied for them. B, T, H, K and D are those of `attention.py`; G = H / K.
"""

import torch
from torch import Tensor

from .. import rope
from ..attention import Attention
from ..cache import KVCache
from ..masks import Borders


def additive_bias(borders: Borders, group: int, key_heads: int, dtype: torch.dtype) -> Tensor:
    """The mask as numbers to add to the scores, 0 or -inf: made for the first layer, then kept for the others.

    Args:
        borders: of a forward without cached tokens.
        group: query heads that share a key head, G.
        key_heads: K.
        dtype: of the scores.

    Returns:
        `(B * K or 1, G * T, T)`.
    """
    if "additive bias" not in borders.made:
        mask, T = borders.mask(), borders.queries  # (B or 1, 1, T, T)
        bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, float("-inf"))
        heads = 1 if mask.shape[0] == 1 else key_heads
        bias = bias[:, :, None].expand(-1, heads, group, -1, -1)  # (B or 1, K or 1, G, T, T)
        borders.made["additive bias"] = bias.reshape(-1, group * T, T)
    return borders.made["additive bias"]


def baddbmm_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, borders: Borders) -> Tensor:
    """`softmax(scale * q kᵀ) v` within the borders.

    Args:
        q: `(B, H, T, D)`.
        k: `(B, K, T, D)`.
        v: `(B, K, T, D)`.
        scale: the scores are multiplied by it.
        borders: who may look at whom.

    Returns:
        `(B, H, T, D)`.
    """
    B, H, T, D = q.shape
    K = k.shape[1]
    bias = additive_bias(borders, H // K, K, q.dtype)  # (B*K or 1, G*T, T)
    q = q.reshape(B * K, H // K * T, D)
    k, v = k.reshape(B * K, T, D), v.reshape(B * K, T, D)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)  # (B*K, G*T, T)
    found = torch.bmm(scores.softmax(dim=-1), v)  # (B*K, G*T, D)
    return found.view(B, H, T, D)


class BaddbmmAttention(Attention):
    """`Attention` for whole rows, up to rounding; behind a cache it is the plain one, with PyTorch's kernel."""

    def forward(
        self,
        x: Tensor,
        cos_sin: tuple[Tensor, Tensor] | None = None,
        borders: Borders | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        if cache is not None:
            return super().forward(x, cos_sin, borders, cache)
        B, T, _ = x.shape
        borders = borders or Borders(T, T, x.device)
        cos, sin = doubled(*(cos_sin or self._turn(borders)))  # (B or 1, T, 1, D)
        q = self.q_proj(x).view(B, T, -1, self.head_dim)  # (B, T, H, D)
        k = self.k_proj(x).view(B, T, -1, self.head_dim)  # (B, T, K, D)
        v = self.v_proj(x).view(B, T, -1, self.head_dim)  # (B, T, K, D)
        # The angles are the same for all heads, so queries and keys are turned in one go.
        turned = rotate(torch.cat((self.q_norm(q), self.k_norm(k)), dim=2), cos, sin)  # (B, T, H + K, D)
        q, k = turned.split([self.num_heads, self.num_key_value_heads], dim=2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H or K, T, D)
        found = baddbmm_attention(q, k, v, self.scale, borders)  # (B, H, T, D)
        return self.o_proj(found.transpose(1, 2).reshape(B, T, -1))  # (B, T, E)


def rotation(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine for `rotate`: positions `(…, T)` to two tensors `(…, T, D)`."""
    return doubled(*rope.rotation(positions, frequencies))


def doubled(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """The tables of `rope.rotation`, `(…, T, D/2)`, as `rotate` here reads them: `(…, T, D)`."""
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of x `(…, D)` by the angles of cos and sin `(…, D)`: four calls instead of eight.

    The tables broadcast over heads. Each number takes its partner, half a head away, by one `roll`; the minus of
    `a cos - b sin` is in the table.
    """
    partners = x.roll(x.shape[-1] // 2, dims=-1)  # (…, D), the halves change places
    return (x * cos + partners * sin).to(x.dtype)
