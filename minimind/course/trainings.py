"""Ten trainings of the default run: what is said of trainings in general is counted over them.

One training shows one outcome; another seed, or other roundings on another processor, gives another. So a sentence
about trainings in general is a record over ten of them, told with its count. The ten are made once and serve every
record: ten seeds, every other one in fp32, where `minimind pretrain` computes in bf16 if the processor can.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..model import load
from ..progress import progress
from ..runs import read_run
from ..training import pretrain  # noqa: F401 - what is measured rests on its code, and so does the records' digest
from .record import Part, confirming, digest_of_code, snippets_folder

COUNT = 10


@dataclass(frozen=True)
class Training:
    """One of the ten."""

    seed: int
    """Of the weights, the order of the rows, and the world."""
    precision: str
    """Numbers of the matrix products while training: bf16 or fp32."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"seed-{self.seed}-{self.precision}"


TRAININGS = [Training(seed, "fp32" if seed % 2 else "bf16") for seed in range(COUNT)]


def over_trainings(examine: Callable[[Any, Any, Any], dict[str, Any]]) -> list[dict[str, Any]]:
    """Examine each of the ten models, for a record.

    Args:
        examine: takes a model, its tokenizer and the world it was trained on; gives named numbers.

    Returns:
        For each training its `seed`, `precision`, held-out `perplexity` and `floor`, a digest of its `weights`, and
        what `examine` found. To confirm a record, the first training is enough.
    """
    from ..data import World
    from ..training.log import read_metrics

    chosen = TRAININGS[:1] if confirming() else TRAININGS
    home = train_missing(chosen)
    found = []
    for training in progress(chosen, "examining, trainings", len(chosen)):
        folder = home / training.name
        last = read_metrics(folder / "metrics.jsonl")[-1]
        model, tokenizer = load(folder)
        facts = {
            "seed": training.seed,
            "precision": training.precision,
            "perplexity": last["validation_perplexity"],
            "floor": last["floor_perplexity"],
            "weights": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16],
        }
        found.append({**facts, **examine(model, tokenizer, World(training.seed))})
    return Part(found) if confirming() else found


def train_missing(chosen: Sequence[Training]) -> Path:
    """The folder that holds a folder for each training; those that are missing are trained, two at a time."""
    home = snippets_folder().parent / ".cache" / "trainings" / _digest()
    missing = [training for training in chosen if not (home / training.name).is_dir()]
    if missing:
        print(f"training {len(missing)} of {COUNT} models, two at a time", file=sys.stderr)
        with ThreadPoolExecutor(max_workers=2) as workers:
            done = workers.map(lambda training: _train(training, home), missing)
            list(progress(done, "training, models", len(missing)))
    return home


def _train(training: Training, home: Path) -> None:
    """Train one model in a process of its own; its folder appears when it is whole."""
    aside = home / f"{training.name}.part"
    shutil.rmtree(aside, ignore_errors=True)
    command = [sys.executable, "-m", "minimind.training.pretrain", "--output", str(aside)]
    command += ["--seed", str(training.seed), "--precision", training.precision, "--threads", "1"]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    run = read_run(aside)
    if done.returncode != 0 or run is None or run["status"] != "finished":
        raise UserError(
            f"{training.name} was not trained to its end: {done.stderr.strip() or 'it was stopped'}"
        )
    shutil.rmtree(aside / "checkpoints", ignore_errors=True)
    aside.rename(home / training.name)


def _digest() -> str:
    return digest_of_code("from minimind.training import pretrain")[:16]
