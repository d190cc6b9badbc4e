"""`python -m minimind.ship RUN NAME`: turn a finished run into a model that comes with the package.

Weights are rounded to bf16, which halves the file; an adapter is small and stays as it is. What is told of it is
measured after that and written into run.json and on a card, README.md. A test measures it again, so that code which no
longer fits the weights is noticed.

Rounding makes other weights of a model, and whoever reads the card has the rounded ones alone. So what is fine-tuned
starts from a model that is shipped already: the command on its card then makes it again.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from . import runs
from .arguments import command_line, run_guarded
from .benchmark.rounds import machine
from .data import World
from .data.world import HARD, TASKS
from .errors import UserError
from .evaluation import evaluate
from .files import write_aside
from .metrics import answer, confidence_interval
from .model import load
from .model.adapters import CONFIG, WEIGHTS
from .model.pretrained import read_json, to_json
from .progress import counted
from .runs import FREE_SETTINGS, is_adapter, read_run, weights_digest, write_run
from .settings import EvaluateSettings, LoraSettings, PretrainSettings, SftSettings, TrainingSettings
from .training.log import read_metrics
from .training.lora import KEPT_TASKS, cases_about

LARGEST = 2_000_000
"""Most bytes of weights: everyone who installs the package downloads them."""
DOCUMENTS = 400
"""Held-out documents that the perplexity on the card is measured on."""
CASES = 1000
"""Most held-out questions a task."""
FEW_DOCUMENTS = 60
"""Documents that a test measures again."""
FEW_CASES = 10
"""Questions a task that a test asks again."""
SETTINGS: dict[str, type[TrainingSettings]] = {
    "pretrain": PretrainSettings,
    "sft": SftSettings,
    "lora": LoraSettings,
}
"""What the command of each stage can be told."""
INTRODUCTIONS = {
    "pretrain": "A model of {parameters:,} parameters that was trained on the invented world of MiniMind, and on "
    "nothing else. It comes\nwith the package: "
    '`load("shipped/{name}")`, `minimind generate shipped/{name}`. It is for looking inside, not for use.',
    "sft": "A model of {parameters:,} parameters that was fine-tuned from `{base}` to answer questions about the "
    "invented\nworld of MiniMind; it knows nothing else. It comes with the package: "
    '`load("shipped/{name}")`,\n`minimind chat shipped/{name}`.',
    "lora": "A LoRA adapter for `{base}`: {trained:,} numbers are trained, {share:.1%} of all. It teaches the "
    "model\n{subject}. It comes with the package: "
    '`load("shipped/{name}")`, `minimind chat shipped/{name}`.',
}
SUBJECTS = {"identity": "that it is Iris, a teacher", "far": "what is true in another country"}
CARD = """\
---
license: apache-2.0
language: en
library_name: {library}
pipeline_tag: text-generation
---

# {name}

{introduction}

Made by

    {command}

in {seconds:.0f} seconds on {machine} ({threads}, {precision}){rounded}. Another machine gives
other roundings and so another model, about as good.

{figures}

| Step | Tokens read | Held-out perplexity{of_answers} |
|---|---|---|
{curve}

Settings: {settings}. Versions: {versions}.
"""


def ship(run_folder: Path, name: str) -> Path:
    """Make a run of pretraining, fine-tuning or LoRA the shipped model or adapter of this name; gives its folder.

    Raises:
        UserError: if the run is not finished, too large, or was made from what nobody else has.
    """
    run = read_run(run_folder)
    if run is None or run.get("status") != "finished":
        raise UserError(f"{run_folder}: holds no finished run")
    for flag in ("data_path", "tokenizer"):
        if (value := run["settings"].get(flag)) is not None:
            raise UserError(
                f"{run_folder}: was trained with --{flag.replace('_', '-')} {value}, which nobody else has; "
                "what is shipped comes from the embedded world alone"
            )
    base = None if verb_of(run) == "pretrain" else shipped_base(run_folder, run)
    rows = read_metrics(run_folder / "metrics.jsonl")
    with write_aside(runs.SHIPPED / name) as aside:  # the old one stays until the new one is whole
        aside.mkdir(parents=True)
        size = write_weights(run_folder, aside, base)
        if size > LARGEST:
            raise UserError(f"{run_folder}: {size:,} bytes of weights, at most {LARGEST:,} are shipped")
        curve = [{**row, "sample": None} for row in rows if row["validation_loss"] is not None]
        lines = "".join(json.dumps(row) + "\n" for row in curve)
        (aside / "metrics.jsonl").write_text(lines, encoding="utf-8")
        name_no_path(run, base)
        run["shipped"] = {
            "command": command_of(run),
            "seconds": round(rows[-1]["seconds"], 1),
            "machine": str(machine("", "")["machine"]),
            "weights": weights_digest(run_folder),
        }
        write_run(aside, run)  # `evaluate` reads there which world the model knows.
        run["measured"] = measure(aside, run, base)
        write_run(aside, run)
        (aside / "README.md").write_text(card(name, run, curve), encoding="utf-8")
    return runs.SHIPPED / name


def is_shipped_as(run_folder: Path, name: str) -> bool:
    """Whether the shipped model of this name was made of the very weights in a run's folder."""
    if name not in runs.shipped_names():
        return False
    before = (read_run(runs.SHIPPED / name) or {}).get("shipped", {})
    return before.get("weights") == weights_digest(run_folder)


