"""Checkpoints: whole or not there, and complete enough to go on exactly."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import arguments, tiny_settings
from torch import nn

import minimind.training.checkpoint as checkpoint_module
from minimind import MiniMind
from minimind.cli import main
from minimind.errors import UserError
from minimind.runs import RunFolder
from minimind.training import Optimizer, load_checkpoint, pretrain, save_checkpoint
from minimind.training.checkpoint import find_checkpoints

POSIX = pytest.mark.skipif(
    os.name != "posix", reason="Windows has other signals, and folders that cannot be synced"
)


def model_and_optimizer(seed: int = 0, width: int = 4) -> tuple[nn.Module, Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))
    return model, Optimizer(model, "muon", 0.1, 0.1)


def take_step(model: nn.Module, optimizer: Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(5, 3)).square().mean().backward()
    optimizer.step()


def test_a_checkpoint_brings_back_weights_moments_and_random_generators(tmp_path):
    model, optimizer = model_and_optimizer()
    take_step(model, optimizer)
    save_checkpoint(tmp_path, model, optimizer, 1, tokens=15)
    drawn = (random.random(), np.random.rand(), torch.rand(1).item())
    take_step(model, optimizer)

    other, other_optimizer = model_and_optimizer(seed=9)
    state = load_checkpoint(tmp_path, other, other_optimizer)
    assert (state["step"], state["tokens"]) == (1, 15)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn
    take_step(other, other_optimizer)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_frozen_weights_are_left_out_and_stay_as_they_are(tmp_path):
    model, optimizer = model_and_optimizer()
    frozen = next(model.parameters()).requires_grad_(False)
    save_checkpoint(tmp_path, model, optimizer, 1)
    kept = load_file(tmp_path / "step-00000001" / "model.safetensors")
    assert sum(weight.numel() for weight in kept.values()) == (
        sum(weight.numel() for weight in model.parameters()) - frozen.numel()
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(7.0)
    load_checkpoint(tmp_path, model, optimizer)
    assert (frozen == 7.0).all()
    assert not any((weight == 7.0).any() for weight in model.parameters() if weight.requires_grad)
    frozen.requires_grad_()
    with pytest.raises(UserError, match=r"another shape \(\S+ is missing"):
        load_checkpoint(tmp_path, model, optimizer)


def test_no_checkpoint_gives_none(tmp_path):
    assert load_checkpoint(tmp_path / "nothing", *model_and_optimizer()) is None


def test_the_previous_checkpoint_is_kept_and_older_ones_go(tmp_path):
    for step in (1, 2, 3, 3, 10):
        save_checkpoint(tmp_path, *model_and_optimizer(), step)
    assert [path.name for path in find_checkpoints(tmp_path)] == ["step-00000010", "step-00000003"]
    assert len(list(tmp_path.iterdir())) == 2


@POSIX
def test_the_folder_appears_only_when_all_files_are_on_the_disk(tmp_path, monkeypatch):
    events = []
    real_fsync, real_rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("fsync"), real_fsync(handle))[1])
    monkeypatch.setattr(os, "rename", lambda *names: (events.append("rename"), real_rename(*names))[1])
    save_checkpoint(tmp_path, *model_and_optimizer(), 1)
    # Three files and their folder; then the rename; then the folder that holds the new name.
    assert events == ["fsync"] * 4 + ["rename", "fsync"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "delete"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, capsys, name, damage):
    model, optimizer = model_and_optimizer()
    save_checkpoint(tmp_path, model, optimizer, 1)
    take_step(model, optimizer)
    path = save_checkpoint(tmp_path, model, optimizer, 2) / name
    data = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        middle = len(data) // 2
        path.write_bytes(
            data[:middle] if damage == "cut" else data[:middle] + b"\xff\xfe" + data[middle + 2 :]
        )
    assert load_checkpoint(tmp_path, model, optimizer)["step"] == 1
    said = capsys.readouterr().err
    assert "step-00000002" in said
    assert "going on from step-00000001" in said
    assert (tmp_path / "damaged-step-00000002").is_dir()  # Nothing is thrown away unasked.


@pytest.mark.parametrize(("name", "value"), [("step", "two"), ("step", 3), ("tokens", None)])
def test_a_state_that_was_edited_counts_as_damaged(tmp_path, capsys, name, value):
    model, optimizer = model_and_optimizer()
    for step in (1, 2):
        save_checkpoint(tmp_path, model, optimizer, step, tokens=step * 100)
    file = tmp_path / "step-00000002" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))
    assert load_checkpoint(tmp_path, model, optimizer)["tokens"] == 100
    assert "state.json changed since it was written" in capsys.readouterr().err


def test_when_all_are_damaged_it_says_so(tmp_path):
    (save_checkpoint(tmp_path, *model_and_optimizer(), 1) / "optimizer.pt").write_bytes(b"")
    with pytest.raises(UserError, match="no checkpoint can be read"):
        load_checkpoint(tmp_path, *model_and_optimizer())


def test_another_optimizer_is_refused_in_a_sentence(tmp_path):
    model, optimizer = model_and_optimizer()
    save_checkpoint(tmp_path, model, optimizer, 1)
    other = torch.optim.SGD([{"params": [weight]} for weight in model.parameters()], lr=0.1)
    with pytest.raises(UserError, match="step-00000001: holds the state of another optimizer"):
        load_checkpoint(tmp_path, model, other)


def test_half_a_checkpoint_of_a_killed_run_goes_when_the_next_one_is_written(tmp_path):
    half = tmp_path / ".writing-00000004"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    save_checkpoint(tmp_path, *model_and_optimizer(), 5)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]


def test_progress_that_json_cannot_hold_leaves_no_trace(tmp_path):
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path, *model_and_optimizer(), 1, numerics=object())
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    save_checkpoint(tmp_path, *model_and_optimizer(), 1)
    with pytest.raises(UserError, match="another shape"):
        load_checkpoint(tmp_path, *model_and_optimizer(width=5))


def test_a_full_disk_leaves_the_checkpoints_before_it(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, *model_and_optimizer(), 1)

    def full(*_args, **_names):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module.torch, "save", full)
    with pytest.raises(UserError, match=r"disk is full.*earlier ones are kept"):
        save_checkpoint(tmp_path, *model_and_optimizer(), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


# Whole runs: stopped in every way, and resumed.


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    """The run that all resumed ones must equal."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert pretrain(tiny_settings(folder, steps=40, accumulation_steps=2)).finished
    return folder


