"""When a step cannot be made: say which rows did it, or what to lower."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from ..settings import TrainingSettings
from .objectives import Batch, Objective


def memory_advice(settings: TrainingSettings, step: int) -> str:
    """What to lower when memory runs out."""
    rows = settings.batch_size
    advice = f"lower --batch-size (now {rows}) and raise --accumulation-steps as much, " if rows > 1 else ""
    return (
        f"out of memory at step {step + 1}; {advice}or lower --max-seq-len (now {settings.max_seq_len}) "
        "or the model's size; the last checkpoint is kept"
    )


def broken_step(
    model: nn.Module,
    objective: Objective,
    batches: Sequence[Batch],
    step: int,
    device: torch.device,
    describe_rows: Callable[[Batch], str] | None,
) -> str:
    """Find the rows whose loss is not a number by asking for each of them alone."""
    bad: list[Batch] = []
    count = 0
    for batch in batches:
        for row in range(len(next(iter(batch.values())))):
            count += 1
            alone = {name: column[row : row + 1].to(device) for name, column in batch.items()}
            if not math.isfinite(float(objective(model, alone).sum)):
                bad.append(alone)
    if bad and len(bad) < count:
        words = f": {'; '.join(describe_rows(row) for row in bad[:3])}" if describe_rows else ""
        which = f"{len(bad)} of the {count} rows of this batch{words}"
    else:
        words = f" ({describe_rows(batches[0])})" if describe_rows else ""
        which = f"no single row, but the weights or the gradient of the whole batch{words}"
    return (
        f"step {step + 1}: the loss or its gradient is not a finite number. To blame: {which}. "
        "No update was made and the last checkpoint is kept; look at these rows, or lower --learning-rate"
    )