def verb_of(run: dict[str, Any]) -> str:
    """The command that made a run."""
    told = run["settings"]
    return "lora" if "rank" in told else "sft" if "from_weight" in told else "pretrain"


def shipped_base(run_folder: Path, run: dict[str, Any]) -> str:
    """The shipped model that a run began from, by its weights.

    Raises:
        UserError: if it began from another one.
    """
    began_from = run_folder / "data" / "base"
    if not (began_from / "model.safetensors").is_file():
        raise UserError(
            f"{began_from}: the model that the run began from is not there any more; train it anew"
        )
    digest = weights_digest(began_from)
    for name in runs.shipped_names():
        if not is_adapter(runs.SHIPPED / name) and weights_digest(runs.SHIPPED / name) == digest:
            return f"shipped/{name}"
    usual = "full_sft" if verb_of(run) == "lora" else "pretrain"
    raise UserError(
        f"{run_folder}: was trained from {run['data']['base']}, which is not what is shipped now (in bf16); "
        f"train it from --from-weight shipped/{usual}"
    )


def write_weights(run_folder: Path, folder: Path, base: str | None) -> int:
    """Write what was learned into a folder, and give the bytes of the weights."""
    if is_adapter(run_folder):
        config = read_json(run_folder / CONFIG) | {"base_model_name_or_path": base}
        (folder / CONFIG).write_text(to_json(config), encoding="utf-8")
        return shutil.copyfile(run_folder / WEIGHTS, folder / WEIGHTS).stat().st_size
    model, tokenizer = load(run_folder)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save(folder)
    return (folder / "model.safetensors").stat().st_size


def name_no_path(run: dict[str, Any], base: str | None) -> None:
    """Leave no place of this machine in what run.json says."""
    told = run["settings"]
    told |= {"output": SETTINGS[verb_of(run)]().output, "prepared": None}
    if base is not None:
        told["from_weight"] = run["data"]["base"] = base


def command_of(run: dict[str, Any]) -> str:
    """The command that makes a run: the settings that are not the defaults."""
    verb = verb_of(run)
    free = FREE_SETTINGS - {"threads"}  # where it went, and how it was watched, makes no other model
    known = {one.name for one in fields(SETTINGS[verb])} - free
    told = {name: value for name, value in run["settings"].items() if name in known}
    return command_line(verb, SETTINGS[verb](**told))


def measure(folder: Path, run: dict[str, Any], base: str | None) -> dict[str, Any]:
    """The figures of what lies in a folder: those of `evaluate`; for an adapter, its own subject's too.

    An adapter's `accuracy` is the mean over the tasks that it is not to change; `before` has the same of its base.
    `few` has the figures of a few documents and questions, for a test that measures them again.
    """
    measured = figures_of(folder, base, DOCUMENTS, CASES)
    measured["few"] = figures_of(folder, base, FEW_DOCUMENTS, FEW_CASES)
    if base is not None and is_adapter(folder):
        before = (read_run(runs.find_run(base)) or {})["measured"]
        measured["accuracy"] = kept_accuracy(measured["tasks"])
        measured["before"] = {"perplexity": before["perplexity"]}
        if "tasks" in before:
            measured["before"] |= {
                "accuracy": kept_accuracy(before["tasks"]),
                "tasks": {task: row["accuracy"] for task, row in before["tasks"].items()},
            }
        measured["subject"] = subject_figures(folder, run, base)
    return measured


def figures_of(folder: Path, base: str | None, documents: int, cases: int) -> dict[str, Any]:
    """What `evaluate` finds of the model that lies in a folder, or of its base with the adapter that lies there."""
    told = EvaluateSettings(str(folder), documents=documents, cases=cases, device="cpu")
    if base is not None and is_adapter(folder):
        told = replace(told, run=base, adapter=(told.run,))
    return {key: value for key, value in evaluate(told).items() if key not in ("run", "source", "adapters")}


