"""What of the machine a result can rest on, and how the site's many processes share its cores.

Two threads that wait for each other on busy cores make small steps up to 70 times slower, so a block runs with one
thread, and whatever the site starts several of waits without spinning.
"""

from __future__ import annotations

import os
from functools import cache

USER = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
"""These variables as the user set them. The training runs alone, and gets them back."""
THREADS = int(os.environ.get("MINIMIND_SITE_THREADS", "1"))
"""How many threads a block computes with."""
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""Variables that switch a processor's newer instructions off; sums come out differently in their last bits."""


def on_startup(command: str, dirty: bool) -> None:
    """Set what this process and those that it starts compute with. It must come before torch is imported."""
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    if USER["OMP_WAIT_POLICY"] is None:
        os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def unlimited() -> dict[str, str]:
    """The environment as the user set it, for a process that has the machine to itself."""
    return {name: value for name, value in os.environ.items() if name not in USER} | {
        name: value for name, value in USER.items() if value is not None
    }


@cache
def arithmetic() -> str:
    """What decides the last bits of a sum: the instructions in use and the number of threads."""
    import torch

    limits = [os.environ.get(name, "") for name in LIMITS]
    return repr([torch.backends.cpu.get_cpu_capability(), *limits, THREADS])


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
