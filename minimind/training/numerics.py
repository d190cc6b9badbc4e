"""How the numbers are computed: precision, the path of attention, threads, and how much work a token is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ..device import supports_bfloat16
from ..model.fast import speed_up
from ..settings import TrainingSettings
from .optimizer import split_parameters

MANUAL_ATTENTION_LENGTH = 512
"""Longest row for which attention written as two matrix products beats the fused one on a processor in
bf16."""


def choose_numerics(settings: TrainingSettings, device: torch.device) -> dict[str, Any]:
    """Decide, by what the device can do and never by timing, how the numbers are computed. A resumed run
    keeps it. The number of threads is the one to begin with."""
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if supports_bfloat16(device) else "fp32"
    manual = device.type == "cpu" and precision == "bf16" and settings.max_seq_len <= MANUAL_ATTENTION_LENGTH
    return {
        "precision": precision,
        "attention_path": "manual" if manual else "sdpa",
        "threads": settings.threads or torch.get_num_threads(),
        "pinned": settings.threads is not None,
        "changed_threads": [],
    }


def resume_numerics(stored: dict[str, Any], settings: TrainingSettings, step: int) -> dict[str, Any]:
    """What a checkpoint holds, and --threads where it is given anew: a change from this step on, like any other."""
    numerics = {"pinned": False, "changed_threads": [], **stored}
    if settings.threads is None:
        return numerics
    changes = list(numerics["changed_threads"])
    if settings.threads != present_threads(numerics):
        changes.append([step, settings.threads])
    return {**numerics, "pinned": True, "changed_threads": changes}


def present_threads(numerics: dict[str, Any]) -> int:
    """The number of threads after the last change."""
    changes = numerics.get("changed_threads")
    return changes[-1][1] if changes else numerics["threads"]


def use_numerics(
    model: nn.Module, numerics: dict[str, Any], device: torch.device
) -> Callable[[], AbstractContextManager[Any]]:
    """Give the model its fast parts, and the context in which it is called. `Threads` sets the threads."""
    speed_up(model, numerics["attention_path"])
    if numerics["precision"] == "bf16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext


def model_flops(model: nn.Module, row_length: int) -> float:
    """Floating-point operations that training spends on one token: forward, and twice as much backward.

    Each number of a matrix is multiplied and added once a token. Attention adds 2 x T x width a layer in the
    forward pass, half of it behind the causal mask. The output layer counts, the embedding look-up does not.
    """
    config = getattr(model, "config", None)
    if config is None:
        return 0.0
    matrices, _ = split_parameters(model)
    multiplied = sum(matrix.numel() for matrix in matrices) + config.vocab_size * config.hidden_size
    attention = config.num_hidden_layers * config.num_attention_heads * config.head_dim * row_length
    return 6.0 * (multiplied + attention)
