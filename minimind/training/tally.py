"""Sums of what objectives find: over the batches of a step, and over the steps between two rows of the log."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from .objectives import Loss


@dataclass
class Tally:
    """A running sum of losses and of the objective's own figures."""

    loss: float = 0.0
    """Sum of the losses."""
    count: int = 0
    """How many they are."""
    tokens: int = 0
    """Tokens that were learned from."""
    metrics: dict[str, list[float]] = field(default_factory=dict)
    """Of each figure the sum, and over how many."""

    @classmethod
    def of(cls, losses: Iterable[Loss]) -> Tally:
        """What objectives found in some batches, added up."""
        tally = cls()
        for loss in losses:
            tokens = loss.count if loss.tokens is None else loss.tokens
            metrics = {name: [total.item(), count.item()] for name, (total, count) in loss.metrics.items()}
            tally.add(cls(loss.sum.item(), int(loss.count), int(tokens), metrics))
        return tally

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        self.loss += other.loss
        self.count += other.count
        self.tokens += other.tokens
        for name, (total, count) in other.metrics.items():
            before = self.metrics.setdefault(name, [0.0, 0.0])
            before[0] += total
            before[1] += count

    def means(self) -> dict[str, float]:
        """The mean loss, and the objective's figures under their own names; no count gives zero, not 0 / 0."""
        means = {name: total / count if count else 0.0 for name, (total, count) in self.metrics.items()}
        if "perplexity" in means:
            means["perplexity"] = math.exp(min(means["perplexity"], 50))
        return {"loss": self.loss / max(1, self.count), **means}
