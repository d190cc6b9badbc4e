"""Perplexity: how many equally likely tokens the model hesitates between, on average, on text it has not
seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import UserError
from ..progress import progress

IGNORE = -100
TOKENS_A_BATCH = 4096


@dataclass
class HeldOut:
    """A document to measure on."""

    ids: Sequence[int]
    """Token ids, from the separator that starts it to the one that ends it."""
    bytes: int
    """Length of its text in UTF-8."""
    nats: float | None = None
    """-log p(text) under the process that wrote it, where that is known: the loss that no model can beat."""


@dataclass
class Perplexity:
    """What was measured on a set of documents."""

    nats: float
    """Sum of the cross-entropies of all tokens."""
    tokens: int
    """Tokens that were predicted: all but the first of each document."""
    bytes: int
    """UTF-8 bytes of the documents' texts."""
    floor_nats: float | None
    """Sum of the entropies of the documents, where all are known."""

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(loss)."""
        return math.exp(min(self.loss, 700.0))

    @property
    def floor_perplexity(self) -> float | None:
        """The lowest perplexity that any model can reach on average; None where unknown."""
        return None if self.floor_nats is None else math.exp(self.floor_nats / self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """Bits of surprise per byte of text. Unlike perplexity it does not depend on the tokenizer."""
        return self.nats / math.log(2) / max(1, self.bytes)

    def figures(self) -> dict[str, float | None]:
        """The figures under the names that metrics.jsonl has for those of held-out documents."""
        return {
            "validation_loss": self.loss,
            "validation_perplexity": self.perplexity,
            "floor_perplexity": self.floor_perplexity,
            "bits_per_byte": self.bits_per_byte,
        }


def held_out(tokenizer: Any, documents: Iterable[Any]) -> list[HeldOut]:
    """Encode documents for `perplexity`.

    Args:
        tokenizer: has `encode_batch`, `bos_token_id` and `eos_token_id`.
        documents: strings, or items with `.text` and, where the entropy is known, `.nats`.
    """
    items = list(documents)
    texts = [item if isinstance(item, str) else item.text for item in items]
    return [
        HeldOut(
            [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id],
            len(text.encode("utf-8")),
            getattr(item, "nats", None),
        )
        for item, text, ids in zip(items, texts, tokenizer.encode_batch(texts), strict=True)
    ]


@torch.no_grad()
def perplexity(
    model: Any, documents: Sequence[HeldOut], context_length: int | None = None, show_progress: bool = False
) -> Perplexity:
    """Measure a model on whole documents, each alone in its row.

    Args:
        model: a `MiniMind`.
        documents: see `held_out`.
        context_length: longest piece that the model reads at once; default: what its config names. A longer
            document is read in pieces that share one token, so that each token is still predicted exactly
            once.
        show_progress: draw a bar on a terminal.

    Returns:
        Sums over all documents; each token counts the same.

    Raises:
        UserError: if there is nothing to predict.
    """
    length = max(
        2, context_length or model.config.max_position_embeddings
    )  # a token, and the one it predicts
    device = next(model.parameters()).device
    pieces = [
        list(document.ids[start : start + length])
        for document in documents
        for start in range(0, max(1, len(document.ids) - 1), length - 1)
    ]
    was_training = model.training
    model.eval()
    nats, tokens = torch.zeros((), dtype=torch.float64), 0
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]] = _batches_by_length(pieces)
    if show_progress:
        count = sum(map(len, pieces))
        batches = progress(batches, "reading, tokens", count, lambda batch: int((batch[1] != IGNORE).sum()))
    for input_ids, labels in batches:
        output = model(input_ids.to(device), labels=labels.to(device))
        nats += output.loss_sum.cpu().double()
        tokens += int(output.label_count)
    model.train(was_training)
    if tokens == 0:
        raise UserError("nothing to measure: no document has a token to predict")
    floors = [document.nats for document in documents]
    known = [floor for floor in floors if floor is not None]
    return Perplexity(
        nats=float(nats),
        tokens=tokens,
        bytes=sum(document.bytes for document in documents),
        floor_nats=sum(known) if len(known) == len(floors) else None,
    )


def _batches_by_length(pieces: list[list[int]]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows of like length together, so that little is padded; padding stands on the right and is not
    counted."""
    pieces = sorted(pieces, key=len)
    while pieces:
        rows = max(1, TOKENS_A_BATCH // len(pieces[-1]))
        batch, pieces = pieces[-rows:], pieces[:-rows]
        width = max(2, len(batch[-1]))
        input_ids = torch.zeros(len(batch), width, dtype=torch.long)
        labels = torch.full((len(batch), width), IGNORE)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            labels[row, : len(ids)] = torch.tensor(ids)
        yield input_ids, labels
