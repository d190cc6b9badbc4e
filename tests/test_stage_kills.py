"""`minimind sft` and `minimind lora` are killed at any moment, and end with the same bytes all the same."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import tiny_stages
from test_checkpoint import POSIX
from test_stage import assert_same_result, start, wait_until

from minimind.runs import read_run
from minimind.settings import FineTuneSettings, LoraSettings, SftSettings

pytestmark = [POSIX, pytest.mark.slow]

STEPS = 16


@dataclass
class Stage:
    """A stage, and a run of it that nobody has disturbed."""

    verb: str
    settings: type[FineTuneSettings]
    base: str
    weights: str
    whole: Path = Path()

    def settings_for(self, folder: Path) -> FineTuneSettings:
        return self.settings(
            output=str(folder), from_weight=self.base, steps=STEPS, batch_size=2, max_seq_len=128,
            validation_documents=8, validate_every=8, sample_tokens=4, checkpoint_seconds=0.2,
            resume=True, device="cpu", threads=1,
        )  # fmt: skip

    def start(self, folder: Path) -> subprocess.Popen:
        return start([tiny_stages.__file__, self.verb], self.settings_for(folder))

    def finish(self, folder: Path) -> None:
        """Go on to the end; nothing but the times may differ from the run that nobody has disturbed."""
        process = self.start(folder)
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
        assert read_run(folder)["status"] == "finished"
        assert_same_result(folder, self.whole, self.weights)


@pytest.fixture(
    scope="module",
    params=[
        ("sft", SftSettings, "shipped/pretrain", "model.safetensors"),
        ("lora", LoraSettings, "shipped/full_sft", "adapter_model.safetensors"),
    ],
    ids=["sft", "lora"],
)
def stage(request, tmp_path_factory) -> Stage:
    stage = Stage(*request.param)
    folder = tmp_path_factory.mktemp(stage.verb) / "run"
    _, errors = (process := stage.start(folder)).communicate()
    assert process.returncode == 0, errors.decode()
    return replace(stage, whole=folder)


def preparing(folder: Path, part: str = "") -> Callable[[], bool]:
    """Whether the process that is started next has begun this part of the preparation, which it makes anew."""
    path = folder / ".prepare" / part
    before = path.stat().st_ino if path.exists() else None
    return lambda: path.exists() and path.stat().st_ino != before


def stepped(folder: Path, step: int) -> Callable[[], bool]:
    """Whether the process that is started next has done a step, or found it done; each step writes a row."""
    path = folder / "metrics.jsonl"
    before = path.stat().st_mtime_ns if path.exists() else None

    def happened() -> bool:
        if not path.exists() or path.stat().st_mtime_ns == before:
            return False
        lines = path.read_text().splitlines()
        return bool(lines) and lines[-1].endswith("}") and json.loads(lines[-1])["step"] >= step

    return happened


def test_a_run_that_is_killed_at_ten_random_moments_ends_with_the_same_bytes(stage, tmp_path):
    draw, folder = random.Random(stage.verb), tmp_path / "run"
    steps = sorted(draw.sample(range(1, STEPS - 2), 3))
    # What is waited for, and how many seconds may pass then: less than is left, also on a fast machine.
    moments = [(preparing, part, 0.3) for part in ("", "data/rows", "data/answers")]
    moments += [(stepped, step, 0.1) for step in steps]
    moments += [(stepped, STEPS - 1, 0.3)] * 2  # the last step, and what is measured after it
    moments += [(stepped, STEPS, 0.05)] * 2  # the last checkpoint, and the files of the model
    killed = 0
    for event, place, seconds in moments:
        happened = event(folder, place)
        process = stage.start(folder)
        wait_until(happened, process)
        time.sleep(draw.uniform(0, seconds))
        process.kill()
        _, errors = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), errors.decode()
        killed += process.returncode != 0
    assert killed >= 6  # Where the machine is busy, the last ones may come too late.
    stage.finish(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_saves_leaves_and_goes_on(stage, tmp_path, number):
    folder = tmp_path / "run"
    happened = stepped(folder, 3)
    process = stage.start(folder)
    wait_until(happened, process)
    process.send_signal(number)
    said, errors = process.communicate()
    assert process.returncode == 128 + number, errors.decode()
    assert f"({number.name}), saved; go on with --output {folder} --resume" in said.decode()
    assert "Traceback" not in errors.decode()
    assert read_run(folder)["status"] == "unfinished"
    assert (folder / stage.weights).exists()
    stage.finish(folder)


def test_a_stop_while_the_data_are_prepared_leaves_nothing(stage, tmp_path):
    folder = tmp_path / "runs" / "run"
    happened = preparing(folder)
    process = stage.start(folder)
    wait_until(happened, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGINT, errors.decode()
    assert errors.decode().endswith("\ninterrupted\n")
    assert "Traceback" not in errors.decode()
    assert not folder.parent.exists()
