"""`minimind doctor`: what this machine has, what a run here would use, and what stands in its way."""

from __future__ import annotations

import io
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "numpy", "tokenizers", "safetensors", "matplotlib", "tyro", "rich")
OPTIONAL = ("tensorboard", "transformers", "mkdocs-material")
FREE_BYTES = 500e6
"""Room that a default run needs, with its checkpoints, and some to spare."""
MEASURED_SECONDS = 2.0
"""Training that the forecast of a default run rests on."""
PREPARING_SECONDS, LOOKS_SHARE = 6.0, 0.1
"""What a default run takes beside its steps, as seen on two cores: for tokenizer and data, and for its looks at the
held-out documents as a share of the steps' time."""


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
    from .training.numerics import present_threads

    device = choose_device()
    fast = supports_bfloat16(device)
    threads, cores = torch.get_num_threads(), _own_cores()
    if device.type == "cpu" and threads > cores:
        problems.append(
            f"{threads} threads on {cores} cores slow each other down; set OMP_NUM_THREADS={cores}"
        )
    print("measuring two seconds of training …", file=sys.stderr, flush=True)
    facts = {
        "device": device.type,
        "device_reason": describe_device(device),
        "threads": threads,
        "bfloat16": fast,
    }
    try:
        step_seconds, numerics = measure_training(device, MEASURED_SECONDS)
    except (RuntimeError, NotImplementedError) as error:  # a GPU that this torch cannot use, and the like
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        problems.append(
            f"training on {device.type} fails: {reason}; `minimind pretrain --device cpu` may work"
        )
        return facts
    return {
        **facts,
        "default_run": {
            **numerics,
            "busy": present_threads(numerics) < numerics["threads"],
            "seconds": round(default_run_seconds(step_seconds), 1),
        },
    }


def measure_training(device: torch.device, seconds: float) -> tuple[list[float], dict[str, Any]]:
    """Train the nano model on random tokens for a moment, in the loop that `minimind pretrain` runs.

    Args:
        device: where.
        seconds: how long.

    Returns:
        Seconds of each step, and how the numbers were computed.
    """
    import numpy as np
    import torch

    from .config import ModelConfig
    from .model import MiniMind
    from .settings import PretrainSettings
    from .training import RowBatches, causal_language_model, fit

    # A hundred steps: one row of measurements each.
    settings = PretrainSettings(steps=100, max_seconds=seconds, device=device.type, sample_tokens=0)
    config = ModelConfig.preset("nano")
    shape = (16 * settings.batch_size, settings.max_seq_len)
    ids = np.random.default_rng(0).integers(3, config.vocab_size, shape)
    columns = {
        "input_ids": ids,
        "labels": ids,
        "document_ids": np.arange(shape[1])[None].repeat(shape[0], axis=0) // 64,
    }
    torch.manual_seed(0)
    model = MiniMind(config).to(device)
    with redirect_stdout(io.StringIO()):
        result = fit(model, RowBatches(columns, settings.batch_size), causal_language_model, settings)
    ends = [row["seconds"] for row in result.rows]
    return [end - start for start, end in zip([0.0, *ends], ends, strict=False)], result.numerics


def default_run_seconds(step_seconds: Sequence[float]) -> float:
    """How long `minimind pretrain` takes, if its steps take as long as these.

    Args:
        step_seconds: seconds of each step; the first is left out where there are more, because no later one is as slow.
    """
    from .settings import WORLD_STEPS

    step = statistics.median(step_seconds[1:] or step_seconds)
    return PREPARING_SECONDS + WORLD_STEPS * step * (1 + LOOKS_SHARE)


def report(facts: dict[str, Any]) -> str:
    """The facts as lines to read."""
    from .progress import counted, minutes

    packages = {**facts["packages"], **facts["optional_packages"]}
    lines = [
        f"python     {facts['python']} on {facts['system']}, {facts['cores']} cores",
        "packages   " + ", ".join(f"{name} {number or '–'}" for name, number in packages.items()),
        f"folder     {facts['folder']}, {facts['free_gigabytes']} GB free"
        + ("" if facts["writable"] else ", not writable"),
    ]
    if "device" in facts:
        lines += [
            f"device     {facts['device_reason']}",
            f"bf16       {'yes' if facts['bfloat16'] else 'no instructions for it here'}",
        ]
    if run := facts.get("default_run"):
        lines += [
            f"minimind pretrain would use {run['precision']}, attention {run['attention_path']}, "
            f"{counted(run['changed_threads'][-1][1] if run['busy'] else run['threads'], 'thread')}, "
            f"and take about {minutes(run['seconds'])}"
            + (" while another program is busy, as now" if run["busy"] else ""),
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
