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
def pretrained():
    """A function from a seed to a folder in which `runs/pretrain` is what `minimind pretrain --seed SEED` makes.

    A model takes a minute. It is kept until the code that it rests on changes.
    """
    from _site import digest

    home = ROOT / ".cache" / "tests" / digest.digest_modules({"minimind.training.pretrain"})[:16]

    def folder(seed: int) -> Path:
        whole = home / str(seed)
        if not whole.is_dir():
            aside = home / f"{seed}.part"
            command = [sys.executable, "-m", "minimind", "pretrain", "--seed", str(seed), "--overwrite"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            aside.mkdir(parents=True, exist_ok=True)
            subprocess.run(command, cwd=aside, env=environment, check=True, capture_output=True)
            aside.rename(whole)
        return whole

    return folder
