"""Settings of the commands that use a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional


@dataclass
class GenerateSettings:
    """Let a trained model write, token by token."""

    run: Positional[str] = "pretrain"
    """Folder of a run, or its name: your own under runs/, else the model of this name that comes with the package."""
    prompt: str = ""
    """Text to go on from. Without it the model starts a document of its own."""
    max_new_tokens: int = 200
    """Most tokens to write."""
    temperature: float = 0.8
    """Divides the logits: below 1 the likely tokens win more often; 0 always takes the likeliest."""
    top_k: int | None = None
    """Draw only from this many likeliest tokens."""
    top_p: float | None = None
    """Draw only from the likeliest tokens that together have this probability."""
    min_p: float | None = None
    """Draw only from tokens at least this likely, relative to the likeliest."""
    repetition_penalty: float = 1.0
    """Above 1: tokens that have occurred become less likely."""
    seed: int = 0
    """Start of the random choices."""
    device: str | None = None
    """cuda, mps or cpu. Default: the first of these that is there."""


@dataclass
class EvaluateSettings:
    """Measure a trained model on documents that it has not seen."""

    run: Positional[str] = "pretrain"
    """Folder of a run, or its name: your own under runs/, else the model of this name that comes with the package."""
    data_path: str | None = None
    """JSONL file or pattern. Default: what the run held out."""
    documents: int = 1000
    """Most documents to read."""
    skip_bad_rows: bool = False
    """Leave out lines of the data that cannot be read, and list them, rather than stop."""
    device: str | None = None
    """cuda, mps or cpu. Default: the first of these that is there."""
    json: bool = False
    """Print one JSON object."""


@dataclass
class BenchmarkSettings:
    """Measure the speed of this package against a plain baseline, in turn, on this machine."""

    what: Positional[Literal["train", "decode", "memory"]]
    """Training steps, writing token by token, or the memory that training on a file of 1 GB takes."""
    rounds: int = 5
    """How often each side is measured, in turn; the median counts."""
    busy: bool = False
    """Measure beside a busy process instead, and two at once; the baseline is the speed alone."""
    json: bool = False
    """Print JSON rows: name, value, baseline, ratio."""
