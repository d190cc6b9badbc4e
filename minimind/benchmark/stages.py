"""Speed of fine-tuning beside full training: an adapter's step, and rows of conversations.

Both sides are this package's, and do what its stages do: the same loop body, precision and attention.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from ..config import ModelConfig
from ..data import Example, World, encode_documents, pack
from ..data.chat_examples import chat_examples
from ..model import MiniMind, apply_lora, load
from ..settings import LoraSettings
from ..training import Batch, RowBatches, causal_language_model
from ..training.loop import add_gradients
from ..training.numerics import choose_numerics, use_numerics
from .rounds import Row, in_turn, machine
from .train import BATCH_ROWS, random_documents


def lora_row(name: str, config: ModelConfig, count: int, rounds: int, row_length: int) -> Row:
    """Train all weights, and an adapter of the default size, on the same rows in turn.

    AdamW changes both. By default full training takes Muon for its matrices, which costs more, so a user gains more.

    Args:
        name: of the size, for the row.
        config: shape of the model.
        count: documents in a round.
        rounds: the median of this many is taken.
        row_length: tokens in a row.

    Returns:
        Tokens a second of the adapter's training, and of the full one as the baseline.
    """
    torch.manual_seed(0)
    full, adapted = MiniMind(config), MiniMind(config)
    defaults = LoraSettings()
    apply_lora(adapted, defaults.rank, defaults.alpha)
    batches = batches_of(random_documents(count, config.vocab_size, row_length), row_length)
    return compare(f"lora {name}", [(full, batches), (adapted, batches)], rounds, row_length)


def sft_row(name: str, config: ModelConfig, rows: int, rounds: int, row_length: int) -> Row:
    """Train on documents of the embedded world, and on its conversations, in turn: rows of the same shape.

    Args:
        name: of the size, for the row.
        config: shape of the model.
        rows: of each kind, in a round.
        rounds: the median of this many is taken.
        row_length: tokens in a row.

    Returns:
        Tokens a second (those that are not padding) of conversations, and of documents as the baseline.
    """
    torch.manual_seed(0)
    model = MiniMind(config)
    _, tokenizer = load("shipped/pretrain")
    world, wanted = World(), rows * row_length
    documents = encode_documents(tokenizer, (document.text for document in world.documents()))
    talks = chat_examples(tokenizer, world.conversations(), row_length, Counter())
    kinds = [batches_of(up_to(examples, wanted), row_length) for examples in (documents, talks)]
    return compare(f"sft {name}", [(model, batches) for batches in kinds], rounds, row_length)


def up_to(examples: Iterable[Any], tokens: int) -> list[Example]:
    """The first examples, which have this many tokens together."""
    taken: list[Example] = []
    for example in examples:
        if tokens <= 0:
            break
        taken.append(example)
        tokens -= len(example["input_ids"] if isinstance(example, dict) else example)
    return taken


def batches_of(examples: Sequence[Example], row_length: int) -> list[Batch]:
    """All examples, packed."""
    columns = pack(examples, row_length).columns
    rows = RowBatches(columns, min(BATCH_ROWS, len(columns["input_ids"])), epochs=1)
    return [batch for step in range(rows.step_count or 0) for batch in rows.of_step(step)]


def compare(name: str, sides: list[tuple[MiniMind, list[Batch]]], rounds: int, row_length: int) -> Row:
    """Measure two sides in turn; the first one is the baseline."""
    device = torch.device("cpu")
    numerics = choose_numerics(LoraSettings(device="cpu", max_seq_len=row_length), device)
    arms = [training(model, batches, use_numerics(model, numerics, device)) for model, batches in sides]
    for arm in arms:
        arm()  # The first pass takes memory that later ones have.
    baseline, value = in_turn(arms, rounds, name)
    facts = machine(numerics["precision"], numerics["attention_path"])
    return Row(name, value, baseline, "useful tokens/s", facts)


def training(model: nn.Module, batches: list[Batch], autocast: Callable[[], Any]) -> Callable[[], float]:
    """A pass over the batches, which gives its tokens a second."""
    optimizer = torch.optim.AdamW((weight for weight in model.parameters() if weight.requires_grad), lr=1e-4)
    useful = sum(int((batch["document_ids"] >= 0).sum()) for batch in batches)

    def measure() -> float:
        start = time.perf_counter()
        for batch in batches:
            add_gradients(model, causal_language_model, [batch], torch.device("cpu"), autocast)
            optimizer.step()
            optimizer.zero_grad()
        return useful / (time.perf_counter() - start)

    return measure
