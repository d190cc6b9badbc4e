"""What is slow is left out and counted, whether in one process or in several."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = "[pytest]\nmarkers = slow: takes long\naddopts = -p no:cacheprovider\n"
TESTS = """import os
import pytest

@pytest.mark.slow
def test_slow():
    pass

@pytest.mark.parametrize("number", range(6))
def test_quick(number):
    assert os.environ["OMP_NUM_THREADS"] == "1"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with our conftest.py, and two files of tests."""
    shutil.copy(ROOT / "tests/conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    for name in ("one", "two"):
        (tmp_path / f"test_{name}.py").write_text(TESTS)
    return tmp_path


def run(place: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    command = [sys.executable, "-m", "pytest", *arguments]
    done = subprocess.run(
        command, cwd=place, env=environment | {"OMP_NUM_THREADS": "7"}, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("how", [["-n", "2"], ["-p", "no:xdist"]], ids=" ".join)
def test_slow_tests_are_left_out_and_counted(place: Path, how: list[str]) -> None:
    said = run(place, *how)
    assert "2 slow tests were left out; to run them: pytest -m slow" in said, said
    assert "12 passed" in said


def test_slow_tests_run_when_asked_for(place: Path) -> None:
    for asked, count in ((["-m", "slow"], 2), (["test_one.py::test_slow"], 1)):
        said = run(place, "-n", "0", *asked)
        assert f"{count} passed" in said, said
        assert "left out" not in said
