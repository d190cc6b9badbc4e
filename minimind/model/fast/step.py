"""One new token a row: the model's forward again, as one flat loop over its blocks.

For one token a layer reads its whole matrix from memory and multiplies it with one vector, so reading is the work,
and all else is what it costs to get there. A matrix of three layers joined is read faster than three; a norm over
queries and keys together costs half of two; and calling a module costs as much as a small product. The numbers are
those of `MiniMind.forward`; a test holds both together.

Linear layers and feed-forwards may be of any kind (adapters, quantized weights, experts): what is not a plain
`nn.Linear` or our own `FeedForward` is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import ModelConfig
from ..attention import Attention
from ..block import TransformerBlock
from ..cache import KVCache
from ..feedforward import FeedForward
from ..norm import RMSNorm
from .attention import rotate, rotation

Layer = Callable[[Tensor], Tensor]
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
