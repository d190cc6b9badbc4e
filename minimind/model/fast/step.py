"""One new token a row: the model's forward again, as one flat loop over its blocks.

For one token a layer reads its whole matrix from memory and multiplies it with one vector, so reading is the work,
and all else is what it costs to get there. A matrix of three layers joined is read faster than three; a norm over
queries and keys together costs half of two; and calling a module costs as much as a small product. The numbers are
those of `MiniMind.forward`; a test holds both together.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import ModelConfig
from ..attention import Attention
from ..block import TransformerBlock
from ..cache import KVCache
from ..norm import RMSNorm
from .attention import rotate, rotation
from .parts import BlockParts, is_listened_to

PACKAGE = __name__.rsplit(".", 2)[0]
"""`minimind.model`, where the modules are whose forward is written again here."""


class CausalLM(Protocol):
    """What is asked of a model that writes; `MiniMind` is one (its file imports this one, not the other way)."""

    config: ModelConfig
    model: Any  # the decoder: embed_tokens, layers, norm, frequencies
    lm_head: Any
    training: bool
    generation_config: dict[str, Any]

    def __call__(self, *inputs: Any, **options: Any) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def modules(self) -> Any: ...


class Step:
    """Reads a model's blocks when it is made, and takes one token a row at a time.

    Args:
        model: for which `can_step` holds, in eval mode.
        cache: with the tokens before.
        attention_mask: `(B, S)` of the tokens before, 0 on padding; None says that there is none.
    """

    def __init__(self, model: CausalLM, cache: KVCache, attention_mask: Tensor | None = None) -> None:
        self.model = model
        self.config = model.config
        self.cache = cache
        self.blocks = [BlockParts.of(block) for block in model.model.layers]
        self.frequencies = model.model.frequencies.to(model.model.embed_tokens.weight.device)
        if attention_mask is None:
            self.positions = torch.tensor([cache.length], device=self.frequencies.device)  # (1,)
            self.mask = None
        else:
            self.positions = attention_mask.long().sum(dim=1)  # (B,)
            new = cache.max_length - attention_mask.shape[1]
            mask = F.pad(attention_mask.bool(), (0, new), value=True)
            self.mask = mask[:, None, None]  # (B, 1, 1, max_length)

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
        width = (config.hidden_size,)
        cos, sin = rotation(self.positions, self.frequencies)
        cos, sin = cos[:, None], sin[:, None]  # (B or 1, 1, D), the same for all heads
        mask = None if self.mask is None else self.mask[..., : cache.length + 1]  # (B, 1, 1, S)
        x = F.embedding(ids, decoder.embed_tokens.weight)  # (B, E)
        for index, block in enumerate(self.blocks):
            qk, v = block.qk_and_v(F.rms_norm(x, width, block.attention_norm, eps))
            qk = qk.view(batch, heads + kv_heads, head_dim)  # (B, H + K, D)
            if block.qk_norm is not None:
                qk = F.rms_norm(qk, (head_dim,), None, eps) * block.qk_norm
            qk = rotate(qk, cos, sin)
            # Every key and value so far, (B, K, S, D).
            keys, values = cache.update(index, qk[:, heads:, None], v.view(batch, kv_heads, 1, head_dim))
            # All queries of a group look at the same keys: to the kernel they are the tokens of one head.
            q = qk[:, :heads].reshape(batch, kv_heads, -1, head_dim)  # (B, K, H / K, D)
            out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=block.scale)
            x = x + block.out(out.reshape(batch, -1))
            x = x + block.mlp(F.rms_norm(x, width, block.mlp_norm, eps))
        cache.advance(1)
        self.positions = self.positions + 1
        return self.model.lm_head(F.rms_norm(x, width, decoder.norm.weight, eps))


def can_step(model: CausalLM) -> bool:
    """Whether the step computes what the modules would.

    What stands in place of a linear layer or of a feed-forward may be anything, for these are called. The rest has
    to be our own, and nobody may listen to it: its numbers are computed here, its modules are not called.
    """
    decoder, blocks = model.model, list(model.model.layers)
    if not all(is_our(TransformerBlock, block) and is_our(Attention, block.self_attn) for block in blocks):
        return False
    attentions = [block.self_attn for block in blocks]
    norms = [decoder.norm]
    norms += [norm for block in blocks for norm in (block.input_layernorm, block.post_attention_layernorm)]
    # Queries and keys are normed together, so both have a norm or neither.
    for q_norm, k_norm in ((attention.q_norm, attention.k_norm) for attention in attentions):
        norms += [] if type(q_norm) is type(k_norm) is nn.Identity else [q_norm, k_norm]
    called = [model.lm_head, *(block.mlp for block in blocks)]
    called += [layer for a in attentions for layer in (a.q_proj, a.k_proj, a.v_proj, a.o_proj)]
    inside_called = {id(module) for part in called for module in part.modules()}
    return (
        is_our(nn.Module, model)
        and is_our(nn.Module, decoder)
        and type(decoder.embed_tokens) is nn.Embedding
        and all(is_our(RMSNorm, norm) for norm in norms)
        and not any(is_listened_to(module) for module in model.modules() if id(module) not in inside_called)
    )


def is_our(kind: type, module: object) -> bool:
    """Whether the module is of a kind, and its class from this package: a subclass elsewhere may do something else."""
    return isinstance(module, kind) and type(module).__module__.startswith(f"{PACKAGE}.")


class ModuleStep:
    """What `Step` does, by calling the model: for one that has hooks, or blocks of the reader's own."""

    def __init__(self, model: CausalLM, cache: KVCache, attention_mask: Tensor | None) -> None:
        self.model, self.cache, self.attention_mask = model, cache, attention_mask

    def __call__(self, ids: Tensor) -> Tensor:
        if self.attention_mask is not None:
            ones = torch.ones_like(self.attention_mask[:, :1])
            self.attention_mask = torch.cat((self.attention_mask, ones), dim=1)  # (B, S)
        hidden = self.model(ids[:, None], attention_mask=self.attention_mask, cache=self.cache).hidden_states
        return self.model.lm_head(hidden[:, -1])  # (B, V)


def one_token_step(model: CausalLM, cache: KVCache, attention_mask: Tensor | None) -> Step | ModuleStep:
    """The faster of the two that gives this model's numbers."""
    return Step(model, cache, attention_mask) if can_step(model) else ModuleStep(model, cache, attention_mask)
