"""`python -m minimind.ship RUN NAME`: turn a finished run into a model that comes with the package.

Its weights are rounded to bf16, which halves the file; its figures are measured after that and written into run.json
and on a card, README.md. A test measures them again, so that code which no longer fits the weights is noticed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .arguments import run_guarded
from .benchmark.rounds import machine
from .errors import UserError
from .evaluation import evaluate
from .files import write_aside
from .model import load
from .runs import FREE_SETTINGS, SHIPPED, read_run
from .settings import EvaluateSettings, PretrainSettings
from .training.log import read_metrics

LARGEST = 2_000_000
"""Most bytes of weights: everyone who installs the package downloads them."""
DOCUMENTS = 400
"""Held-out documents that the figures on the card are measured on."""
CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# {name}

A model of {parameters:,} parameters that was trained on the invented world of MiniMind, and on nothing else. It comes
with the package: `load("shipped/{name}")`, `minimind generate shipped/{name}`. It is for looking inside, not for use.

Made by

    {command}

in {seconds:.0f} seconds on {machine} ({threads} threads, {precision}), then rounded to bf16. Another machine gives
other roundings and so another model, about as good.

| Measured on {documents:,} held-out documents | |
|---|---|
| perplexity | {perplexity:.4f} |
| floor, exact | {floor_perplexity:.4f} |
| perplexity over floor | {ratio:.4f} |
| bits per byte | {bits_per_byte:.4f} |

| Step | Tokens read | Held-out perplexity |
|---|---|---|
{curve}

Settings: {settings}. Versions: {versions}.
"""


def ship(run_folder: Path, name: str) -> Path:
    """Make a run the shipped model of this name; gives its folder.

    Raises:
        UserError: if the run is not finished or too large.
    """
    run = read_run(run_folder)
    if run is None or run.get("status") != "finished":
        raise UserError(f"{run_folder}: holds no finished run")
    rows = read_metrics(run_folder / "metrics.jsonl")
    model, tokenizer = load(run_folder)
    with write_aside(SHIPPED / name) as aside:  # the old one stays until the new one is whole
        model.to(torch.bfloat16).save_pretrained(aside)
        size = (aside / "model.safetensors").stat().st_size
        if size > LARGEST:
            raise UserError(f"{run_folder}: {size:,} bytes of weights, at most {LARGEST:,} are shipped")
        tokenizer.save(aside)
        curve = [{**row, "sample": None} for row in rows if row["validation_loss"] is not None]
        lines = "".join(json.dumps(row) + "\n" for row in curve)
        (aside / "metrics.jsonl").write_text(lines, encoding="utf-8")
        run["settings"]["output"] = PretrainSettings().output
        run["shipped"] = {
            "command": command_of(run),
            "seconds": round(rows[-1]["seconds"], 1),
            "machine": processor(),
        }
        write_run(aside, run)  # `evaluate` reads there which world the model knows.
        measured = evaluate(EvaluateSettings(str(aside), documents=DOCUMENTS, device="cpu"))
        run["measured"] = {name: value for name, value in measured.items() if name not in ("run", "source")}
        write_run(aside, run)
        (aside / "README.md").write_text(card(name, run, curve), encoding="utf-8")
    return SHIPPED / name


def command_of(run: dict[str, Any]) -> str:
    """The command that makes a run: the settings that are not the defaults."""
    usual = asdict(PretrainSettings())
    free = FREE_SETTINGS - {"threads"}  # where it went, and how it was watched, makes no other model
    changed = {
        key: value
        for key, value in run["settings"].items()
        if key in usual and value != usual[key] and key not in free
    }
    flags = [f"--{key.replace('_', '-')} {value}" for key, value in changed.items()]
    return " ".join(["minimind pretrain", *flags])


def processor() -> str:
    """The processor and the system, in words."""
    return str(machine("", "")["machine"])


def write_run(folder: Path, run: dict[str, Any]) -> None:
    (folder / "run.json").write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")


def card(name: str, run: dict[str, Any], curve: list[dict[str, Any]]) -> str:
    """The card: what made the model, and what was measured of it."""
    measured, kept = run["measured"], ("schedule", "optimizer", "batch_size", "max_seq_len", "seed", "preset")
    lines = [f"| {row['step']:,} | {row['tokens']:,} | {row['validation_perplexity']:.3f} |" for row in curve]
    return CARD.format(
        name=name,
        parameters=run["model"]["parameters"],
        threads=run["numerics"]["threads"],
        precision=run["numerics"]["precision"],
        ratio=measured["perplexity"] / measured["floor_perplexity"],
        curve="\n".join(lines),
        settings=", ".join(f"{key} {run['settings'][key]}" for key in kept),
        versions=", ".join(f"{package} {number}" for package, number in run["versions"].items()),
        **run["shipped"],
        **measured,
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m minimind.ship RUN NAME")
    sys.exit(run_guarded(lambda: print(f"{ship(Path(sys.argv[1]), sys.argv[2])} is shipped")))
