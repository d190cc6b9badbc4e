"""The command `minimind`: each verb reads its settings and calls one function of the package.

Nothing heavy is imported until a verb needs it, so help and mistakes are answered at once.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __version__, settings
from .arguments import complain, main_of, run_guarded
from .errors import UserError
from .files import write_aside

FAR_CONVERSATIONS = 2000
"""Each way of asking some two or three times."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        return run_guarded(lambda: print(overview()))
    if given[0] == "--version":
        return run_guarded(lambda: print(f"minimind {__version__}"))
    if given[0] not in VERBS:
        near = difflib.get_close_matches(given[0], VERBS, n=1)
        advice = f"did you mean {near[0]!r}?" if near else "`minimind --help` lists them"
        return complain(f"no command {given[0]!r}; {advice}")
    kind, action = VERBS[given[0]]
    try:
        return main_of(given[0], kind, action, given[1:])
    except SystemExit as leaving:  # The parser has printed its help.
        return int(leaving.code or 0)


def overview() -> str:
    """The list of commands."""
    lines = [
        "usage: minimind COMMAND …",
        "",
        "Train a small language model through every stage, and look inside it.",
        "",
    ]
    lines += [f"  {verb:<10} {(kind.__doc__ or '').splitlines()[0]}" for verb, (kind, _) in VERBS.items()]
    lines += [
        "",
        "`minimind COMMAND --help` lists what a command takes. `minimind --version` prints the version.",
    ]
    return "\n".join(lines)


def data(given: settings.DataSettings) -> None:
    """Write documents and conversations of the embedded world as JSONL."""
    from itertools import islice

    from .data import World
    from .progress import progress
    from .runs import refuse_to_replace

    conversations = given.documents if given.conversations is None else given.conversations
    for name, number in (("documents", given.documents), ("conversations", conversations)):
        if number < 1:
            raise UserError(f"{name} must be at least 1, got {number}")
    world, train = World(given.seed), given.split == "train"
    names = ["pretrain_hq", "sft_mini_512", "lora_identity", "lora_far"]
    if not train:
        names = [f"{name.removesuffix('_hq').removesuffix('_mini_512')}_validation" for name in names]
    identity = world.identity(split=given.split)
    documents = ({"text": document.text} for document in world.documents(given.split))
    talks = ({"conversations": talk.messages} for talk in world.conversations(given.split))
    told = ({"conversations": talk.messages} for talk in identity)
    far = ({"conversations": talk.messages} for talk in world.far_conversations(given.split))
    paths = [Path(given.output) / f"{name}.jsonl" for name in names]
    for path in paths:
        refuse_to_replace(path, given.overwrite)
    Path(given.output).mkdir(parents=True, exist_ok=True)
    for path, rows, number, what in (
        (paths[0], documents, given.documents, "documents"),
        (paths[1], talks, conversations, "conversations"),
        (paths[2], told, len(identity), "conversations"),
        (paths[3], far, min(conversations, FAR_CONVERSATIONS), "conversations"),
    ):
        with write_aside(path) as part, open(part, "w", encoding="utf-8") as file:
            for row in progress(islice(rows, number), f"writing, {what}", number):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(f"{path}: {number:,} {what}, {path.stat().st_size / 1e6:.1f} MB")


def tokenizer(given: settings.TokenizerSettings) -> None:
    """Train a tokenizer and save it."""
    from .training import tokenizer as stage

    stage(given)


def pretrain(given: settings.PretrainSettings) -> Any:
    """Train a model from scratch."""
    from .training import pretrain as stage

    return stage(given)


def sft(given: settings.SftSettings) -> Any:
    """Fine-tune a model on conversations."""
    from .training import sft as stage

    return stage(given)


def pipeline(given: settings.PipelineSettings) -> Any:
    """Train every stage in order."""
    from .pipeline import pipeline as stages

    return stages(given)


def lora(given: settings.LoraSettings) -> Any:
    """Train an adapter for a fine-tuned model."""
    from .training import lora as stage

    return stage(given)


def merge(given: settings.MergeSettings) -> None:
    """Make adapters part of their model."""
    from .inference.merge import merge as make

    make(given)


def generate(given: settings.GenerateSettings) -> None:
    """Print what a model writes, as it writes it."""
    import torch

    from .device import choose_device
    from .inference import stream_text
    from .model import load
    from .training.threads import Threads

    model, tokenizer = load(given.run, given.adapter)
    device = choose_device(given.device)
    threads = Threads(torch.get_num_threads(), fixed=device.type != "cpu")
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.encode(given.prompt)]], device=device)
    print(given.prompt, end="", flush=True)
    new = model.to(device).stream(ids, sampling=given)
    for piece in stream_text(tokenizer, threads.watch(new)):
        print(piece, end="", flush=True)
    print()


def chat(given: settings.ChatSettings) -> None:
    """Answer what is asked, as it is asked."""
    import torch

    from .device import choose_device
    from .inference.terminal import chat as talk
    from .training.threads import Threads

    threads = Threads(torch.get_num_threads(), fixed=choose_device(given.device).type != "cpu")
    talk(given, threads.watch)


def evaluate(given: settings.EvaluateSettings) -> None:
    """Print perplexity on held-out documents, with the floor where it is known, and what the model can do."""
    from .evaluation import evaluate as measure
    from .evaluation import report

    measured = measure(given)
    print(json.dumps(measured) if given.json else report(measured))


def benchmark(given: settings.BenchmarkSettings) -> None:
    """Print our speed beside a plain baseline's, or beside other work; or the memory of training."""
    from . import benchmark as benchmarks

    rows = getattr(benchmarks, f"benchmark_{given.what}")(given)
    heads = {"memory": ("peak", "limit"), "sft": ("talks", "texts"), "lora": ("adapter", "full")}.get(
        given.what, ("ours", "plain")
    )
    heads = ("beside", "alone") if given.busy else heads
    print(json.dumps(rows) if given.json else benchmarks.report(rows, *heads))


def run(given: settings.RunSettings) -> int:
    """Run a module's experiments."""
    from .course.snippets import run_module

    return run_module(given.module, given.all)


def record(given: settings.RecordSettings) -> int:
    """Measure long experiments and keep the results."""
    from .course.record import record as make

    return make(given.names, given.check, given.confirm)


def exercise(given: settings.ExerciseSettings) -> int:
    """Write a piece of the model yourself."""
    from .course.exercises.command import exercise as do

    return do(given)


def doctor(given: settings.DoctorSettings) -> int:
    """Look at this machine."""
    from .doctor import examine, report

    found = examine()
    print(json.dumps(found) if given.json else report(found))
    return 0


VERBS: dict[str, tuple[type[Any], Callable[[Any], Any]]] = {
    "data": (settings.DataSettings, data),
    "tokenizer": (settings.TokenizerSettings, tokenizer),
    "pretrain": (settings.PretrainSettings, pretrain),
    "sft": (settings.SftSettings, sft),
    "lora": (settings.LoraSettings, lora),
    "merge": (settings.MergeSettings, merge),
    "pipeline": (settings.PipelineSettings, pipeline),
    "generate": (settings.GenerateSettings, generate),
    "chat": (settings.ChatSettings, chat),
    "evaluate": (settings.EvaluateSettings, evaluate),
    "benchmark": (settings.BenchmarkSettings, benchmark),
    "run": (settings.RunSettings, run),
    "record": (settings.RecordSettings, record),
    "exercise": (settings.ExerciseSettings, exercise),
    "doctor": (settings.DoctorSettings, doctor),
}