def run_settings(uninterrupted: Path, folder: Path):
    return tiny_settings(
        uninterrupted, output=str(folder), steps=40, accumulation_steps=2, checkpoint_seconds=0
    )


def assert_same_result(uninterrupted: Path, folder: Path) -> None:
    assert (folder / "model.safetensors").read_bytes() == (
        uninterrupted / "run" / "model.safetensors"
    ).read_bytes()
    lines = [[json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
             for path in (folder, uninterrupted / "run")]  # fmt: skip
    steps = [[row["step"] for row in rows] for rows in lines]
    assert steps[0] == steps[1]
    for name in ("tokens", "validation_loss", "learning_rate", "gradient_norm"):
        assert [row[name] for row in lines[0]] == [row[name] for row in lines[1]], name
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"


@POSIX
def test_a_killed_run_ends_with_the_same_weights(uninterrupted, tmp_path):
    settings = run_settings(uninterrupted, tmp_path / "run")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "minimind", "pretrain", *arguments(settings)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    goal = random.randint(5, 30)
    while process.poll() is None and not any(
        int(path.name[5:]) >= goal for path in (tmp_path / "run" / "checkpoints").glob("step-*")
    ):
        time.sleep(0.001)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert pretrain(replace(settings, resume=True)).finished
    assert_same_result(uninterrupted, tmp_path / "run")


class Killed(BaseException):
    """Stands for a kill: no code of ours catches it, and what lies on the disk stays as it is."""


def killed_at_call(function, number: int):
    """The same function, but its call of this number never returns."""
    calls = []

    def call(*args, **names):
        calls.append(1)
        if len(calls) == number:
            raise Killed
        return function(*args, **names)

    return call


def test_a_kill_between_the_files_of_a_checkpoint_costs_one_checkpoint(uninterrupted, tmp_path, monkeypatch):
    settings = run_settings(uninterrupted, tmp_path / "run")
    monkeypatch.setattr(checkpoint_module.torch, "save", killed_at_call(torch.save, 7))
    with pytest.raises(Killed):
        pretrain(settings)
    half = tmp_path / "run" / "checkpoints" / ".writing-00000007"
    assert [path.name for path in half.iterdir()] == ["model.safetensors"]
    assert pretrain(replace(settings, resume=True)).finished
    assert_same_result(uninterrupted, tmp_path / "run")


def test_a_run_whose_newest_checkpoint_is_damaged_ends_with_the_same_weights(
    uninterrupted, tmp_path, monkeypatch, capsys
):
    settings = run_settings(uninterrupted, tmp_path / "run")
    monkeypatch.setattr(Optimizer, "step", killed_at_call(Optimizer.step, 10))
    with pytest.raises(Killed):
        pretrain(settings)
    newest = find_checkpoints(tmp_path / "run" / "checkpoints")[0]
    assert newest.name == "step-00000009"
    (newest / "model.safetensors").write_bytes(b"damaged")
    assert pretrain(replace(settings, resume=True)).finished
    assert "step-00000009" in capsys.readouterr().err
    assert_same_result(uninterrupted, tmp_path / "run")


def test_a_kill_before_the_model_is_written_costs_nothing(uninterrupted, tmp_path, monkeypatch):
    settings = run_settings(uninterrupted, tmp_path / "run")
    monkeypatch.setattr(MiniMind, "save_pretrained", killed_at_call(MiniMind.save_pretrained, 1))
    with pytest.raises(Killed):
        pretrain(settings)
    assert pretrain(replace(settings, resume=True)).finished
    assert_same_result(uninterrupted, tmp_path / "run")


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_leaves_and_resume_goes_on(uninterrupted, tmp_path, monkeypatch, capsys, number):
    folder = tmp_path / "run"
    settings = run_settings(uninterrupted, folder)
    real_step, steps = Optimizer.step, []

    def step(self):
        steps.append(1)
        real_step(self)
        if len(steps) == 9:
            signal.raise_signal(number)

    monkeypatch.setattr(Optimizer, "step", step)
    before = signal.getsignal(number)
    assert main(["pretrain", *arguments(replace(settings, checkpoint_seconds=1000))]) == 128 + number
    assert signal.getsignal(number) is before
    assert [path.name for path in find_checkpoints(folder / "checkpoints")] == ["step-00000009"]
    said = capsys.readouterr().out
    assert f"--output {folder} --resume" in said
    assert json.loads((folder / "run.json").read_text())["status"] == "unfinished"
    assert main(["pretrain", "--output", str(folder), "--resume"]) == 0
    assert len(steps) == 40
    assert_same_result(uninterrupted, folder)


def test_max_seconds_saves_and_leaves_with_zero(uninterrupted, tmp_path, capsys):
    folder = tmp_path / "run"
    settings = run_settings(uninterrupted, folder)
    assert main(["pretrain", *arguments(settings), "--max-seconds", "0"]) == 0
    assert find_checkpoints(folder / "checkpoints")[0].name == "step-00000001"
    assert "go on with" in capsys.readouterr().out
    assert main(["pretrain", "--output", str(folder), "--resume"]) == 0
    assert_same_result(uninterrupted, folder)


def test_resume_before_the_first_checkpoint_starts_over(uninterrupted, tmp_path):
    settings = run_settings(uninterrupted, tmp_path / "run")
    assert pretrain(replace(settings, resume=True)).finished
    assert_same_result(uninterrupted, tmp_path / "run")


@pytest.mark.parametrize("flag", [{}, {"resume": True}, {"overwrite": True}])
def test_a_run_that_was_killed_before_its_first_step_begins_again(
    uninterrupted, tmp_path, monkeypatch, capsys, flag
):
    """The data are in their place already, but nothing says yet what run this is."""
    folder = tmp_path / "run"
    settings = run_settings(uninterrupted, folder)
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "describe", killed_at_call(RunFolder.describe, 1))
        with pytest.raises(Killed):
            pretrain(settings)
    assert (folder / "data").is_dir()
    assert not (folder / "run.json").exists()
    assert pretrain(replace(settings, **flag)).finished
    assert f"{folder}: was stopped before its first step; begins again" in capsys.readouterr().out
    assert not (folder / ".prepare").exists()
    assert_same_result(uninterrupted, folder)


