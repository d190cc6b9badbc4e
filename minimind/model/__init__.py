"""The model: one file for each idea, and each is short enough to be read from top to bottom.

In the order of the lessons: `norm`, `rope`, `masks`, `attention`, `feedforward`, `block`, `causal_lm`, which is the
whole model and its loss; then `cache` and `generate`, with which it writes; then `lora` and `lora_merge`, with which
it is adapted, and `adapters`, which keeps what was learned. What makes it fast stands in `fast/`.
"""

from .adapters import load_adapter, save_adapter
from .attention import Attention, dot_product_attention
from .block import TransformerBlock
from .cache import KVCache
from .causal_lm import MiniMind
from .feedforward import FeedForward
from .language_model import CausalLMOutput
from .loading import load
from .lora import LoRALinear, apply_lora
from .lora_merge import merge_lora, remove_lora, unmerge_lora
from .norm import RMSNorm
from .rope import apply_rope, rope_frequencies

__all__ = [
    "Attention",
    "CausalLMOutput",
    "FeedForward",
    "KVCache",
    "LoRALinear",
    "MiniMind",
    "RMSNorm",
    "TransformerBlock",
    "apply_lora",
    "apply_rope",
    "dot_product_attention",
    "load",
    "load_adapter",
    "merge_lora",
    "remove_lora",
    "rope_frequencies",
    "save_adapter",
    "unmerge_lora",
]
