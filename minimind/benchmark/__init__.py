"""Speed of training and decoding beside a plain baseline, measured in turn in one run."""

from __future__ import annotations

from typing import Any

from ..config import ModelConfig
from ..settings import BenchmarkSettings
from .decode import decode_rows
from .train import ROW_LENGTH, random_documents, train_row

__all__ = ["benchmark_decode", "benchmark_train", "report"]

VOCAB_SIZE = 6400
TRAIN_SIZES = {"256x4": (256, 4, 96), "512x8": (512, 8, 32)}
"""Hidden size, layers, and documents in a round."""
NEW_TOKENS = 128


def benchmark_train(settings: BenchmarkSettings) -> list[dict[str, Any]]:
    """Useful tokens a second in training, for two sizes.

    Args:
        settings: `rounds` is used.

    Returns:
        Rows with name, value, baseline, ratio, unit, and what the figures depend on.
    """
    rows = []
    for name, (hidden_size, layers, count) in TRAIN_SIZES.items():
        config = ModelConfig(hidden_size=hidden_size, num_hidden_layers=layers, vocab_size=VOCAB_SIZE)
        documents = random_documents(count, VOCAB_SIZE)
        rows.append(train_row(name, config, documents, settings.rounds, ROW_LENGTH).as_dict())
    return rows


def benchmark_decode(settings: BenchmarkSettings) -> list[dict[str, Any]]:
    """New tokens a second at batch 1, in fp32 and in bf16; arguments and rows as in `benchmark_train`."""
    config = ModelConfig.preset("small", vocab_size=VOCAB_SIZE)
    return [row.as_dict() for row in decode_rows("512x8", config, NEW_TOKENS, settings.rounds)]


def report(rows: list[dict[str, Any]]) -> str:
    """The rows as a table, with the machine below it."""
    lines = [f"{'':<22}{'ours':>10}{'plain':>10}{'ratio':>8}"]
    for row in rows:
        lines.append(f"{row['name']:<22}{row['value']:>10,.0f}{row['baseline']:>10,.0f}{row['ratio']:>8.2f}")
        lines[-1] += f"  {row['unit']} ({row['precision']}, attention path {row['attention_path']})"
    facts = rows[0]
    lines.append(f"{facts['machine']}; {facts['threads']} threads; torch {facts['torch']}")
    return "\n".join(lines)
