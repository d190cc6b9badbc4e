"""Checkpoints: everything that a run needs to go on exactly as if it had never stopped.

A checkpoint is a folder, `step-00000123`. It is written under another name, forced to the disk, and then
renamed. A rename happens or it does not, so at every moment each folder of that name is complete, even if the
power fails. The one before it is kept, should the newest be damaged later.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import UserError

KEPT = 2
"""Checkpoints that stay on the disk: the newest, and one to fall back to."""


class HasState(Protocol):
    """Anything with a state to keep, such as an optimizer."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def save_checkpoint(
    folder: str | Path, model: nn.Module, optimizer: HasState, step: int, **progress: Any
) -> Path:
    """Write one checkpoint, atomically, and delete those before the previous one.

    Args:
        folder: the run's `checkpoints` folder.
        model: its weights are stored in full precision, whatever the products were computed in. Frozen ones are not:
            they are what they were at the start, so whoever resumes makes the model with them.
        optimizer: its moments are stored as they are.
        step: updates made so far. It is also the position in the data and in the schedule, which follow from
            it.
        **progress: anything else that JSON can hold and the run wants back.

    Returns:
        The folder of this checkpoint.
    """
    folder = Path(folder)
    final = folder / f"step-{step:08d}"
    aside = folder / f".writing-{step:08d}"
    json.dumps(progress)  # What JSON cannot hold is refused before anything is written.
    try:
        for half in folder.glob(".writing-*"):  # of a run that was killed
            shutil.rmtree(half, ignore_errors=True)
        aside.mkdir(parents=True)
        _write_files(aside, model, optimizer, {"step": step, **progress})
        if final.exists():
            shutil.rmtree(final)
        os.rename(aside, final)
        _force_to_disk(folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise UserError(
            f"{final}: the checkpoint cannot be written ({_reason(error)}); earlier ones are kept"
        ) from None
    for old in find_checkpoints(folder)[KEPT:]:
        shutil.rmtree(old)
    return final


def _write_files(folder: Path, model: nn.Module, optimizer: HasState, state: dict[str, Any]) -> None:
    """Write the three files of a checkpoint and wait until they are on the disk."""
    names = ("model.safetensors", "optimizer.pt")
    save_file({name: tensor.contiguous() for name, tensor in changing(model).items()}, folder / names[0])
    torch.save({"optimizer": optimizer.state_dict(), "random": _random_state()}, folder / names[1])
    state = {**state, "digests": {name: _digest(folder / name) for name in names}}
    state["digest"] = _digest_of(state)
    (folder / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        _force_to_disk(path)


def load_checkpoint(folder: str | Path, model: nn.Module, optimizer: HasState) -> dict[str, Any] | None:
    """Put model, optimizer and random generators back to where the newest intact checkpoint left them.

    A damaged checkpoint is named on stderr and renamed, and the one before it is taken.

    Args:
        folder: the run's `checkpoints` folder.
        model: takes the weights.
        optimizer: takes the moments.

    Returns:
        What `save_checkpoint` was given: `step` and the rest. None if there is no checkpoint yet.

    Raises:
        UserError: if checkpoints are there but none can be read, or it holds a model of another shape.
    """
    folder = Path(folder)
    damaged: dict[Path, str] = {}
    for path in find_checkpoints(folder):
        try:
            state = read_state(path)
        except UserError as error:
            damaged[path] = str(error)
            continue
        for other, words in damaged.items():
            print(f"{words}; set aside, going on from {path.name}", file=sys.stderr)
            os.rename(other, other.with_name(f"damaged-{other.name}"))
        weights, here = load_file(path / "model.safetensors"), changing(model)
        for name in sorted(weights.keys() | here.keys()):
            found, expected = (tuple(of[name].shape) if name in of else "missing" for of in (weights, here))
            if found != expected:
                raise UserError(
                    f"{path}: holds a model of another shape ({name} is {found}, here it is {expected})"
                )
        model.load_state_dict(weights, strict=False)
        stored = torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)
        try:
            optimizer.load_state_dict(stored["optimizer"])
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: holds the state of another optimizer ({error})") from None
        _restore_random_state(stored["random"])
        return state
    if damaged:
        raise UserError(
            f"{'; '.join(damaged.values())}; no checkpoint can be read, start over with --overwrite"
        )
    return None


def changing(model: nn.Module) -> dict[str, Tensor]:
    """What training may change, by name: parameters that are not frozen, each once, and buffers."""
    learned = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    kept = model.state_dict()
    return learned | {name: buffer for name, buffer in model.named_buffers() if name in kept}


def find_checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints of a run, newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def read_state(path: Path) -> dict[str, Any]:
    """Read the JSON of a checkpoint and check that its files are the ones that were written.

    Raises:
        UserError: if a file is missing or has changed.
    """
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        damaged = [name for name, digest in state["digests"].items() if _digest(path / name) != digest]
        if state.pop("digest") != _digest_of(state):
            damaged.append("state.json")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: not a whole checkpoint") from None
    if damaged:
        raise UserError(f"{path}: {' and '.join(damaged)} changed since it was written")
    return state


def _reason(error: Exception) -> str:
    """Why a file could not be written. Libraries wrap the system's answer in words of their own."""
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in str(error):
        return "the disk is full; free some space and resume"
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _force_to_disk(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk and not only in the system's memory."""
    if path.is_dir() and os.name != "posix":
        return  # Windows cannot open a folder; a rename is written through there.
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _random_state() -> dict[str, Any]:
    """Where each random generator stands, in types that torch loads without running code."""
    version, numbers, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": [version, list(numbers), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _restore_random_state(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
