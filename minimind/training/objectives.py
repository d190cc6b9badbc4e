"""What a stage of training asks for: a batch goes in, a sum of losses and a count come out.

The sum and the count travel separately because batches differ in how many tokens they teach. The loop adds
both up over all batches of a step and divides once; averaging the batches' averages would let short ones
weigh too much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

Batch = dict[str, Tensor]
Objective = Callable[[Any, Batch], tuple[Tensor, Tensor]]
"""(model, batch) -> (sum of the losses, number of labels that it sums over), both scalar tensors."""


def causal_language_model(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Predict each token from those before it in its document.

    Args:
        model: gives an output with `loss_sum`, `label_count` and `aux_loss`.
        batch: `input_ids` (B, T) and `document_ids` (B, T), where -1 marks padding.

    Returns:
        Sum of the cross-entropies in nats, and the number of tokens predicted.
    """
    labels = batch["input_ids"].masked_fill(batch["document_ids"] < 0, -100)  # (B, T)
    output = model(batch["input_ids"], labels=labels, document_ids=batch["document_ids"])
    return output.loss_sum + output.aux_loss * output.label_count, output.label_count
