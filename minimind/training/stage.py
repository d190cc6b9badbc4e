"""The life of a run, whatever its stage: refuse, prepare, train, save, finish.

A stage is a short file: its settings, how its rows are made, an objective, and what it measures. This is the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..config import ModelConfig
from ..device import choose_device, describe_device
from ..model import MiniMind
from ..progress import counted
from ..runs import RunFolder
from ..seeding import seed_everything
from ..settings import TrainingSettings
from .batches import Batches
from .limits import check_training
from .loop import FitResult, fit
from .numerics import choose_numerics
from .objectives import Batch, Objective


class Prepared(Protocol):
    """What a stage trains on, as it lies in the run's folder."""

    @property
    def facts(self) -> dict[str, Any]:
        """Counts and where the data come from, for run.json and the report."""


Data = TypeVar("Data", bound=Prepared)


def run_stage(
    settings: TrainingSettings,
    prepare: Callable[[Path], object],
    read: Callable[[Path], Data],
    model: Callable[[Data], MiniMind],
    batches: Callable[[Data, MiniMind], Batches],
    objective: Objective,
    validate: Callable[[Data, MiniMind], dict[str, Any]],
    examine: Callable[[Data, MiniMind], dict[str, Any]] | None = None,
    sample: Callable[[Data, MiniMind], str] | None = None,
    describe_rows: Callable[[Data, Batch], str] | None = None,
    steps: int | None = None,
    use: str = "`minimind generate {}` lets it write",
    save: Callable[[MiniMind, Path, Data], None] = lambda model, folder, data: model.save_pretrained(folder),
) -> FitResult | None:
    """Train in a run's folder, from the beginning or from where a run was left.

    Args:
        settings: what the command was told; `output` is the folder.
        prepare: leaves in a folder what the run trains on. The folder is aside, so that an earlier run stays whole
            until all of it is there.
        read: opens what `prepare` left; a resumed run begins here.
        model: makes the model. Every random generator starts from the run's seed when it is called.
        batches: what the model learns from at each step: stored rows, or what this very model writes.
        objective: what is to be made small.
        validate: figures by name, measured on held-out data.
        examine: more such figures, measured once, after the last step.
        sample: lets the model write something, to be shown.
        describe_rows: says in words what is in a batch, for the message about one that breaks the training.
        steps: length of the run where neither the settings nor the batches have one.
        use: what can be done with the model now; {} stands for its folder.
        save: leaves in the folder what was learned. Default: the whole model.

    Returns:
        How the training ended; None if the run was finished before.

    Raises:
        UserError: for a mistake in the settings or the data, before anything is deleted or trained.
    """
    check_training(settings)
    folder = RunFolder(settings)
    if folder.finished:
        print(f"{folder.path} is finished; nothing to resume")
        return None
    device = choose_device(settings.device)

    def new_model(data: Data) -> MiniMind:
        seed_everything(settings.seed)
        return model(data).to(device)

    if folder.resumed:
        data = read(folder.path)
        network = new_model(data)
    else:
        if folder.stopped_early:
            print(
                f"{folder.path}: was stopped before its first step; begins again, with the settings given now"
            )
        with folder.preparing() as aside:
            prepare(aside)
            # A model that memory has no room for fails here, while an earlier run is still whole.
            network = new_model(read(aside))
        folder.begin()
        data = read(folder.path)
    stream = batches(data, network)
    steps = settings.steps or stream.step_count or steps
    folder.describe(
        {
            "model": {**parameter_counts(network), **sizes(network.config)},
            "data": {**data.facts, "steps": steps},
            "numerics": {"device": describe_device(device), **choose_numerics(settings, device)},
        }
    )
    print_plan(folder)

    result = fit(
        network,
        stream,
        objective,
        replace(settings, steps=steps),
        folder=folder.path,
        validate=lambda: validate(data, network),
        examine=(lambda: examine(data, network)) if examine else None,
        sample=(lambda: sample(data, network)) if sample else None,
        describe_rows=(lambda batch: describe_rows(data, batch)) if describe_rows else None,
    )
    save(network, folder.path, data)
    if result.finished:
        folder.finish(result.numerics)
        print(f"finished: {folder.path} holds the {settings.makes}; {use.format(folder.path)}")
    else:
        print(
            f"left at step {result.step} ({result.reason}), saved; go on with --output {folder.path} --resume"
        )
    return result


def parameter_counts(model: MiniMind) -> dict[str, int]:
    """How many numbers the model has, and how many of them are trained, where some are frozen."""
    every, trained = model.num_parameters(), model.num_parameters(only_trainable=True)
    return {"parameters": every} | ({"trained_parameters": trained} if trained < every else {})


def sizes(config: ModelConfig) -> dict[str, Any]:
    """The sizes that a reader asks for first."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size")
    return {name: getattr(config, name) for name in names}


def print_plan(folder: RunFolder) -> None:
    """Say what is about to happen."""
    model, data, numerics = (folder.facts[name] for name in ("model", "data", "numerics"))
    trained = model.get("trained_parameters")
    share = f", {trained:,} of them trained ({trained / model['parameters']:.1%})" if trained else ""
    print(f"model: {model['parameters']:,} parameters{share}, {model['vocab_size']} token ids")
    rows = f", {data['training_documents']:,} documents in {data['rows']:,} rows" if "rows" in data else ""
    print(f"data: {data['source']}{rows}")
    print(
        f"device: {numerics['device']}, {counted(numerics['threads'], 'thread')}, {numerics['precision']}, "
        f"attention {numerics['attention_path']}"
    )
