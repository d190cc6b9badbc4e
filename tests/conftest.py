"""What several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))


@pytest.fixture(scope="session")
def pretrained(made_once):
    """A function from a seed to a folder in which `runs/pretrain` is what `minimind pretrain --seed SEED` makes.

    A model takes a minute. It is kept until the code that it rests on changes.
    """
    from _site import digest

    home = ROOT / ".cache" / "tests" / digest.digest_modules({"minimind.training.pretrain"})[:16]

    def pretrain(aside: Path, seed: int) -> None:
        command = [sys.executable, "-m", "minimind", "pretrain", "--seed", str(seed), "--overwrite"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=aside, env=environment, check=True, capture_output=True)

    return lambda seed: made_once(home / str(seed), lambda aside: pretrain(aside, seed))
