"""The pieces that later exercises build on, as we would write them; a reader's own versions can stand in for them."""

from importlib import import_module
from typing import Any

PIECES = (
    "rms_norm",
    "rope_frequencies",
    "apply_rope",
    "causal_mask",
    "scaled_dot_product_attention",
    "grouped_query_attention",
    "swiglu",
    "transformer_block",
)


def __getattr__(name: str) -> Any:
    # When first asked for: a piece that builds on another one imports this module itself.
    if name not in PIECES:
        raise AttributeError(f"{__name__} has no piece {name}")
    return getattr(import_module(f".tasks.{name}", __package__), name)
