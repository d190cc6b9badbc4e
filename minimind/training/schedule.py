"""The learning rate at each step: rise, then fall.

Both schedules are functions of the step alone, never of the clock. A run that was stopped and resumed
therefore sees the same learning rates as one that was not.
"""

from __future__ import annotations

import math

from ..settings import TrainingSettings


def cosine_schedule(step: int, total: int, warmup: int, peak: float, floor: float = 0.0) -> float:
    """Linear warm-up, then half a cosine from `peak` down to `floor`.

    Args:
        step: the step that is about to be made, counted from 0.
        total: steps of the whole run; from here on the rate stays at `floor`.
        warmup: steps in which the rate rises. Step 0 gets `peak / warmup`, not zero, so that no step is
            wasted.
        peak: highest learning rate.
        floor: last learning rate.

    Returns:
        The learning rate of this step.

    Examples:
        >>> [round(cosine_schedule(step, 10, 2, 1.0), 2) for step in (0, 1, 2, 6, 10)]
        [0.5, 1.0, 1.0, 0.5, 0.0]

    Paper:
        Loshchilov and Hutter 2017, SGDR, https://arxiv.org/abs/1608.03983
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def wsd_schedule(step: int, total: int, warmup: int, decay: float, peak: float, floor: float = 0.0) -> float:
    """Warm-up, stable, decay: linear up, constant, linear down over the last `decay` steps.

    The stable part does not depend on `total`, so a run can be made longer without starting over.

    Args:
        step: the step that is about to be made, counted from 0.
        total: steps of the whole run; from here on the rate stays at `floor`.
        warmup: steps in which the rate rises.
        decay: steps in which it falls, at the end.
        peak: learning rate of the stable part.
        floor: last learning rate.

    Examples:
        >>> [round(wsd_schedule(step, 10, 2, 4, 1.0), 2) for step in (0, 1, 5, 6, 8, 10)]
        [0.5, 1.0, 1.0, 1.0, 0.5, 0.0]

    Paper:
        Hu et al. 2024, MiniCPM, https://arxiv.org/abs/2404.06395
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    left = max(0, total - step)
    return floor + (peak - floor) * (min(1.0, left / decay) if decay else min(1.0, left))


def rate_share(settings: TrainingSettings, step: int, total: int) -> float:
    """The learning rate of a step as a share of its peak."""
    warmup = math.ceil(settings.warmup * total)
    if settings.schedule == "cosine":
        return cosine_schedule(step, total, warmup, 1.0, settings.learning_rate_floor)
    return wsd_schedule(step, total, warmup, settings.decay * total, 1.0, settings.learning_rate_floor)
