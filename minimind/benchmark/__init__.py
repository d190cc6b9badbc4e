"""Speed of training and decoding beside a plain baseline, measured in turn in one run; and memory of training."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from ..config import ModelConfig
from ..errors import UserError
from ..settings import BenchmarkSettings, PretrainSettings
from ..training.corpus import NewTokenizer, prepare_corpus
from ..training.numerics import choose_numerics
from .busy import busy_rows
from .decode import decode_rows
from .memory import memory_row
from .rounds import check_rounds
from .stages import lora_row, sft_row
from .train import ROW_LENGTH, random_documents, train_row

__all__ = [
    "benchmark_decode",
    "benchmark_lora",
    "benchmark_memory",
    "benchmark_sft",
    "benchmark_train",
    "report",
]

VOCAB_SIZE = 6400
TRAIN_SIZES = {"256x4": (256, 4, 96), "512x8": (512, 8, 32)}
"""Hidden size, layers, and documents in a round."""
STAGE_SIZE = "512x8"
"""At which the steps of the stages are compared."""
STAGE_ROWS, STAGE_ROW_LENGTH = 16, 256
"""Rows of conversations, and of documents, in a round; the length is the stages' own."""
NEW_TOKENS = 128
BUSY_SECONDS = {"train": 15.0, "decode": 8.0}
"""Length of one measurement beside other work: on two cores some 150 steps of the nano model alone."""
BUSY_ROWS = 2000
"""Rows of the embedded world that are trained on there, again and again."""


def benchmark_train(settings: BenchmarkSettings) -> list[dict[str, Any]]:
    """Useful tokens a second in training, for two sizes; with `busy`, of the nano model's run beside other work.

    Args:
        settings: `rounds` and `busy` are used.

    Returns:
        Rows with name, value, baseline, ratio, unit, and what the figures depend on.
    """
    check_rounds(settings.rounds)
    if settings.busy:
        return busy_train(BUSY_SECONDS["train"], settings.rounds)
    rows = []
    for name, (hidden_size, layers, count) in TRAIN_SIZES.items():
        config = ModelConfig(hidden_size=hidden_size, num_hidden_layers=layers, vocab_size=VOCAB_SIZE)
        documents = random_documents(count, VOCAB_SIZE)
        rows.append(train_row(name, config, documents, settings.rounds, ROW_LENGTH).as_dict())
    return rows


def benchmark_decode(settings: BenchmarkSettings) -> list[dict[str, Any]]:
    """New tokens a second at batch 1, in fp32, in bf16 and with linear layers that can only be called; with `busy`,
    as `minimind generate` writes beside other work. Arguments and rows as in `benchmark_train`."""
    check_rounds(settings.rounds)
    if settings.busy:
        return [
            row.as_dict()
            for preset in ("nano", "small")
            for row in busy_rows(
                f"decode {preset}", "decode", preset, BUSY_SECONDS["decode"], settings.rounds, "fp32", "sdpa"
            )
        ]
    sizes = {"512x8": "small", "128x3": "nano"}
    return [
        row.as_dict()
        for name, preset in sizes.items()
        for row in decode_rows(
            name, ModelConfig.preset(preset, vocab_size=VOCAB_SIZE), NEW_TOKENS, settings.rounds
        )
    ]


def benchmark_memory(settings: BenchmarkSettings) -> list[dict[str, Any]]:
    """The most memory that `minimind pretrain` takes on a file of 1 GB, beside what it may take.

    Args:
        settings: nothing of it is used; `busy` is refused.
    """
    if settings.busy:
        raise UserError("memory does not depend on other programs; leave --busy out")
    return [memory_row().as_dict()]


def benchmark_lora(settings: BenchmarkSettings) -> list[dict[str, Any]]:
    """Tokens a second of an adapter's training, beside training all weights. Arguments and rows as in
    `benchmark_memory`."""
    config, count = stage_size(settings)
    return [lora_row(STAGE_SIZE, config, count, settings.rounds, ROW_LENGTH).as_dict()]


def benchmark_sft(settings: BenchmarkSettings) -> list[dict[str, Any]]:
    """Tokens a second of training on conversations, beside training on documents. Arguments and rows as in
    `benchmark_memory`."""
    config, _ = stage_size(settings)
    return [sft_row(STAGE_SIZE, config, STAGE_ROWS, settings.rounds, STAGE_ROW_LENGTH).as_dict()]


def stage_size(settings: BenchmarkSettings) -> tuple[ModelConfig, int]:
    """The model whose stages are compared, and documents in a round."""
    check_rounds(settings.rounds)
    if settings.busy:
        raise UserError(f"{settings.what} is compared with another training; leave --busy out")
    hidden_size, layers, count = TRAIN_SIZES[STAGE_SIZE]
    return ModelConfig(hidden_size=hidden_size, num_hidden_layers=layers, vocab_size=VOCAB_SIZE), count


def busy_train(seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Tokens a second of the nano model's training on the embedded world, alone and beside other work."""
    settings = PretrainSettings(device="cpu")
    numerics = choose_numerics(settings, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = NewTokenizer(ModelConfig.preset("nano").vocab_size)
        prepare_corpus(settings, vocabulary, BUSY_ROWS, Path(folder))
        rows = busy_rows(
            "train nano", "train", folder, seconds, rounds, numerics["precision"], numerics["attention_path"]
        )
    return [row.as_dict() for row in rows]


def report(rows: list[dict[str, Any]], value: str = "ours", baseline: str = "plain") -> str:
    """The rows as a table, with the machine below it.

    Args:
        rows: as `benchmark_train` gives them.
        value: heads the measured column.
        baseline: heads the column beside it.
    """
    lines = [f"{'':<22}{value:>10}{baseline:>10}{'ratio':>8}"]
    for row in rows:
        digits = 0 if row["baseline"] >= 100 else 2
        figures = "".join(f"{row[name]:>10,.{digits}f}" for name in ("value", "baseline"))
        lines.append(f"{row['name']:<22}{figures}{row['ratio']:>8.2f}")
        lines[-1] += f"  {row['unit']} ({row['precision']}, attention path {row['attention_path']})"
        if "of_unwrapped" in row:
            lines[-1] += f", {row['of_unwrapped']:.0%} of the speed without wrappers"
    facts = rows[0]
    lines.append(f"{facts['machine']}; {facts['threads']} threads; torch {facts['torch']}")
    return "\n".join(lines)