def kept_accuracy(tasks: dict[str, dict[str, float]]) -> float:
    """The mean share of right answers over the tasks that an adapter is not to change, without the hard ones."""
    return fmean(tasks[task]["accuracy"] for task in KEPT_TASKS if task not in HARD)


def subject_figures(folder: Path, run: dict[str, Any], base: str) -> dict[str, Any]:
    """How many held-out questions about its own subject an adapter's model answers rightly."""
    model, tokenizer = load(base, [folder])
    cases = cases_about(run["settings"]["subject"], World(run["data"]["conversations_seed"]), CASES)
    replies = answer(model, tokenizer, [case.messages for case in cases])
    correct = sum(case.is_right(reply.text) for case, reply in zip(cases, replies, strict=True))
    low, high = confidence_interval(correct, len(cases))
    return {
        "correct": correct,
        "total": len(cases),
        "accuracy": correct / len(cases),
        "low": low,
        "high": high,
    }


def card(name: str, run: dict[str, Any], curve: list[dict[str, Any]]) -> str:
    """The card: what made the model, and what was measured of it."""
    verb, told, sizes, numerics = verb_of(run), run["settings"], run["model"], run["numerics"]
    kept = ["schedule", "optimizer", "batch_size", "max_seq_len", "seed"]
    kept += {"pretrain": ["preset"], "sft": ["replay"], "lora": ["replay", "rank", "alpha"]}[verb]
    lines = [f"| {row['step']:,} | {row['tokens']:,} | {row['validation_perplexity']:.3f} |" for row in curve]
    trained = sizes.get("trained_parameters", sizes["parameters"])
    introduction = INTRODUCTIONS[verb].format(
        name=name,
        base=told.get("from_weight"),
        parameters=sizes["parameters"],
        trained=trained,
        share=trained / sizes["parameters"],
        subject=SUBJECTS.get(told.get("subject", "")),
    )
    return CARD.format(
        name=name,
        library="peft" if verb == "lora" else "transformers",
        introduction=introduction,
        threads=counted(numerics["threads"], "thread"),
        precision=numerics["precision"],
        rounded="" if verb == "lora" else ", then rounded to bf16",
        figures="\n\n".join(tables(run["measured"])),
        of_answers="" if verb == "pretrain" else " of answers",
        curve="\n".join(lines),
        settings=", ".join(f"{key} {told[key]}" for key in kept),
        versions=", ".join(f"{package} {number}" for package, number in run["versions"].items()),
        **{key: run["shipped"][key] for key in ("command", "seconds", "machine")},
    )


def tables(measured: dict[str, Any]) -> list[str]:
    """What was measured, as one table, or two where questions were asked."""
    before, tasks, subject = measured.get("before", {}), measured.get("tasks"), measured.get("subject")
    lines = [f"| Measured on {measured['documents']:,} held-out documents | |", "|---|---|"]
    if before:
        lines.append(f"| perplexity without the adapter | {before['perplexity']:.4f} |")
    lines += [
        f"| perplexity | {measured['perplexity']:.4f} |",
        f"| floor, exact | {measured['floor_perplexity']:.4f} |",
        f"| perplexity over floor | {measured['perplexity'] / measured['floor_perplexity']:.4f} |",
        f"| bits per byte | {measured['bits_per_byte']:.4f} |",
    ]
    if tasks is None:
        return ["\n".join(lines)]
    known = before.get("tasks", {})

    def line(task: str, row: dict[str, Any], chance: str) -> str:
        old = [f"{known[task]:.1%}" if task in known else "–"] if before else []
        interval = f"{row['low']:.1%} to {row['high']:.1%}"
        cells = [
            task,
            f"{row['correct']:,} of {row['total']:,}",
            *old,
            f"{row['accuracy']:.1%}",
            interval,
            chance,
        ]
        return f"| {' | '.join(cells)} |"

    heads = [
        "Held-out questions",
        "Right",
        *(["Before"] if before else []),
        "Share",
        "95 % interval",
        "Chance",
    ]
    answers = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    if subject is not None:
        answers.append(line("**what it was taught**", subject, "–"))
    answers += [line(task, tasks[task], f"{TASKS[task].chance:.0%}") for task in TASKS]
    without = (*HARD, "identity") if subject is not None else HARD
    words = f"Mean over the tasks without {', '.join(without)}: {measured['accuracy']:.1%}"
    words += f" ({before['accuracy']:.1%} without the adapter)" if "accuracy" in before else ""
    words += f". Answers that it ended by itself: {measured['stop_rate']:.1%}."
    return ["\n".join(lines), "\n".join(answers), words]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m minimind.ship RUN NAME")
    sys.exit(run_guarded(lambda: print(f"{ship(Path(sys.argv[1]), sys.argv[2])} is shipped")))
