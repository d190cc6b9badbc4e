"""Attention: a token asks (query); it and every earlier one say what they have (key) and hand it over (value).

Letters of the shapes:
    B  rows of the batch                      H  query heads
    T  new tokens, which ask                  K  key and value heads, each for H / K query heads
    S  tokens that can be seen (cached + T)   D  numbers a head
    E  numbers a token, `hidden_size`
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ModelConfig
from .cache import KVCache
from .masks import Borders
from .norm import RMSNorm
from .rope import rope_frequencies, rotate, rotation, yarn_score_factor


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
        self.config = config
        self.layer_index = layer_index
        self.num_heads = config.num_attention_heads  # H
        self.num_key_value_heads = config.num_key_value_heads  # K
        self.head_dim = config.head_dim  # D
        self.scale = yarn_score_factor(config.rope_scaling) / math.sqrt(self.head_dim)
        all_queries = self.num_heads * self.head_dim
        all_keys = self.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, all_queries, bias=False)  # E → H * D
        self.k_proj = nn.Linear(config.hidden_size, all_keys, bias=False)  # E → K * D
        self.v_proj = nn.Linear(config.hidden_size, all_keys, bias=False)  # E → K * D
        self.o_proj = nn.Linear(all_queries, config.hidden_size, bias=False)  # H * D → E
        # QK-norm bounds the scores: no query or key can shout, so bf16 training stays calm.
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x: Tensor,
        cos_sin: tuple[Tensor, Tensor] | None = None,
        borders: Borders | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Mix the tokens of each row.

        Args:
            x: `(B, T, E)`.
            cos_sin: of the positions' angles, `(B or 1, T, 1, D/2)` each; None stands for 0, 1, 2, … after what is
                cached.
            borders: who may look at whom; None is causal.
            cache: keys and values of the tokens before; the new ones are added to it.

        Returns:
            `(B, T, E)`.
        """
        B, T, _ = x.shape
        S = T if cache is None else cache.length + T
        borders = borders or Borders(T, S, x.device)
        cos, sin = cos_sin or self._turn(borders)

        # Project, and cut each token's long vector into heads.
        q = self.q_proj(x).view(B, T, self.num_heads, self.head_dim)  # (B, T, H, D)
        k = self.k_proj(x).view(B, T, self.num_key_value_heads, self.head_dim)  # (B, T, K, D)
        v = self.v_proj(x).view(B, T, self.num_key_value_heads, self.head_dim)  # (B, T, K, D)

        # Norm queries and keys, then turn them by their positions; values carry no position.
        q = rotate(self.q_norm(q), cos, sin)
        k = rotate(self.k_norm(k), cos, sin)

        # Heads before tokens: from here on every head is a small problem of its own.
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H or K, T, D)
        if cache is not None:
            k, v = cache.update(self.layer_index, k, v)  # (B, K, S, D)

        # Attend, lay the heads side by side again, and project back.
        found = self.attend(q, k, v, borders)  # (B, H, T, D)
        return self.o_proj(found.transpose(1, 2).reshape(B, T, -1))  # (B, T, E)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, borders: Borders) -> Tensor:
        """`dot_product_attention` by PyTorch's kernel, each key head for its group: `(B, H, T, D)`."""
        if borders.only_causal:
            # Whole rows: the kernel keeps the order itself. One new token is the last one: it sees all there is.
            mask, causal = None, borders.queries > 1
        else:
            mask, causal = borders.mask(), False  # (B or 1, 1, T, S)
        # Query head h reads key head h // (H / K), as if k and v were repeat_interleave(H // K, dim=1).
        grouped = self.num_heads != self.num_key_value_heads
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, scale=self.scale, enable_gqa=grouped
        )

    def _turn(self, borders: Borders) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the positions, for a layer that is used alone: `(1, T, 1, D/2)` each."""
        config = self.config
        frequencies = rope_frequencies(config.head_dim, config.rope_theta, config.rope_scaling)
        cos, sin = rotation(borders.positions(), frequencies.to(borders.device))  # (1, T, D/2)
        return cos[:, :, None], sin[:, :, None]
