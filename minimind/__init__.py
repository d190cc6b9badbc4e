"""A small language model, whole: tokenizer, data, training, generation, in files short enough to read.

The three names most people need are `ModelConfig`, `MiniMind` and `load`. They are looked up on first use, so
`import minimind` does not pay for importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import ModelConfig
    from .model import MiniMind, load

__version__ = "0.1.0"
__all__ = ["MiniMind", "ModelConfig", "load"]

_HOMES = {"ModelConfig": "minimind.config", "MiniMind": "minimind.model", "load": "minimind.model"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'minimind' has no attribute {name!r}")
