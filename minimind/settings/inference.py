"""Settings of the commands that use a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro.conf import Positional, UseAppendAction

from ..sampling import Sampling

Adapters = UseAppendAction[tuple[str, ...]]
"""`--adapter` can be given several times."""


@dataclass(frozen=True)
class Writer:
    """Who writes, and from which words on."""

    run: Positional[str] = "pretrain"
    """Folder of a run, or its name: your own under runs/, else the model of this name that comes with the package."""
    adapter: Adapters = ()
    """Folder of a LoRA adapter that the model takes on. Give the flag again for another one."""
    prompt: str = ""
    """Text to go on from. Without it the model starts a document of its own."""
    device: str | None = None
    """cuda, mps or cpu. Default: the first of these that is there."""


@dataclass(frozen=True)
class GenerateSettings(Writer, Sampling):
    """Let a trained model write, token by token."""

    max_new_tokens: int = 200
    temperature: float = 0.8
    seed: int | None = 0


@dataclass(frozen=True)
class Speaker:
    """Who answers, and what it is told before."""

    run: Positional[str] = "full_sft"
    """Folder of a run, or its name: your own under runs/, else the model of this name that comes with the package."""
    adapter: Adapters = ()
    """Folder of a LoRA adapter that the model takes on. Give the flag again for another one."""
    system: str = ""
    """What the model is told before everything else."""
    device: str | None = None
    """cuda, mps or cpu. Default: the first of these that is there."""


@dataclass(frozen=True)
class ChatSettings(Speaker, Sampling):
    """Talk with a trained model: in the terminal, or with a message a line through a pipe.

    All lines of a pipe are one conversation, as in the terminal. Where each question stands for itself, put a line
    with /reset between them.
    """

    max_new_tokens: int = 256
    temperature: float = 0.7
    seed: int | None = 0


@dataclass
class EvaluateSettings:
    """Measure a trained model on documents and questions that it has not seen."""

    run: Positional[str] = "pretrain"
    """Folder of a run, or its name: your own under runs/, else the model of this name that comes with the package."""
    data_path: str | None = None
    """JSONL file or pattern. Default: what the run held out."""
    documents: int = 1000
    """Most documents to read."""
    tasks: bool = False
    """Ask the questions of the embedded world too. A model that was fine-tuned from one that knows a world is asked in
    any case."""
    cases: int = 200
    """Most questions a task."""
    compare: str | None = None
    """Another run: it answers the same questions, and the difference is told with its interval."""
    adapter: Adapters = ()
    """Folder of a LoRA adapter that the model takes on. Give the flag again for another one."""
    skip_bad_rows: bool = False
    """Leave out lines of the data that cannot be read, and list them, rather than stop."""
    device: str | None = None
    """cuda, mps or cpu. Default: the first of these that is there."""
    json: bool = False
    """Print one JSON object."""


@dataclass
class MergeSettings:
    """Make LoRA adapters part of their model: a plain model folder, which needs no adapter any more."""

    adapters: Positional[tuple[str, ...]]
    """Folders or names of adapters; several are added up."""
    output: str = "runs/merged"
    """Folder of the new model."""
    base: str | None = None
    """Model to merge into. Default: the one that the first adapter names."""


@dataclass
class BenchmarkSettings:
    """Measure the speed of this package against a plain baseline, in turn, on this machine."""

    what: Positional[Literal["train", "decode", "memory", "sft", "lora"]]
    """Training steps, writing token by token, or the memory that training on a file of 1 GB takes; rows of
    conversations beside rows of documents (sft), an adapter's step beside one of all weights (lora)."""
    rounds: int = 5
    """How often each side is measured, in turn; the median counts."""
    busy: bool = False
    """Measure beside a busy process instead, and two at once; the baseline is the speed alone."""
    json: bool = False
    """Print JSON rows: name, value, baseline, ratio."""