@pytest.mark.parametrize("flag", [{}, {"resume": True}, {"overwrite": True}])
def test_a_folder_of_data_that_is_no_run_is_left_alone(uninterrupted, tmp_path, flag):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds data but no run\.json; choose another --output"):
        pretrain(replace(run_settings(uninterrupted, tmp_path), **flag))
    assert (tmp_path / "data" / "mine.txt").read_text() == "mine"


def test_resume_with_other_settings_names_them(uninterrupted, tmp_path, capsys):
    folder = str(tmp_path / "run")
    settings = replace(run_settings(uninterrupted, tmp_path / "run"), max_seconds=0)
    pretrain(settings)
    assert (
        main(["pretrain", "--output", folder, "--resume", "--learning-rate", "0.5", "--batch_size", "2"]) == 2
    )
    said = capsys.readouterr().err
    assert "learning_rate was None, now 0.5" in said
    assert "batch_size was 4, now 2" in said
    assert said.count("\n") == 1


def test_threads_precision_and_attention_path_are_taken_over(uninterrupted, tmp_path, monkeypatch):
    settings = replace(run_settings(uninterrupted, tmp_path / "run"), threads=None, max_seconds=0)
    pretrain(settings)
    checkpoint = find_checkpoints(tmp_path / "run" / "checkpoints")[0]
    numerics = json.loads((checkpoint / "state.json").read_text())["numerics"]
    assert numerics["threads"] == 1
    seen = []
    real_step = Optimizer.step
    monkeypatch.setattr(
        Optimizer, "step", lambda self: (seen.append(torch.get_num_threads()), real_step(self))
    )
    torch.set_num_threads(2)
    try:
        assert pretrain(replace(settings, max_seconds=None, resume=True)).finished
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert seen == [1] * 39
    assert_same_result(uninterrupted, tmp_path / "run")


def test_rows_after_a_resume_are_means_over_the_same_steps(tmp_path, monkeypatch):
    """A row covers several steps; those before the checkpoint count too. TensorBoard shows each step once."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = tiny_settings(
        tmp_path, steps=310, validate_every=100, sample_tokens=0
    )  # a row each three steps
    whole = pretrain(settings)
    again = replace(settings, output=str(tmp_path / "again"), checkpoint_seconds=0, tensorboard=True)
    with monkeypatch.context() as patched:
        patched.setattr(Optimizer, "step", killed_at_call(Optimizer.step, 12))
        with pytest.raises(Killed):
            pretrain(again)
    newest = find_checkpoints(tmp_path / "again" / "checkpoints")[0]
    shutil.rmtree(newest)  # so that rows of steps after the last checkpoint are there already
    assert find_checkpoints(tmp_path / "again" / "checkpoints")[0].name == "step-00000010"
    resumed = pretrain(replace(again, resume=True))
    assert [row["loss"] for row in resumed.rows] == [row["loss"] for row in whole.rows]
    events = EventAccumulator(str(tmp_path / "again" / "tensorboard"))
    events.Reload()
    assert [point.step for point in events.Scalars("loss")] == [row["step"] for row in whole.rows]
