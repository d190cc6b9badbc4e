"""KV cache: keys and values of the tokens so far, so that a new token costs one token's work."""

import torch
from torch import Tensor

from ..config import ModelConfig


class KVCache:
    """Keys and values of every layer, in memory that is taken once and then filled.

    A cache that grows by `torch.cat` copies everything at each token; this one writes the new row alone.
    Queries are not kept: the query of an old token is never asked again.

    Args:
        config: the model's shape.
        batch_size: rows that are generated together.
        max_length: tokens that fit, prompt and new ones together.
        dtype: of the numbers kept; that of the model.
        device: that of the model.

    Attributes:
        length: tokens held so far.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (batch_size, config.num_key_value_heads, max_length, config.head_dim)  # (B, K, max_length, D)
        layers = range(config.num_hidden_layers)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.max_length = max_length
        self.length = 0

    def update(self, layer_index: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new tokens of one layer.

        Args:
            layer_index: which block's keys and values.
            k: new keys `(B, K, T, D)`, already turned by their positions.
            v: new values `(B, K, T, D)`.

        Returns:
            All keys and all values so far, `(B, K, length + T, D)`: views, not copies.

        Raises:
            ValueError: if the new tokens do not fit.
        """
        end = self.length + k.shape[2]
        if end > self.max_length:
            raise ValueError(f"the cache holds {self.max_length} tokens, {end} were given; make it larger")
        keys, values = self.keys[layer_index], self.values[layer_index]
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        return keys[:, :, :end], values[:, :, :end]

    def advance(self, count: int) -> None:
        """Count `count` new tokens as held; called once, after every layer has written them."""
        self.length += count
