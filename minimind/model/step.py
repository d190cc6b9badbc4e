"""One new token a row: the model's forward again, as one flat loop over its weights.

For one token a layer reads its whole matrix from memory and multiplies it with one vector, so reading is the work,
and all else is what it costs to get there. A matrix of three layers joined is read faster than three; a norm over
queries and keys together costs half of two; and calling a module costs as much as a small product. The numbers are
those of `MiniMind.forward`; a test holds both together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import Attention
from .block import TransformerBlock
from .cache import KVCache
from .feedforward import FeedForward
from .norm import RMSNorm
from .rope import rotate, rotation

if TYPE_CHECKING:
    from .causal_lm import MiniMind


@dataclass
class LayerWeights:
    """What one block multiplies by: F is `intermediate_size`, E `hidden_size`, rows are what comes out."""

    attention_norm: Tensor  # (E,)
    qkv: Tensor  # ((H + 2K) * D, E)
    qk_norm: Tensor | None  # (H + K, D)
    out: Tensor  # (E, H * D)
    mlp_norm: Tensor  # (E,)
    gate_and_up: Tensor  # (2F, E)
    down: Tensor  # (E, F)
    scale: float  # of the scores

    @classmethod
    def of(cls, block: TransformerBlock) -> LayerWeights:
        """Read the weights of a block; those that are joined are copies."""
        attention, mlp = block.self_attn, block.mlp
        qk_norm = None
        if isinstance(attention.q_norm, RMSNorm) and isinstance(attention.k_norm, RMSNorm):
            q_norm = attention.q_norm.weight.expand(attention.num_heads, -1)
            qk_norm = torch.cat((q_norm, attention.k_norm.weight.expand(attention.num_key_value_heads, -1)))
        return cls(
            attention_norm=block.input_layernorm.weight,
            qkv=torch.cat((attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight)),
            qk_norm=qk_norm,
            out=attention.o_proj.weight,
            mlp_norm=block.post_attention_layernorm.weight,
            gate_and_up=torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)),
            down=mlp.down_proj.weight,
            scale=attention.scale,
        )


class Step:
    """Reads a model's weights when it is made, and takes one token a row at a time.

    Args:
        model: for which `can_step` holds, in eval mode.
        cache: with the tokens before.
        attention_mask: `(B, S)` of the tokens before, 0 on padding; None says that there is none.
    """

    def __init__(self, model: MiniMind, cache: KVCache, attention_mask: Tensor | None = None) -> None:
        self.model = model
        self.config = model.config
        self.cache = cache
        blocks = [block for block in model.model.layers if isinstance(block, TransformerBlock)]
        self.layers = [LayerWeights.of(block) for block in blocks]
        self.frequencies = model.model.frequencies.to(model.lm_head.weight.device)
        if attention_mask is None:
            self.positions = torch.tensor([cache.length], device=self.frequencies.device)  # (1,)
            self.mask = None
        else:
            self.positions = attention_mask.long().sum(dim=1)  # (B,)
            new = cache.max_length - attention_mask.shape[1]
            self.mask = F.pad(attention_mask.bool(), (0, new), value=True)[
                :, None, None
            ]  # (B, 1, 1, max_length)

    def __call__(self, ids: Tensor) -> Tensor:
        """Add one token to every row.

        Args:
            ids: `(B,)`.

        Returns:
            Logits `(B, vocab_size)` for the token after it.
        """
        config, decoder, cache = self.config, self.model.model, self.cache
        batch, eps = ids.shape[0], config.rms_norm_eps
        heads, kv_heads, head_dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        assert heads is not None
        assert kv_heads is not None
        assert head_dim is not None
        end_of_keys = (heads + kv_heads) * head_dim  # in a row of queries, keys, values
        width = (config.hidden_size,)
        cos, sin = rotation(self.positions, self.frequencies)
        cos, sin = cos[:, None], sin[:, None]  # (B or 1, 1, D), the same for all heads
        mask = None if self.mask is None else self.mask[..., : cache.length + 1]  # (B, 1, 1, S)
        x = F.embedding(ids, decoder.embed_tokens.weight)  # (B, E)
        for index, layer in enumerate(self.layers):
            qkv = F.linear(F.rms_norm(x, width, layer.attention_norm, eps), layer.qkv)
            qk = qkv[:, :end_of_keys].view(batch, heads + kv_heads, head_dim)  # (B, H + K, D)
            v = qkv[:, end_of_keys:].view(batch, kv_heads, 1, head_dim)  # (B, K, 1, D)
            if layer.qk_norm is not None:
                qk = F.rms_norm(qk, (head_dim,), None, eps) * layer.qk_norm
            qk = rotate(qk, cos, sin)
            keys, values = cache.update(index, qk[:, heads:, None], v)  # (B, K, S, D)
            # All queries of a group look at the same keys: to the kernel they are the tokens of one head.
            q = qk[:, :heads].reshape(batch, kv_heads, -1, head_dim)  # (B, K, H / K, D)
            out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=layer.scale)
            x = x + F.linear(out.reshape(batch, -1), layer.out)
            gate, up = F.linear(F.rms_norm(x, width, layer.mlp_norm, eps), layer.gate_and_up).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        cache.advance(1)
        self.positions = self.positions + 1
        return self.model.lm_head(F.rms_norm(x, width, decoder.norm.weight, eps))


def can_step(model: MiniMind) -> bool:
    """Whether the model is made of our own modules and nobody listens to them.

    With an adapter, a part of the reader's own or a hook in it, the modules have to be called.
    """
    from .causal_lm import Decoder, MiniMind  # here, because it imports this file

    ours = (MiniMind, Decoder, TransformerBlock, Attention, FeedForward, RMSNorm)
    torchs = (nn.ModuleList, nn.Embedding, nn.Linear, nn.Dropout, nn.Identity)
    return all(
        type(module) in ours + torchs
        and not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
        and getattr(module, "bias", None) is None
        for module in model.modules()
    )
