"""The model: one file for each idea, from the norm to generation."""

from .attention import Attention, dot_product_attention
from .block import TransformerBlock
from .cache import KVCache
from .causal_lm import CausalLMOutput, MiniMind
from .feedforward import FeedForward
from .loading import load
from .norm import RMSNorm
from .rope import apply_rope, rope_frequencies

__all__ = [
    "Attention",
    "CausalLMOutput",
    "FeedForward",
    "KVCache",
    "MiniMind",
    "RMSNorm",
    "TransformerBlock",
    "apply_rope",
    "dot_product_attention",
    "load",
    "rope_frequencies",
]
