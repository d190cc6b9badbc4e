"""Training speed: useful tokens a second, the plain baseline and ours in turn."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from ..config import ModelConfig
from ..data import pack
from ..device import supports_bfloat16
from ..model import MiniMind
from ..model.fast import speed_up
from .plain import PlainModel, padded_rows
from .rounds import Row, in_turn, machine

ROW_LENGTH = 340
BATCH_ROWS = 16
SHORTEST = 14  # With lengths even between 14 and 340, padded rows are filled to 0.52.


def random_documents(count: int, vocab_size: int, row_length: int = ROW_LENGTH) -> list[list[int]]:
    """Documents of random ids: speed does not depend on what they say, only on how long they are."""
    generator = random.Random(0)
    lengths = [generator.randint(min(SHORTEST, row_length), row_length) for _ in range(count)]
    return [[generator.randrange(vocab_size) for _ in range(length)] for length in lengths]


def train_row(
    name: str, config: ModelConfig, documents: list[list[int]], rounds: int, row_length: int
) -> Row:
    """Train one pass over the documents with each model, `rounds` times in turn.

    Both start from the same weights, have the same optimizer, and read the same documents. Making rows out of
    documents (padding there, packing here) is part of the measured time.

    Args:
        name: of the size, for the row.
        config: shape of both models.
        documents: lists of token ids.
        rounds: the median of this many is taken.
        row_length: tokens in a row.

    Returns:
        Useful tokens (those that are not padding) a second of both, and their ratio.
    """
    torch.manual_seed(0)
    ours = MiniMind(config)
    plain = PlainModel(config)
    plain.load_state_dict(ours.state_dict())
    bf16 = supports_bfloat16(torch.device("cpu"))
    # The product of matrices by hand wins in bf16 and in rows up to 512; else PyTorch's kernel does.
    path = "manual" if bf16 and row_length <= 512 else "sdpa"
    speed_up(ours, path)
    autocast: Callable[[], Any] = (lambda: torch.autocast("cpu", torch.bfloat16)) if bf16 else nullcontext
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4) for model in (plain, ours)]

    def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def train_plain(documents: list[list[int]]) -> None:
        for start in range(0, len(documents), BATCH_ROWS):
            ids, labels = padded_rows(documents[start : start + BATCH_ROWS], row_length)
            update(optimizers[0], plain.loss(ids, labels))

    def train_ours(documents: list[list[int]]) -> None:
        packed = pack(documents, row_length)
        ids, document_ids = torch.as_tensor(packed.input_ids), torch.as_tensor(packed.document_ids)
        batches = max(1, round(len(ids) / BATCH_ROWS))
        for rows, borders in zip(ids.tensor_split(batches), document_ids.tensor_split(batches), strict=True):
            with autocast():
                output = ours(rows, labels=rows, document_ids=borders)
            update(optimizers[1], output.loss)

    useful = sum(len(document) for document in documents)

    def speed(train: Callable[[list[list[int]]], None]) -> Callable[[], float]:
        def measure() -> float:
            start = time.perf_counter()
            train(documents)
            return useful / (time.perf_counter() - start)

        return measure

    for train in (train_plain, train_ours):
        train(documents[:BATCH_ROWS])  # The first step takes memory that later ones have.
    baseline, value = in_turn([speed(train_plain), speed(train_ours)], rounds, f"train {name}")
    facts = machine(precision="bf16" if bf16 else "fp32", attention_path=path)
    return Row(f"train {name}", value, baseline, "useful tokens/s", facts)
