"""One transformer block: attention, then the feed-forward layer, each added to the stream that passes by."""

from torch import Tensor, nn

from ..config import ModelConfig
from .attention import Attention
from .cache import KVCache
from .feedforward import FeedForward
from .masks import Borders
from .norm import RMSNorm


def feed_forward(config: ModelConfig) -> nn.Module:
    """The feed-forward layer of a block: one kind today; a mixture of experts would be chosen here.

    One that has a loss beside the main one leaves it, its coefficient applied, in `aux_loss` at each forward.
    """
    return FeedForward(config)


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
        self.mlp = feed_forward(config)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(
        self,
        x: Tensor,
        cos_sin: tuple[Tensor, Tensor] | None = None,
        borders: Borders | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Arguments as in `Attention.forward`."""
        # Both lines: (B, T, hidden_size), the stream; what is added was read from a normed copy of it.
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), cos_sin, borders, cache))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))

    @property
    def aux_loss(self) -> Tensor | float:
        """What the last forward adds to the model's `aux_loss`: nothing, where the feed-forward layer has none."""
        return getattr(self.mlp, "aux_loss", 0.0)
