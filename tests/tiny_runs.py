"""Runs that are small enough for a test: short sentences, and a model of a few thousand numbers."""

import json
import random
from pathlib import Path
from typing import Any

from minimind.settings import PretrainSettings

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sees",
    "hears",
    "red",
    "blue",
    "old",
    "house",
    "tree",
    "river",
    "and",
    "runs",
]


def write_texts(path: Path, count: int = 200, seed: int = 0) -> Path:
    """A JSONL file of short sentences."""
    draw = random.Random(seed)
    rows = [{"text": " ".join(draw.choices(WORDS, k=draw.randint(4, 20))) + "."} for _ in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tiny_settings(folder: Path, **changes: Any) -> PretrainSettings:
    """Settings of a tiny run into `folder`/run on texts beside it."""
    data = folder / "texts.jsonl"
    if not data.exists():
        write_texts(data)
    fields = {
        "output": str(folder / "run"),
        "data_path": str(data),
        "vocab_size": 300,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "max_seq_len": 32,
        "batch_size": 4,
        "steps": 12,
        "validation_documents": 8,
        "sample_tokens": 4,
        "validate_every": 6,
        "dropout": 0.1,
        "device": "cpu",
        "threads": 1,
    }
    return PretrainSettings(**{**fields, **changes})


def arguments(settings: PretrainSettings) -> list[str]:
    """The command line that gives these settings."""
    given = []
    for name, value in vars(settings).items():
        if value is True:
            given.append(f"--{name}")
        elif value is not None and value is not False:
            given += [f"--{name}", str(value)]
    return given
