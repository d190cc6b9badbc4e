"""The folder of a run: what may be in it, when a new run may take it, and how its state is written down.

`run.json` says what the run is and whether it is finished. It is written before the first step and once more
at the end, so its `status` is always true: "unfinished" until the model lies in the folder.
"""

from __future__ import annotations

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

from .. import __version__
from ..errors import UserError
from ..runs import read_run
from ..settings import TrainingSettings

FREE_SETTINGS = {
    "output", "resume", "overwrite", "max_seconds", "checkpoint_seconds", "tensorboard",
    "device", "sample_tokens", "threads",
}  # fmt: skip
"""Settings that a resumed run may change: they do not alter what is learned. Of these, threads can alter the last
bits of the weights; the run then says so, as where it changes their number itself."""

FILES = (
    "run.json", "config.json", "model.safetensors", "generation_config.json", "tokenizer.json",
    "tokenizer_config.json", "metrics.jsonl", "report.html", "checkpoints", "data", "tensorboard",
)  # fmt: skip
"""What a run writes. Nothing else in the folder is ever touched."""


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
        # A run that was stopped before its first step leaves its data and no run.json; it may start over. Weights
        # and checkpoints are work, and without run.json nobody knows whose: they are not for us to delete.
        work = [name for name in left if name in ("model.safetensors", "checkpoints")]
        known = self.run is not None or (settings.overwrite and (self.path / "run.json").exists())
        if (left if not settings.resume else work) and not known:
            raise UserError(
                f"{self.path}: holds {(work or left)[0]} but no run.json; choose another --output, "
                "or delete it yourself"
            )

    def _refuse_changes(self) -> None:
        """A resumed run with other settings would be neither the old run nor a new one."""
        assert self.run is not None
        before = self.run.get("settings", {})
        changed = [
            f"{name} was {before.get(name)!r}, now {value!r}"
            for name, value in asdict(self.settings).items()
            if name not in FREE_SETTINGS and before.get(name) != value
        ]
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
        for name in FILES:  # run.json comes first: a crash on the way must not leave it beside half a run.
            entry = self.path / name
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
        for entry in self.prepared.iterdir():
            os.replace(entry, self.path / entry.name)
        self.prepared.rmdir()

    def describe(self, facts: dict[str, Any]) -> None:
        """Write run.json; a resumed run has one already."""
        if not self.resumed:
            settings = asdict(self.settings)
            self.run = {"status": "unfinished", **facts, "settings": settings, "versions": versions()}
            self._write()

    def finish(self, **facts: Any) -> None:
        """Say in run.json that the model is whole."""
        self.run = {**(self.run or {}), **facts, "status": "finished"}
        self._write()

    def _write(self) -> None:
        aside = self.path / "run.json.part"
        with open(aside, "w", encoding="utf-8") as file:
            json.dump(self.run, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, self.path / "run.json")


def versions() -> dict[str, str]:
    """What the run was made with."""
    packages = ("torch", "numpy", "tokenizers", "safetensors")
    return {
        "minimind": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }
