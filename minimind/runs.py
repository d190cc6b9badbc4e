"""The folder of a run: where one is found, what its run.json says, and when a new run may take it.

A run is found by its path or its name; what a reader trained comes first, then the models that come with the package.
`minimind/shipped/` holds the embedded world's, so that a page can look inside one that is the same on every machine,
and `minimind generate` answers before anything was trained.

`run.json` says what the run is and whether it is finished. It is written before the first step and once more
at the end, so its `status` is always true: "unfinished" until the model lies in the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import replace_text
from .settings import TrainingSettings

SHIPPED = Path(__file__).parent / "shipped"
"""One folder a model that comes with the package, each a run's folder with its card, README.md."""
OTHER_NAMES = {"full_sft": "sft"}
"""Names under which the original MiniMind knows a run."""
MADE_BY = {"sft": "sft", "lora": "lora", "merged": "merge"}
"""The command that makes a run of this name unless it is told another one; a run of any other name may be a pretrained
one."""
FREE_SETTINGS = {
    "output", "resume", "overwrite", "max_seconds", "checkpoint_seconds", "tensorboard",
    "device", "sample_tokens", "threads", "prepared",
}  # fmt: skip
"""Settings that a resumed run may change: they do not alter what is learned. Of these, threads can alter the last
bits of the weights; the run then says so, as where it changes their number itself."""

FILES = (
    "run.json", "config.json", "model.safetensors", "generation_config.json", "adapter_config.json",
    "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json", "metrics.jsonl", "report.html",
    "checkpoints", "data", "tensorboard",
)  # fmt: skip
"""What a run writes. Nothing else in the folder is ever touched."""


