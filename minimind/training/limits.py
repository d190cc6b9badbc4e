"""What no training can use, refused before anything is read."""

from __future__ import annotations

import math
from importlib.util import find_spec

import torch

from ..errors import UserError
from ..settings import TrainingSettings

LARGEST_MASK = 2**31
"""Entries of a batch's attention mask, rows times tokens squared: as many bytes, and more for a moment."""
MOST_THREADS = 1024
"""Threads that can be asked for. A system gives out only so many, and OpenMP ends the program where it does not."""


def check_training(settings: TrainingSettings) -> None:
    """Refuse numbers that no training can use.

    Raises:
        UserError: naming the setting.
    """
    at_least = {
        "steps": 1, "epochs": 1, "batch_size": 1, "accumulation_steps": 1, "max_seq_len": 2, "validate_every": 1,
        "threads": 1,
        "sample_tokens": 0, "checkpoint_seconds": 0, "max_seconds": 0,
    }  # fmt: skip
    for name, smallest in at_least.items():
        value = getattr(settings, name)
        if value is not None and not smallest <= value < math.inf:
            raise UserError(f"{name} must be at least {smallest}, got {value}")
    if settings.threads is not None and settings.threads > MOST_THREADS:
        raise UserError(f"threads must be at most {MOST_THREADS}, got {settings.threads}")
    if not 0 <= settings.seed < 2**32:
        raise UserError(f"seed must be between 0 and {2**32 - 1}, got {settings.seed}")
    mask = settings.batch_size * settings.max_seq_len**2
    if mask > LARGEST_MASK:
        raise UserError(
            f"batch_size {settings.batch_size:,} with max_seq_len {settings.max_seq_len:,} needs a mask of {mask:,} "
            f"entries, at most {LARGEST_MASK:,} are possible; lower one of them"
        )
    for name, most in (("learning_rate", 1000), ("embedding_learning_rate", 1000), ("clip_norm", math.inf)):
        value = getattr(settings, name)
        if value is not None and not 0 < value <= most:
            raise UserError(f"{name} must be above 0 and at most {most}, got {value}")
    for name in ("warmup", "decay", "learning_rate_floor", "weight_decay"):
        if not 0 <= getattr(settings, name) <= 1:
            raise UserError(f"{name} must be between 0 and 1, got {getattr(settings, name)}")
    if settings.tensorboard and find_spec("tensorboard") is None:
        raise UserError(
            "TensorBoard is not installed; pip install 'minimind[tensorboard]', or leave --tensorboard out"
        )
    if settings.compile:
        check_compiler()


def check_compiler() -> None:
    """Compile something small, to find out now whether this machine can.

    Raises:
        UserError: if it cannot, with torch's own reason.
    """
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(8))
    except Exception as error:  # torch has many kinds, one for each compiler that is missing
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise UserError(f"--compile does not work on this machine: {reason}; leave it out") from None
