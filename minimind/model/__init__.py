"""The model: one file for each idea, and each is short enough to be read from top to bottom.

In the order of the lessons: `norm`, `rope`, `masks`, `attention`, `feedforward`, `block`, `causal_lm`, which is the
whole model and its loss; then `cache` and `generate`, with which it writes. What makes it fast stands in `fast/`.
"""

from .attention import Attention, dot_product_attention
from .block import TransformerBlock
from .cache import KVCache
from .causal_lm import MiniMind
from .feedforward import FeedForward
from .language_model import CausalLMOutput
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
