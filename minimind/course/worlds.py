"""Text of the embedded world as token ids, for the small trainings of `snippets/`.

`read_world` writes and tokenizes documents. `stream`, `rows` and `padded` lay them out as tensors, and `Slices` and
`Chosen` give them to `fit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import LRScheduler

from ..data import World, encode_documents
from ..data.world import Document
from ..tokenizer import Tokenizer, train_tokenizer
from ..training.objectives import Batch, Loss

KINDS = ("story", "tour", "quiz", "sums", "games")
"""The documents that these trainings read. Talks are left out: they prepare for fine-tuning, of which no script here
speaks."""


@dataclass(frozen=True)
class WorldText:
    """What `read_world` gives."""

    tokenizer: Tokenizer
    training: list[list[int]]
    """Token ids of each document to learn from: start token, text, end token."""
    held_out: list[list[int]]
    """The same for each document that no training sees."""
    documents: list[Document]
    """The held-out documents themselves, with their kind and their nats."""


@cache
def read_world(
    training: int, held_out: int, vocab_size: int, tokenizer_from: int = 1000, seed: int = 0
) -> WorldText:
    """Write documents of a world and tokenize them; the same numbers give the same text, at once.

    Args:
        training: documents to learn from.
        held_out: documents that are kept apart.
        vocab_size: ids of the tokenizer.
        tokenizer_from: how many of the first training documents the tokenizer learns from.
        seed: which world.

    Examples:
        >>> text = read_world(training=20, held_out=2, vocab_size=300, tokenizer_from=20)
        >>> text.tokenizer.decode(text.held_out[0][1:-1]) == text.documents[0].text
        True
    """
    world = World(seed)
    texts = [document.text for document in islice(world.documents("train", kinds=KINDS), training)]
    documents = list(islice(world.documents("validation", kinds=KINDS), held_out))
    tokenizer = train_tokenizer(texts[:tokenizer_from], vocab_size)
    return WorldText(
        tokenizer,
        list(encode_documents(tokenizer, texts)),
        list(encode_documents(tokenizer, [document.text for document in documents])),
        documents,
    )


def stream(documents: Sequence[Sequence[int]]) -> Tensor:
    """All documents one after the other: (N,)."""
    return torch.tensor([id for ids in documents for id in ids])


def rows(documents: Sequence[Sequence[int]], length: int) -> Tensor:
    """The stream, cut every `length` tokens: (N, length). What is left at the end is dropped.

    Examples:
        >>> rows([[1, 5, 2], [1, 6, 7, 2]], length=3)
        tensor([[1, 5, 2],
                [1, 6, 7]])
    """
    ids = stream(documents)
    return ids[: len(ids) // length * length].view(-1, length)


def padded(documents: Sequence[Sequence[int]], pad_id: int = 0) -> Tensor:
    """A document a row, filled up to the longest: (N, T).

    Examples:
        >>> padded([[1, 5, 2], [1, 6, 7, 2]])
        tensor([[1, 5, 2, 0],
                [1, 6, 7, 2]])
    """
    return pad_sequence([torch.tensor(ids) for ids in documents], batch_first=True, padding_value=pad_id)


class Slices:
    """Batches for `fit`: slices of a stream, each from a place that was drawn. The seed alone decides which.

    Args:
        stream: token ids, (N,).
        steps: steps of the training; each has one batch.
        count: slices in a batch.
        length: tokens in a slice.
        seed: start of the draws.
    """

    def __init__(self, stream: Tensor, steps: int, count: int, length: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.stream, self.step_count = stream, steps
        self.starts = torch.randint(len(stream) - length, (steps, count, 1), generator=generator)
        self.places = torch.arange(length)

    def of_step(self, step: int) -> Iterator[Batch]:
        """The one batch of a step: `input_ids`, (count, length)."""
        yield {"input_ids": self.stream[self.starts[step] + self.places]}


class Chosen:
    """Batches for `fit`: rows, chosen by their numbers, so that whoever trains decides how they are drawn.

    Args:
        rows: token ids, (N, T). Where rows are filled up, with zeros, a batch is cut after its longest one.
        numbers: which rows each step reads, (steps, B); each step has one batch.

    Examples:
        >>> documents = padded([[1, 5, 2], [1, 6, 7, 2], [1, 8, 2]])
        >>> list(Chosen(documents, torch.tensor([[1, 0], [2, 0]])).of_step(1))
        [{'input_ids': tensor([[1, 8, 2],
                [1, 5, 2]])}]
    """

    def __init__(self, rows: Tensor, numbers: Tensor) -> None:
        self.rows, self.numbers, self.step_count = rows, numbers, len(numbers)

    def of_step(self, step: int) -> Iterator[Batch]:
        """The one batch of a step: `input_ids`, (B, T) or narrower."""
        ids = self.rows[self.numbers[step]]
        yield {"input_ids": ids[:, : (ids != 0).sum(dim=1).max()]}


def counted_once(mean: Tensor) -> Loss:
    """The mean loss of a batch, as an objective of `fit` gives it.

    With one batch a step, the gradient is that of `mean.backward()`, to the bit.
    """
    return Loss(mean, torch.ones((), dtype=torch.long))


def mean_loss(model: nn.Module, batch: Batch) -> Loss:
    """An objective for `fit`: the mean loss of one of our models on a batch, `model(ids, labels=ids).loss`."""
    return counted_once(model(batch["input_ids"], labels=batch["input_ids"]).loss)


class Scheduled:
    """An optimizer of torch with a schedule of torch, in the form in which `fit` takes one.

    Args:
        optimizer: changes the weights.
        schedule: sets its learning rate, after each step for the next one; `fit`'s own schedule is passed over.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: LRScheduler) -> None:
        self.optimizer, self.schedule = optimizer, schedule

    @property
    def rate(self) -> float:
        """The learning rate of the step that is being made."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_rate(self, share: float) -> None:
        """Nothing: the schedule has set it."""

    def step(self) -> None:
        """Change the weights."""
        self.optimizer.step()
        self.schedule.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """The state of both, for a checkpoint."""
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.schedule.load_state_dict(state_dict["schedule"])