def find_run(name: str | Path) -> Path:
    """The folder that a run's name stands for.

    Args:
        name: a path to a run's folder; or `pretrain`, which is `runs/pretrain` if that is there and else the model of
            this name that comes with the package; or `shipped/pretrain`, which is the latter in any case.

    Raises:
        UserError: if nothing of that name is there.
    """
    words = Path(name).as_posix()
    own = Path("runs") / OTHER_NAMES.get(words, words)
    for folder in (Path(words), own):
        # A run that still trains, or was killed, has neither yet.
        if (folder / "config.json").is_file() or is_adapter(folder):
            return folder
    shipped = SHIPPED / words.removeprefix("shipped/")
    if words.removeprefix("shipped/") in shipped_names():
        return shipped
    for folder in (Path(words), own):
        if folder.is_dir():
            return folder  # Whoever opens it says what it lacks.
    near = ", ".join(f"shipped/{one}" for one in shipped_names())
    raise UserError(
        f"{words}: no such run, neither as a folder nor under runs/; "
        f"make one with `minimind {MADE_BY.get(own.name, 'pretrain')}`, or name another"
        + (f", such as one of the package: {near}" if near else "")
    )


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, and not a whole model."""
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def weights_digest(folder: Path) -> str:
    """Changes with the weights of the model, or of the adapter, in a run's folder."""
    name = "adapter_model.safetensors" if is_adapter(folder) else "model.safetensors"
    with open(folder / name, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shipped_names() -> list[str]:
    """The names of the models that come with the package."""
    folders = {path.parent.name for path in SHIPPED.glob("*/*config.json")}
    return sorted(
        name for name in folders if "." not in name
    )  # One that is just being shipped ends in .part.


def is_shipped(folder: str | Path) -> bool:
    """Whether a folder is one of the models that come with the package."""
    return Path(folder).resolve().parent == SHIPPED.resolve()


def describe_run(folder: str | Path) -> str:
    """A run in a few words: its path, or that it comes with the package."""
    if is_shipped(folder):
        name = Path(folder).name
        own = Path("runs") / name
        unfinished = own.is_dir() and not ((own / "config.json").is_file() or is_adapter(own))
        note = f" ({own} holds no model yet)" if unfinished else ""
        return f"shipped/{name}, which comes with the package{note}"
    return f"{Path(folder)}, your own"


def read_run(folder: Path) -> dict[str, Any] | None:
    """The contents of a folder's run.json; None if there is none.

    Raises:
        UserError: if the folder is a file, or run.json is damaged.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file stands where the run's folder should be; choose another --output")
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        run = None
    if not isinstance(run, dict) or not isinstance(run.get("settings"), dict):
        raise UserError(
            f"{folder / 'run.json'}: damaged; put it right, choose another folder, or --overwrite to start over"
        )
    return run


def write_run(folder: Path, run: dict[str, Any]) -> None:
    """Write a folder's run.json."""
    replace_text(folder / "run.json", json.dumps(run, indent=2), durable=True)


def changed_settings(run: dict[str, Any], settings: Any) -> list[str]:
    """In which settings a run differs from a settings dataclass, of those that alter what is learned; in words."""
    before = run["settings"]
    return [
        f"{name} was {before.get(name)!r}, now {value!r}"
        for name, value in asdict(settings).items()
        if name not in FREE_SETTINGS and before.get(name) != value
    ]


def delete_run(folder: Path) -> None:
    """Delete what a run has written into its folder, and nothing else there."""
    for name in FILES:  # run.json comes first: a crash on the way must not leave it beside half a run.
        entry = folder / name
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def refuse_to_replace(path: Path, overwrite: bool) -> None:
    """Do not write over a file unless asked to.

    Raises:
        UserError: if the file is there, and `overwrite` is off.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already; choose another --output, or --overwrite to replace it")


class RunFolder:
    """One run's place on the disk.

    Args:
        settings: a stage's settings; `output`, `resume` and `overwrite` decide what may happen here.

    Raises:
        UserError: if the folder holds another run, or this one with other settings, or cannot be used.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings
        self.path = Path(settings.output)
        self.prepared = self.path / ".prepare"
        if settings.resume and settings.overwrite:
            raise UserError("--resume goes on and --overwrite starts over; give one of them")
        self.run = read_run(self.path) if not settings.overwrite else None
        self.finished = self.run is not None and self.run.get("status") == "finished"
        self.resumed = self.run is not None and settings.resume
        if self.finished and not settings.resume:
            raise UserError(
                f"{self.path}: holds a finished run; choose another --output, or --overwrite to delete it"
            )
        if self.run is not None and not settings.resume:
            raise UserError(
                f"{self.path}: holds an unfinished run; --resume to go on, or --overwrite to start over"
            )
        if self.resumed:
            self._refuse_changes()
        left = [name for name in FILES if (self.path / name).exists()]
        # Only where nothing but a run lay is anything prepared, so what is there is a run's. It was stopped before its
        # first step, and begins again. Weights and checkpoints are work: they go only where that was asked for.
        self.stopped_early = self.prepared.exists() and not (self.path / "run.json").exists()
        work = [name for name in left if name.endswith(".safetensors") or name == "checkpoints"]
        known = self.run is not None or (
            settings.overwrite and (self.stopped_early or (self.path / "run.json").exists())
        )
        strange = work if self.stopped_early else left
        if strange and not known:
            advice = "or --overwrite to delete it" if self.stopped_early else "or delete it yourself"
            raise UserError(
                f"{self.path}: holds {strange[0]} but no run.json; choose another --output, {advice}"
            )

    def _refuse_changes(self) -> None:
        """A resumed run with other settings would be neither the old run nor a new one."""
        changed = changed_settings(self.facts, self.settings)
        if changed:
            raise UserError(
                f"{self.path}: cannot resume with other settings: {'; '.join(changed)}; "
                "leave these flags out, or start over with --overwrite"
            )

    @contextmanager
    def preparing(self) -> Iterator[Path]:
        """A folder to prepare the run in. If that fails, nothing is left of it."""
        made = [
            folder for folder in (self.path, *self.path.parents) if not folder.exists()
        ]  # innermost first
        shutil.rmtree(self.prepared, ignore_errors=True)
        try:
            self.prepared.mkdir(
                parents=True, exist_ok=True
            )  # Finds out now whether the folder can be written.
            yield self.prepared
        except BaseException:
            shutil.rmtree(self.prepared, ignore_errors=True)
            with suppress(OSError):  # Not empty: somebody else has put something there.
                for folder in made:
                    folder.rmdir()
            raise

    def begin(self) -> None:
        """Delete what an earlier run left, and move in what was prepared.

        Until here an earlier run in the folder is whole: a mistake in the settings or the data costs nothing.
        """
        delete_run(self.path)
        for entry in self.prepared.iterdir():
            os.replace(entry, self.path / entry.name)

    def describe(self, facts: dict[str, Any]) -> None:
        """Write run.json; a resumed run has one already. Only then does the folder go in which it was prepared."""
        if not self.resumed:
            settings = asdict(self.settings)
            self.run = {"status": "unfinished", **facts, "settings": settings, "versions": versions()}
            self._write()
        shutil.rmtree(self.prepared, ignore_errors=True)

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json says of the run."""
        if self.run is None:
            raise RuntimeError("the run has not been described yet")
        return self.run

    def finish(self, numerics: dict[str, Any]) -> None:
        """Say in run.json that the model is whole, and how its numbers were computed at the end."""
        self.run = {**self.facts, "numerics": {**self.facts["numerics"], **numerics}, "status": "finished"}
        self._write()

    def _write(self) -> None:
        write_run(self.path, self.facts)


def versions() -> dict[str, str]:
    """What the run was made with."""
    packages = ("torch", "numpy", "tokenizers", "safetensors")
    return {
        "minimind": version("minimind"),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }
