"""Where a trained model is found: a reader's own run by its path or its name, else a model that comes along.

`minimind/shipped/` holds the embedded world's model, so that a page can look inside one that is the same on every
machine, and `minimind generate` answers before anything was trained. What a reader trained comes first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import UserError

SHIPPED = Path(__file__).parent / "shipped"
"""One folder a model that comes with the package, each a run's folder with its card, README.md."""
OTHER_NAMES = {"full_sft": "sft"}
"""Names under which the original MiniMind knows a run."""


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
        if (folder / "config.json").is_file():  # A run that still trains, or was killed, has none yet.
            return folder
    shipped = SHIPPED / words.removeprefix("shipped/")
    if words.removeprefix("shipped/") in shipped_names():
        return shipped
    for folder in (Path(words), own):
        if folder.is_dir():
            return folder  # Whoever opens it says what it lacks.
    near = ", ".join(f"shipped/{one}" for one in shipped_names())
    raise UserError(
        f"{words}: no such run, neither as a folder nor under runs/; train one with `minimind pretrain`"
        + (f", or take one that comes with the package: {near}" if near else "")
    )


def shipped_names() -> list[str]:
    """The names of the models that come with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/config.json"))


def is_shipped(folder: str | Path) -> bool:
    """Whether a folder is one of the models that come with the package."""
    return Path(folder).resolve().parent == SHIPPED.resolve()


def describe_run(folder: str | Path) -> str:
    """A run in a few words: its path, or that it comes with the package."""
    if is_shipped(folder):
        name = Path(folder).name
        own = Path("runs") / name
        unfinished = own.is_dir() and not (own / "config.json").is_file()
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
            f"{folder / 'run.json'}: damaged; choose another --output, or --overwrite to start over"
        )
    return run
