"""`minimind doctor`: what this machine has, what a run here would use, and what stands in its way."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "tokenizers", "safetensors", "matplotlib", "tyro", "rich")
OPTIONAL = ("tensorboard", "transformers", "mkdocs-material")
FREE_BYTES = 500e6
"""Room that a default run needs, with its checkpoints, and some to spare."""


def examine() -> dict[str, Any]:
    """Look at the machine.

    Returns:
        Facts by name, and under `problems` a list of lines, each with what to do.
    """
    problems = []
    if sys.version_info < (3, 11, 5):
        problems.append(f"Python {platform.python_version()} is too old; install 3.11.5 or newer")
    found = {package: _version(package) for package in PACKAGES}
    missing = [package for package, number in found.items() if number is None]
    if missing:
        problems.append(f"not installed: {', '.join(missing)}; run `pip install minimind` again")
    free = shutil.disk_usage(".").free
    if free < FREE_BYTES:
        problems.append(f"only {free / 1e6:.0f} MB free here; a run needs {FREE_BYTES / 1e6:.0f} MB")
    writable = _can_write(Path("."))
    if not writable:
        problems.append(f"cannot write in {Path('.').resolve()}; go to a folder of your own, or use --output")
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "folder": str(Path(".").resolve()),
        "writable": writable,
        "free_gigabytes": round(free / 1e9, 1),
        "cores": os.cpu_count(),
        "packages": found,
        "optional_packages": {package: _version(package) for package in OPTIONAL},
    }
    if found["torch"] is not None:
        facts |= _examine_torch(problems)
    return {**facts, "problems": problems}


def _examine_torch(problems: list[str]) -> dict[str, Any]:
    import torch

    from .device import choose_device, describe_device, supports_bfloat16
    from .settings import PretrainSettings
    from .training.numerics import choose_numerics

    device = choose_device()
    fast = supports_bfloat16(device)
    threads, cores = torch.get_num_threads(), _own_cores()
    if device.type == "cpu" and threads > cores:
        problems.append(
            f"{threads} threads on {cores} cores slow each other down; set OMP_NUM_THREADS={cores}"
        )
    return {
        "device": device.type,
        "device_reason": describe_device(device),
        "threads": threads,
        "bfloat16": fast,
        "default_run": {
            **choose_numerics(PretrainSettings(), device),
            "takes": _expected(device.type, fast, threads),
        },
    }


def _expected(kind: str, bfloat16: bool, threads: int) -> str:
    """How long a default run takes: a rough word from what was seen, not a measurement of this machine."""
    if kind != "cpu":
        return "under a minute"
    if bfloat16:
        return "about a minute" if threads >= 2 else "about two minutes"
    return "some two to four minutes (no bf16 instructions, so fp32)"


def report(facts: dict[str, Any]) -> str:
    """The facts as lines to read."""
    packages = {**facts["packages"], **facts["optional_packages"]}
    lines = [
        f"python     {facts['python']} on {facts['system']}, {facts['cores']} cores",
        "packages   " + ", ".join(f"{name} {number or '–'}" for name, number in packages.items()),
        f"folder     {facts['folder']}, {facts['free_gigabytes']} GB free"
        + ("" if facts["writable"] else ", not writable"),
    ]
    if "device" in facts:
        run = facts["default_run"]
        lines += [
            f"device     {facts['device_reason']}",
            f"bf16       {'yes' if facts['bfloat16'] else 'no instructions for it here'}",
            f"minimind pretrain would use {run['precision']}, attention {run['attention_path']}, "
            f"{run['threads']} threads, and take {run['takes']}",
        ]
    lines += [f"problem: {problem}" for problem in facts["problems"]] or ["no problems found"]
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _own_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
