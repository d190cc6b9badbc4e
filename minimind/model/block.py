"""One transformer block: attention, then the feed-forward layer, each added to the stream that passes by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..config import ModelConfig
from .attention import Attention
from .feedforward import FeedForward
from .norm import RMSNorm

if TYPE_CHECKING:
    from .cache import KVCache


class TransformerBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + feed_forward(norm(x))`.

    The norm stands before the layer, inside the branch ("pre-norm"): the stream itself is never normalized,
    so there is a straight road for the gradient from the loss to the embedding.

    Args:
        config: the model's shape.
        layer_index: which layer of the cache is this one's.

    Shapes:
        x `(B, T, hidden_size)` to `(B, T, hidden_size)`.

    References:
        Xiong et al., On Layer Normalization in the Transformer Architecture, 2020, https://arxiv.org/abs/2002.04745
    """

    def __init__(self, config: ModelConfig, layer_index: int = 0) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer_index)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(
        self,
        x: Tensor,
        rotation_table: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Arguments as in `Attention.forward`."""
        x = x + self.dropout(
            self.self_attn(self.input_layernorm(x), rotation_table, mask, cache)
        )  # (B, T, D)
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))  # (B, T, D)
