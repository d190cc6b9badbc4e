"""What one block computes with for a single token: its weights, joined where that is read faster.

Linear layers and feed-forwards may be of any kind (adapters, quantized weights, experts): what is not a plain
`nn.Linear` or our own `FeedForward` is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..block import TransformerBlock
from ..feedforward import FeedForward
from ..norm import RMSNorm

Layer = Callable[[Tensor], Tensor]


@dataclass
class BlockParts:
    """What one block computes with: E is `hidden_size`."""

    attention_norm: Tensor  # (E,)
    qk_and_v: Callable[[Tensor], tuple[Tensor, Tensor]]  # (B, E) to (B, (H + K) * D) and (B, K * D)
    qk_norm: Tensor | None  # (H + K, D)
    out: Layer  # (B, H * D) to (B, E)
    scale: float  # of the scores
    mlp_norm: Tensor  # (E,)
    mlp: Layer  # (B, E) to (B, E)

    @classmethod
    def of(cls, block: TransformerBlock) -> BlockParts:
        """Read a block; weights that are joined are copies."""
        attention = block.self_attn
        qk_norm = None
        if isinstance(attention.q_norm, RMSNorm) and isinstance(attention.k_norm, RMSNorm):
            q_norm = attention.q_norm.weight.expand(attention.num_heads, -1)
            qk_norm = torch.cat((q_norm, attention.k_norm.weight.expand(attention.num_key_value_heads, -1)))
        return cls(
            attention_norm=block.input_layernorm.weight,
            qk_and_v=queries_keys_and_values(attention.q_proj, attention.k_proj, attention.v_proj),
            qk_norm=qk_norm,
            out=function_of(attention.o_proj),
            scale=attention.scale,
            mlp_norm=block.post_attention_layernorm.weight,
            mlp=feed_forward(block.mlp),
        )


def queries_keys_and_values(
    q_proj: nn.Module, k_proj: nn.Module, v_proj: nn.Module
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Queries and keys side by side, and values; three plain matrices are read as one."""
    if is_plain_linear(q_proj) and is_plain_linear(k_proj) and is_plain_linear(v_proj):
        weight = torch.cat((q_proj.weight, k_proj.weight, v_proj.weight))  # ((H + 2K) * D, E)
        end_of_keys = weight.shape[0] - v_proj.out_features

        def joined(x: Tensor) -> tuple[Tensor, Tensor]:
            qkv = F.linear(x, weight)  # (B, (H + 2K) * D)
            return qkv[:, :end_of_keys], qkv[:, end_of_keys:]

        return joined
    q, k, v = function_of(q_proj), function_of(k_proj), function_of(v_proj)
    return lambda x: (torch.cat((q(x), k(x)), dim=-1), v(x))


def feed_forward(mlp: nn.Module) -> Layer:
    """Our own feed-forward with its two wide matrices as one; any other as it is."""
    if type(mlp) is not FeedForward or is_listened_to(mlp):
        return mlp
    gate_proj, up_proj, down = mlp.gate_proj, mlp.up_proj, function_of(mlp.down_proj)
    if is_plain_linear(gate_proj) and is_plain_linear(up_proj):
        weight = torch.cat((gate_proj.weight, up_proj.weight))  # (2F, E)

        def joined(x: Tensor) -> Tensor:
            gate, up = F.linear(x, weight).chunk(2, dim=-1)  # each (B, F)
            return down(F.silu(gate) * up)

        return joined
    gate, up = function_of(gate_proj), function_of(up_proj)
    return lambda x: down(F.silu(gate(x)) * up(x))


def function_of(module: nn.Module) -> Layer:
    """What calling the module does, without what the call itself costs where nobody listens to it."""
    if is_plain_linear(module):
        weight = module.weight
        return lambda x: F.linear(x, weight)
    return module if is_listened_to(module) else module.forward


def is_plain_linear(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether the module does nothing but multiply with its matrix."""
    return type(module) is nn.Linear and module.bias is None and not is_listened_to(module)


def is_listened_to(module: nn.Module) -> bool:
    """Whether calling the module does more than its class says: a hook, or a forward put in its place."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
