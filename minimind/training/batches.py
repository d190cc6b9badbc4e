"""Which rows the model sees at which step.

A batch is a function of its number and the seed, nothing else. There is no iterator whose position could be
lost: a run that resumes at step 300 asks for batch 300.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import torch

from ..errors import UserError
from .objectives import Batch


class Batches(Protocol):
    """What the training loop reads from: stored rows, or what a policy has just written."""

    @property
    def step_count(self) -> int | None:
        """Steps until the data end; None if they do not."""

    def of_step(self, step: int) -> Iterator[Batch]:
        """The batches whose gradients are added up for one update."""


class RowBatches:
    """Shuffled batches of rows, epoch after epoch.

    Args:
        columns: arrays with one entry a row, all of the same length, such as `input_ids` (N, T). Integers become
            int64, which torch takes as indices; all others stay of their type.
        batch_size: rows in a batch. The last batch of an epoch holds what is left.
        seed: start of the shuffles; each epoch has its own.
        accumulation_steps: batches in one step.
        epochs: passes over the rows before the data end; None goes on for ever.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        batch_size: int,
        seed: int = 0,
        accumulation_steps: int = 1,
        epochs: int | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("accumulation_steps", accumulation_steps)):
            if value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        if epochs is not None and epochs < 1:
            raise UserError(f"epochs must be at least 1, got {epochs}")
        self.columns = columns
        self.row_count = len(next(iter(columns.values())))
        self.batch_size = batch_size
        self.seed = seed
        self.accumulation_steps = accumulation_steps
        self.batches_per_epoch = math.ceil(self.row_count / batch_size)
        self.batch_count = None if epochs is None else epochs * self.batches_per_epoch
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    @property
    def step_count(self) -> int | None:
        """Steps until the data end; None if they do not."""
        return None if self.batch_count is None else math.ceil(self.batch_count / self.accumulation_steps)

    def of_step(self, step: int) -> Iterator[Batch]:
        """The batches whose gradients are added up for one update."""
        first = step * self.accumulation_steps
        for number in range(first, first + self.accumulation_steps):
            if self.batch_count is None or number < self.batch_count:
                rows = self.rows_of(number)
                yield {name: _tensor(column[rows]) for name, column in self.columns.items()}

    def rows_of(self, number: int) -> np.ndarray:
        """Row numbers of a batch, counted over all epochs."""
        epoch, position = divmod(number, self.batches_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(self.row_count))
        start = position * self.batch_size
        return self._order[1][start : start + self.batch_size]


def _tensor(values: np.ndarray) -> torch.Tensor:
    # The rows were picked out of the column, so they are a copy already, and lie in memory.
    whole = values.dtype.kind in "iu"
    return torch.from_numpy(np.asarray(values, dtype=np.int64 if whole else None))
