"""The command: help, names, statuses."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import minimind
from minimind import sampling, settings
from minimind.arguments import parse
from minimind.cli import VERBS, main
from minimind.doctor import LOOKS_SHARE, PREPARING_SECONDS, default_run_seconds
from minimind.progress import minutes

PYTHON = [sys.executable, "-m", "minimind"]


def test_help_lists_all_commands_without_importing_torch():
    code = """
import sys, minimind, minimind.config, minimind.settings, minimind.errors, minimind.device
from minimind.cli import main
calls = ["--help"], ["--version"], ["pretrain", "--help"], ["pretrain", "--nothing"], ["x"]
assert [main(call) for call in calls] == [0, 0, 0, 2, 2]
heavy = {"torch", "numpy", "transformers", "tokenizers", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for verb in VERBS:
        assert f"  {verb} " in ran.stdout
    assert f"minimind {minimind.__version__}" in ran.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_command_is_complete(verb, capsys):
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    kind = VERBS[verb][0]
    files = [Path(sampling.__file__), *sorted(Path(settings.__file__).parent.glob("*.py"))]
    lines = [line for file in files for line in file.read_text().splitlines()]
    for field in fields(kind):
        assert field.name.replace("_", "-") in said.lower() or field.name in ("run", "what", "module")
        declared = next(n for n, line in enumerate(lines) if line.startswith(f"    {field.name}: "))
        assert lines[declared + 1].startswith('    """'), f"{field.name} has no help"
    assert kind.__doc__.splitlines()[0] in said


def test_help_of_pretraining_says_what_from_where_and_to_where_first(capsys):
    assert main(["pretrain", "--help"]) == 0
    said = capsys.readouterr().out
    titles = re.findall(r"^\W*(\w+) options\b", said, flags=re.MULTILINE)
    assert titles == ["model", "vocabulary", "data", "output", "length", "optimizer", "machine", "watch"]
    places = [
        said.index(flag) for flag in ("--preset", "--data-path", "--output", "--steps", "--tensorboard")
    ]
    assert places == sorted(places)


def test_dashes_and_underscores_are_the_same():
    one = parse(settings.PretrainSettings, ["--hidden-size", "64", "--batch-size", "3"], "x")
    two = parse(settings.PretrainSettings, ["--hidden_size", "64", "--batch_size", "3"], "x")
    assert one == two
    assert (one.hidden_size, one.batch_size) == (64, 3)


def test_a_typo_names_the_nearest(capsys):
    assert main(["pretrian"]) == 2
    assert "did you mean 'pretrain'?" in capsys.readouterr().err
    assert main(["pretrain", "--hiden-size", "64"]) == 2
    assert "--hidden-size" in capsys.readouterr().err


def test_a_wrong_value_names_the_flag(capsys):
    assert main(["pretrain", "--batch-size", "many"]) == 2
    assert "--batch-size" in capsys.readouterr().err


def test_ctrl_c_leaves_without_a_traceback(monkeypatch, capsys):
    def interrupted(given):
        raise KeyboardInterrupt

    monkeypatch.setitem(VERBS, "doctor", (settings.DoctorSettings, interrupted))
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_out_of_memory_says_what_to_lower(monkeypatch, capsys):
    def exhausted(given):
        raise MemoryError

    monkeypatch.setitem(VERBS, "pretrain", (settings.PretrainSettings, exhausted))
    assert main(["pretrain"]) == 2
    assert "lower --batch-size or --max-seq-len or --hidden-size" in capsys.readouterr().err
    monkeypatch.setitem(VERBS, "generate", (settings.GenerateSettings, exhausted))
    assert main(["generate"]) == 2
    assert "lower --max-new-tokens" in capsys.readouterr().err  # and no flag that this command has not


def test_a_bug_keeps_its_traceback(monkeypatch):
    def broken(given):
        raise RuntimeError("a bug of ours")

    monkeypatch.setitem(VERBS, "doctor", (settings.DoctorSettings, broken))
    with pytest.raises(RuntimeError, match="a bug of ours"):
        main(["doctor"])


def test_doctor_names_device_precision_and_problems(capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] in ("cuda", "mps", "cpu")
    assert found["default_run"]["precision"] in ("bf16", "fp32")
    assert found["default_run"]["seconds"] > 6
    assert found["packages"]["torch"]
    assert isinstance(found["problems"], list)
    assert main(["doctor"]) == 0
    assert found["device_reason"].split()[0] in capsys.readouterr().out


def test_a_default_run_is_forecast_from_its_steps():
    looks_and_steps = 640 * 0.1 * (1 + LOOKS_SHARE)
    assert default_run_seconds([0.5, 0.1, 0.1, 0.4, 0.1]) == pytest.approx(
        PREPARING_SECONDS + looks_and_steps
    )
    assert default_run_seconds([0.1]) == pytest.approx(PREPARING_SECONDS + looks_and_steps)


def test_doctor_says_when_another_program_is_busy(capsys, monkeypatch):
    numerics = {"precision": "fp32", "attention_path": "sdpa", "threads": 2, "changed_threads": [[0, 1]]}
    monkeypatch.setattr("minimind.doctor.measure_training", lambda device, seconds: ([0.1], numerics))
    main(["doctor"])
    said = capsys.readouterr()
    takes = minutes(default_run_seconds([0.1]))
    assert f"1 thread, and take about {takes} while another program is busy, as now" in said.out
    assert said.err == "measuring two seconds of training …\n"


def test_doctor_says_when_the_folder_cannot_be_written(monkeypatch, capsys):
    def refused(**names):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    main(["doctor"])
    assert "problem: cannot write" in capsys.readouterr().out


def write_module(folder: Path, **scripts: str) -> None:
    module = folder / "snippets" / "a_module"
    module.mkdir(parents=True)
    for name, text in scripts.items():
        (module / f"{name}.py").write_text(text)


def test_run_runs_the_core_scripts_in_order(tmp_path, monkeypatch, capfd):
    text = '"""About.\n\nTier: {} · {} · about 1 s\n"""\nprint("this is {}")\n'
    write_module(
        tmp_path,
        exp2_b=text.format("visualization", "core", "b"),
        exp1_a=text.format("visualization", "core", "a"),
        exp3_c=text.format("training", "core", "c"),
        exp4_d=text.format("visualization", "extra", "d"),
    )
    monkeypatch.chdir(tmp_path)
    assert main(["run", "a-module"]) == 0
    said = capfd.readouterr().out
    assert (
        said.index("exp1_a.py · visualization · about 1 s")
        < said.index("this is a")
        < said.index("this is b")
    )
    assert "this is c" not in said
    assert "this is d" not in said
    assert main(["run", "a_module", "--all"]) == 0
    said = capfd.readouterr().out
    assert said.index("this is b") < said.index("this is c") < said.index("this is d")


def test_run_stops_at_the_script_that_fails(tmp_path, monkeypatch, capfd):
    header = '"""About.\n\nTier: visualization · core · about 1 s\n"""\n'
    write_module(tmp_path, exp1=header + "raise SystemExit(3)", exp2=header + "print('not reached')")
    monkeypatch.chdir(tmp_path)
    assert main(["run", "a_module"]) == 3
    said = capfd.readouterr()
    assert "exp1.py failed" in said.err
    assert "not reached" not in said.out


def test_run_names_the_nearest_module(capsys):
    assert main(["run", "normalisation"]) == 2
    assert "did you mean 'normalization'?" in capsys.readouterr().err


def test_a_stage_is_also_a_module(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "minimind.training.pretrain", "--output", str(tmp_path), "--preset", "huge"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 2
    assert ran.stderr == "error: no preset named 'huge'; there are nano, tiny, small, base, medium\n"
