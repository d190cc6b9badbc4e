"""What makes the model fast, apart from the lessons: up to rounding each part gives the plain one's numbers, sooner.

A model is made of the plain parts, and stays plain until somebody asks. `speed_up` then gives its modules the faster
classes in their place: they are subclasses with the same parameters, so weights, names and hooks stay as they are.
"""

from torch import nn

from ..attention import Attention
from ..norm import RMSNorm
from .attention import BaddbmmAttention
from .norm import FastRMSNorm

ATTENTION_PATHS: dict[str, type[Attention]] = {"sdpa": Attention, "manual": BaddbmmAttention}
"""How attention is computed, by the name that a run keeps: PyTorch's own kernel, or two products of matrices."""


def speed_up(model: nn.Module, attention_path: str = "sdpa") -> None:
    """Exchange, module by module, what has a faster form.

    Args:
        model: one of ours, or any other: modules that are not exactly the plain ones stay as they are.
        attention_path: `sdpa`, PyTorch's own kernel; or `manual`, faster in bf16 training on a CPU with bf16 units
            and rows up to 512.

    Raises:
        ValueError: if there is no such path.
    """
    if attention_path not in ATTENTION_PATHS:
        raise ValueError(
            f"attention_path must be one of {', '.join(ATTENTION_PATHS)}, got {attention_path!r}"
        )
    for module in model.modules():
        if type(module) is RMSNorm:
            module.__class__ = FastRMSNorm
        elif type(module) in ATTENTION_PATHS.values():
            module.__class__ = ATTENTION_PATHS[attention_path]
