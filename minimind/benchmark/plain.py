"""The baseline: the same model and the same training, written as most first tutorials write them.

fp32 everywhere, one document a row with padding behind it, logits for every position, keys and values
repeated for each query head, and a cache that grows by `torch.cat`. Its weights have the names of
`MiniMind`'s, so both compute the same numbers from the same state dict; a test holds them to that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ModelConfig
from ..model import rope_frequencies

Pair = tuple[Tensor, Tensor]
Past = list[Pair]


class PlainNorm(nn.Module):
    """RMSNorm."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def rotate_half(x: Tensor) -> Tensor:
    """The second half of the last dimension, negated, before the first."""
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def repeat_kv(x: Tensor, times: int) -> Tensor:
    """Copy each key or value head for the query heads that share it: `(B, K, T, D)` to `(B, H, T, D)`."""
    batch, heads, length, head_dim = x.shape
    return x[:, :, None].expand(batch, heads, times, length, head_dim).reshape(batch, -1, length, head_dim)


class PlainAttention(nn.Module):
    """Grouped-query attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.times = config.num_attention_heads // config.num_key_value_heads
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * self.head_dim, config.hidden_size, bias=False)
        self.q_norm = PlainNorm(self.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = PlainNorm(self.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, past: Pair | None) -> tuple[Tensor, Pair]:
        batch, length, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(batch, length, -1, self.head_dim)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(batch, length, -1, self.head_dim)).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, -1, self.head_dim).transpose(1, 2)
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        if past is None:
            out = F.scaled_dot_product_attention(
                q, repeat_kv(k, self.times), repeat_kv(v, self.times), is_causal=length > 1
            )
        else:  # As the original MiniMind does: the kernel for whole rows, the formula for tokens after a cache.
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
            scores = q @ repeat_kv(k, self.times).transpose(-2, -1) / math.sqrt(self.head_dim)
            out = scores.float().softmax(dim=-1).type_as(q) @ repeat_kv(v, self.times)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1)), (k, v)


class PlainFeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class PlainBlock(nn.Module):
    """Pre-norm block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = PlainNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = PlainAttention(config)
        self.post_attention_layernorm = PlainNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = PlainFeedForward(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, past: Pair | None) -> tuple[Tensor, Pair]:
        attended, kept = self.self_attn(self.input_layernorm(x), cos, sin, past)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), kept


class PlainDecoder(nn.Module):
    """Embedding, blocks, last norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(PlainBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = PlainNorm(config.hidden_size, config.rms_norm_eps)


class PlainModel(nn.Module):
    """The whole model; cosines and sines of every position come from a table, made once."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.model = PlainDecoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.lm_head.weight = self.model.embed_tokens.weight
        positions = torch.arange(config.max_position_embeddings)[:, None]
        angles = positions * rope_frequencies(config.head_dim, config.rope_theta).repeat(2)
        self.cos, self.sin = angles.cos(), angles.sin()

    def forward(self, input_ids: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Logits `(B, T, V)`, and the keys and values of every layer."""
        start = past[0][0].shape[2] if past is not None else 0
        rows = slice(start, start + input_ids.shape[1])
        x = self.model.embed_tokens(input_ids)
        kept: Past = []
        for index, layer in enumerate(self.model.layers):
            x, pair = layer(x, self.cos[rows], self.sin[rows], past[index] if past is not None else None)
            kept.append(pair)
        return self.lm_head(self.model.norm(x)), kept

    def loss(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy; -100 is left out."""
        logits, _ = self(input_ids)
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)

    @torch.no_grad()
    def generate(self, input_ids: Tensor, max_new_tokens: int) -> Tensor:
        """Greedy decoding."""
        ids, past = input_ids, None
        for _ in range(max_new_tokens):
            logits, past = self(ids if past is None else ids[:, -1:], past)
            ids = torch.cat((ids, logits[:, -1].argmax(-1, keepdim=True)), dim=1)
        return ids


def padded_rows(
    documents: Sequence[Sequence[int]], row_length: int, pad_id: int = 0
) -> tuple[Tensor, Tensor]:
    """One document a row, padding behind it: ids and labels `(documents, row_length)`."""
    ids = torch.full((len(documents), row_length), pad_id)
    labels = torch.full((len(documents), row_length), -100)
    for row, document in enumerate(documents):
        ids[row, : len(document)] = labels[row, : len(document)] = torch.tensor(document)
    return ids, labels
