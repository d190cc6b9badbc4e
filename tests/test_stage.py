"""The frame of a stage carries others than pretraining: rollouts, float columns, figures of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import second_stage as module
import torch
from second_stage import second_stage
from test_checkpoint import POSIX
from tiny_runs import arguments

from minimind import MiniMind
from minimind.settings import TrainingSettings
from minimind.training.checkpoint import find_checkpoints


def settings_for(folder: Path) -> TrainingSettings:
    return TrainingSettings(
        output=str(folder), steps=40, validate_every=20, checkpoint_seconds=0, device="cpu", threads=1
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("second") / "run"
    assert second_stage(settings_for(folder)).finished
    return folder


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_result(one: Path, other: Path) -> None:
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    times = {"seconds", "tokens_per_second"}
    first, second = (
        [{k: v for k, v in row.items() if k not in times} for row in rows_of(f)] for f in (one, other)
    )
    assert first == second


def test_figures_go_by_their_own_names(uninterrupted, capsys):
    rows = rows_of(uninterrupted)
    assert rows[-1]["reward"] > 0.5 > 0.2 > rows[0]["reward"]  # it learns what it is rewarded for
    assert rows[-1]["best_logit"] > rows[0].get("best_logit", 0)
    assert "perplexity" not in rows[-1]
    report = (uninterrupted / "report.html").read_text()
    assert "<th>reward</th>" in report
    assert "<th>best logit</th>" in report
    assert "what the model writes" in report
    assert MiniMind.from_pretrained(uninterrupted).config.vocab_size == 16


def test_the_progress_line_shows_them(tmp_path, capsys):
    second_stage(replace(settings_for(tmp_path / "run"), steps=4, validate_every=2))
    said = capsys.readouterr().out
    last = next(line for line in said.splitlines() if line.startswith("step 4/4"))
    assert " · reward 0." in last
    assert " · best logit " in last
    assert "perplexity" not in said


@POSIX
def test_a_killed_run_of_the_second_stage_ends_with_the_same_weights(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    settings = settings_for(folder)
    command = [sys.executable, module.__file__, *arguments(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None and not any(
        int(path.name[5:]) >= 7 for path in (folder / "checkpoints").glob("step-*")
    ):
        time.sleep(0.001)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert 7 <= int(find_checkpoints(folder / "checkpoints")[0].name[5:]) < 40
    assert second_stage(replace(settings, resume=True)).finished
    assert_same_result(folder, uninterrupted)


def test_the_second_stage_is_short():
    source = Path(module.__file__).read_text()
    code = [line for line in source.splitlines() if line and not line.startswith(("import", "from", '"""'))]
    assert len(code) < 40
