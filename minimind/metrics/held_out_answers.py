"""How well a model foresees answers that it has not seen, and whether it would end them where they end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

ROWS_A_BATCH = 16


@dataclass
class HeldOutAnswers:
    """What was measured on a set of answers."""

    nats: float
    """Sum of the cross-entropies of all tokens that answers have."""
    tokens: int
    """How many these are."""
    ends: int
    """End tokens among them."""
    stops: int
    """How often an end token is what the model finds likeliest where an answer ends."""

    @property
    def loss(self) -> float:
        """Nats per token of an answer."""
        return self.nats / max(1, self.tokens)

    def figures(self, floor_nats: float | None = None) -> dict[str, float | None]:
        """The figures under the names that metrics.jsonl has for them.

        Args:
            floor_nats: the sum that no model can get below, where that is known.
        """
        floor = None if floor_nats is None else math.exp(floor_nats / max(1, self.tokens))
        return {
            "validation_loss": self.loss,
            "validation_perplexity": math.exp(min(self.loss, 700.0)),
            "floor_perplexity": floor,
            "end_accuracy": self.stops / max(1, self.ends),
        }


@torch.no_grad()
def held_out_answers(model: Any, rows: Mapping[str, np.ndarray]) -> HeldOutAnswers:
    """Measure a model on conversations that are packed into rows.

    Args:
        model: a `MiniMind`; the end tokens are those that its `generation_config` names.
        rows: `input_ids`, `labels` (-100 on all but answers) and `document_ids`, each (rows, row_length).

    Returns:
        Sums over all answers; each token counts the same.
    """
    named = model.generation_config["eos_token_id"]
    device = next(model.parameters()).device
    end_ids = torch.tensor([named] if isinstance(named, int) else named, device=device)
    was_training = model.training
    model.eval()
    total = HeldOutAnswers(0.0, 0, 0, 0)
    for start in range(0, len(rows["input_ids"]), ROWS_A_BATCH):
        batch = {
            name: torch.from_numpy(rows[name][start : start + ROWS_A_BATCH].astype(np.int64)).to(device)
            for name in ("input_ids", "labels", "document_ids")
        }
        output = model(**batch)
        total.nats += float(output.loss_sum)
        total.tokens += int(output.label_count)
        ends = torch.isin(batch["labels"][:, 1:], end_ids)  # (B, T - 1): where the next token ends an answer
        likeliest = output.lm_head(output.hidden_states[:, :-1][ends]).argmax(-1)
        total.ends += len(likeliest)
        total.stops += int(torch.isin(likeliest, end_ids).sum())
    model.train(was_training)
    return total
