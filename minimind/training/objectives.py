"""What a stage of training asks for: a batch goes in, a sum of losses and a count come out.

The sum and the count travel separately because batches differ in how much they teach. The loop adds both up over all
batches of a step and divides once; averaging the batches' averages would let short ones weigh too much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

Batch = dict[str, Tensor]
RESERVED = {"step", "tokens", "loss", "learning_rate", "gradient_norm", "tokens_per_second", "seconds", "mfu"}
"""Names of figures that every row of metrics.jsonl has."""


@dataclass(frozen=True)
class Loss:
    """What an objective finds in a batch; all of it scalar tensors."""

    sum: Tensor
    """Sum of the losses. Its gradient, divided by the count of the whole step, is what the weights follow."""
    count: Tensor
    """How many losses that sums over: tokens, or pairs, or answers."""
    metrics: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """The objective's own figures, by name: the sum of each, and over how many. The log shows their means under these
    names; of `perplexity`, whose sum is in nats, it shows the exponential of the mean."""
    tokens: Tensor | None = None
    """Tokens that were learned from, for the speed; None where the count counts tokens."""

    def __post_init__(self) -> None:
        taken = sorted(RESERVED & set(self.metrics))
        if taken:
            raise ValueError(f"the log writes {', '.join(taken)} itself; give the figure another name")


Objective = Callable[[Any, Batch], Loss]
"""(model, batch) -> what is to be made small."""


def causal_language_model(model: nn.Module, batch: Batch) -> Loss:
    """Predict each token from those before it in its document.

    Args:
        model: gives an output with `loss_sum`, `label_count` and `aux_loss`.
        batch: `input_ids` (B, T), `labels` (B, T) with -100 where nothing is asked, and `document_ids` (B, T), where
            -1 marks padding.

    Returns:
        Sum of the cross-entropies in nats, and the number of tokens predicted.
    """
    output = model(batch["input_ids"], labels=batch["labels"], document_ids=batch["document_ids"])
    nats, count = output.loss_sum, output.label_count
    return Loss(nats + output.aux_loss * count, count, {"perplexity": (nats.detach(), count)})
