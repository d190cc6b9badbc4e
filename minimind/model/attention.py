"""Attention: a token asks (query), every earlier one shows a label (key) and hands over content (value)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ModelConfig
from .masks import causal_mask
from .norm import RMSNorm
from .rope import rope_frequencies, rotate, rotation, yarn_score_factor

if TYPE_CHECKING:
    from .cache import KVCache

ATTENTION_PATHS = ("sdpa", "manual")


def dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention as the formula says it, `softmax(q kᵀ / sqrt(D)) v`, to read and to test others against.

    Args:
        q: queries `(…, T, D)`.
        k: keys `(…, S, D)`.
        v: values `(…, S, D)`.
        mask: `(…, T, S)`, True where a query may look at a key; None lets all look at all.

    Returns:
        `(…, T, D)`: for each query the average of the values, weighted by how well their keys fit. An average
        over nothing does not exist: a query that may look at no key gets NaN.

    References:
        Vaswani et al., Attention Is All You Need, 2017, https://arxiv.org/abs/1706.03762
    """
    scores = q @ k.transpose(-2, -1)  # (…, T, S)
    # A sum of D products of numbers of size 1 has size sqrt(D); divided by it, softmax starts out soft.
    scores = scores / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))  # exp(-inf) is 0: no weight at all
    weights = scores.softmax(dim=-1)  # (…, T, S), every row sums to 1
    return weights @ v  # (…, T, D)


class Attention(nn.Module):
    """Causal self-attention with grouped key and value heads, rotary positions and optional QK-norm.

    Args:
        config: the model's shape.
        layer_index: which layer of the cache is this one's.

    References:
        Ainslie et al., GQA, 2023, https://arxiv.org/abs/2305.13245
    """

    def __init__(self, config: ModelConfig, layer_index: int = 0) -> None:
        super().__init__()
        assert config.head_dim is not None
        assert config.num_attention_heads is not None
        assert config.num_key_value_heads is not None
        self.layer_index = layer_index
        self.num_heads = config.num_attention_heads  # H
        self.num_key_value_heads = config.num_key_value_heads  # K, each serves H / K query heads
        self.head_dim = config.head_dim  # D
        self.scale = yarn_score_factor(config.rope_scaling) / math.sqrt(self.head_dim)
        self.attention_path = "sdpa"
        self.config = config
        self.q_proj = nn.Linear(config.hidden_size, self.num_heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, self.num_key_value_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, self.num_key_value_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.num_heads * self.head_dim, config.hidden_size, bias=False)
        # QK-norm bounds the scores: no query or key can shout, so bf16 training stays calm.
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x: Tensor,
        rotation_table: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Mix the tokens of each row.

        Args:
            x: `(B, T, hidden_size)`.
            rotation_table: cos and sin `(B or 1, T, 1, D)`; None stands for positions 0, 1, 2, …
            mask: `(B or 1, 1, T, S)`, True where a query may look; None is causal. On the manual path, what
                `manual_bias` makes of it.
            cache: keys and values of the tokens before; the new ones are added to it.

        Returns:
            `(B, T, hidden_size)`.
        """
        batch, length, _ = x.shape
        if rotation_table is None:
            rotation_table = self._default_rotation(length, x.device)
        # A token's long vector becomes heads; queries and keys are normed and turned, values carry no position.
        q, k, v = (
            projection(x).view(batch, length, -1, self.head_dim)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )  # (B, T, H, D), k and v (B, T, K, D)
        # The angles are the same for all heads, so queries and keys are turned in one go.
        turned = rotate(
            torch.cat((self.q_norm(q), self.k_norm(k)), dim=2), *rotation_table
        )  # (B, T, H + K, D)
        q, k = turned.split([self.num_heads, self.num_key_value_heads], dim=2)
        # Heads stand before tokens from here on, as a batch of small problems.
        q, k, v = (
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
        )  # (B, H, T, D), k and v (B, K, T, D)
        if cache is not None:
            k, v = cache.update(self.layer_index, k, v)  # (B, K, S, D), S = tokens before + T
        if self.attention_path == "manual" and cache is None:
            out = manual_attention(q, k, v, self.scale, mask)  # (B, H, T, D)
        else:
            out = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask,
                is_causal=mask is None and length > 1,
                scale=self.scale,
                enable_gqa=self.num_heads != self.num_key_value_heads,
            )  # (B, H, T, D)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))

    def _default_rotation(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        config = self.config
        frequencies = rope_frequencies(self.head_dim, config.rope_theta, config.rope_scaling).to(device)
        cos, sin = rotation(torch.arange(length, device=device), frequencies)  # (T, D)
        return cos[:, None], sin[:, None]


def manual_bias(
    mask: Tensor | None, length: int, config: ModelConfig, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """A mask as numbers to add to the scores, 0 or -inf, laid out for `manual_attention`: once per forward.

    Args:
        mask: `(B or 1, 1, T, T)`, True where a query may look; None is causal.
        length: T.
        config: for the number of heads.
        dtype: of the scores.
        device: where to make it.

    Returns:
        `(B * K or 1, H / K * T, T)`.
    """
    assert config.num_attention_heads is not None
    assert config.num_key_value_heads is not None
    group = config.num_attention_heads // config.num_key_value_heads
    if mask is None:
        mask = causal_mask(length, length, device)[None, None]
    heads = 1 if mask.shape[0] == 1 else config.num_key_value_heads
    bias = torch.zeros(mask.shape, dtype=dtype, device=device).masked_fill(
        ~mask, float("-inf")
    )  # (B, 1, T, T)
    return bias[:, :, None].expand(-1, heads, group, -1, -1).reshape(-1, group * length, length)


def manual_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """The formula again, laid out for a CPU with bf16 units, where it beats the built-in kernel to T = 512.

    Scores, scale and mask are one call of `baddbmm`. The query heads of a group stand below each other as
    rows of one matrix, so keys and values are never copied for them.

    Args:
        q: `(B, H, T, D)`.
        k: `(B, K, T, D)`.
        v: `(B, K, T, D)`.
        scale: the scores are multiplied by it.
        bias: from `manual_bias`; None is causal.

    Returns:
        `(B, H, T, D)`.
    """
    batch, heads, length, head_dim = q.shape
    rows = batch * k.shape[1]  # B * K
    group = heads // k.shape[1]
    if bias is None:
        triangle = torch.full((length, length), float("-inf"), dtype=q.dtype, device=q.device).triu(1)
        bias = triangle.repeat(group, 1)[None]  # (1, H/K * T, T)
    q = q.reshape(rows, group * length, head_dim)
    k, v = k.reshape(rows, length, head_dim), v.reshape(rows, length, head_dim)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)  # (B*K, H/K * T, T)
    out = torch.bmm(scores.softmax(dim=-1), v)  # (B*K, H/K * T, D)
    return out.view(batch, heads, length, head_dim)
