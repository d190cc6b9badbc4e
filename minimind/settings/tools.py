"""Settings of the commands that make what a training reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional


@dataclass
class DataSettings:
    """Write the embedded world as JSONL files, for use as --data-path."""

    what: Positional[Literal["world"]]
    """Which data to write."""
    output: str = "dataset"
    """Folder for pretrain_hq.jsonl (documents), sft_mini_512.jsonl (conversations), and for adapters
    lora_identity.jsonl and lora_far.jsonl (another country)."""
    documents: int = 20_000
    """Number of documents."""
    conversations: int | None = None
    """Number of conversations. Default: as many as documents."""
    split: Literal["train", "validation"] = "train"
    """What is to be trained on, or what is held out."""
    seed: int = 0
    """Seed of the world."""
    overwrite: bool = False
    """Replace files that are there."""


@dataclass
class TokenizerSettings:
    """Train a tokenizer on your own text."""

    what: Positional[Literal["train"]]
    """What to do."""
    data_path: str | None = None
    """JSONL file or pattern with one {"text": …} a line. Default: the embedded world."""
    vocab_size: int = 1024
    """Number of ids: special tokens, the 256 bytes, and merges."""
    output: str = "runs/tokenizer"
    """Folder for tokenizer.json and tokenizer_config.json."""
    seed: int = 0
    """Seed of the embedded world, where --data-path is not given."""
    skip_bad_rows: bool = False
    """Leave out lines of the data that cannot be read, and list them, rather than stop."""
    overwrite: bool = False
    """Replace a tokenizer that is there."""
