"""A small language model, whole: tokenizer, data, training, generation, in files short enough to read.

The three names most people need are `ModelConfig`, `MiniMind` and `load`. They are looked up on first use, so
`import minimind` does not pay for importing torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import ModelConfig
    from .model import MiniMind, load

__version__ = "0.1.0"
__all__ = ["MiniMind", "ModelConfig", "load"]

_HOMES = {"ModelConfig": "minimind.config", "MiniMind": "minimind.model", "load": "minimind.model"}


# Torch's threads wait for each other by spinning, for some milliseconds each time. Where other programs run, that
# takes the processor from the very thread that is waited for, so here they spin for less, and then sleep. GNU's OpenMP
# reads the number when torch is loaded; other kinds ignore it, and a choice of the reader's own stands.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "60000"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'minimind' has no attribute {name!r}")
