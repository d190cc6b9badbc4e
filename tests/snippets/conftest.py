"""How the tests run a script of snippets/: as a reader does, in a folder of its own."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).resolve().parents[2]
PATHS = {path.stem: path for path in (ROOT / "snippets").glob("*/*.py")}
"""The scripts by their names, of which no two are the same."""


def run_script(name: str, *arguments: str) -> dict[str, Any]:
    """Run a script with these arguments; gives the names that it defined."""
    plt.switch_backend("Agg")
    with pytest.MonkeyPatch.context() as patch, plt.rc_context():
        patch.setattr(sys, "argv", [str(PATHS[name]), *arguments])
        return runpy.run_path(str(PATHS[name]), run_name="__main__")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`run_script`, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return run_script


@pytest.fixture(scope="module")
def run_once() -> Callable[..., dict[str, Any]]:
    """`run_script` for what all tests of a file look at: a script that writes nothing."""
    return run_script
