"""The frame of a stage carries others than pretraining: rollouts, float columns, figures of their own."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import second_stage as module
import torch
import weighted_stage as weighted_module
from second_stage import second_stage
from test_checkpoint import POSIX
from tiny_runs import WORDS, arguments
from weighted_stage import weighted_stage

from minimind import MiniMind
from minimind.errors import UserError
from minimind.settings import CorpusSettings, PretrainSettings, TrainingSettings
from minimind.training import RowBatches, pretrain
from minimind.training.checkpoint import find_checkpoints
from minimind.training.corpus import open_corpus


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


def assert_same_result(one: Path, other: Path, weights: str = "model.safetensors") -> None:
    assert (one / weights).read_bytes() == (other / weights).read_bytes()
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


def start(words: Sequence[str], settings: TrainingSettings) -> subprocess.Popen:
    """Start a stage in a process of its own; what comes before its settings on the command line is given."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words, *arguments(settings)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell starts what runs behind it with Ctrl-C switched off, and that is handed on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(happened: Callable[[], bool], process: subprocess.Popen) -> None:
    """Look again and again, until something has happened or the process has ended."""
    while process.poll() is None and not happened():
        time.sleep(0.001)


def kill_on_the_way(script: str, settings: TrainingSettings) -> None:
    """Start a stage, a file or a module, and kill it between its steps 7 and 40."""
    folder = Path(settings.output)
    process = start([script] if script.endswith(".py") else ["-m", script], settings)
    kept = (folder / "checkpoints").glob
    wait_until(lambda: any(int(path.name[5:]) >= 7 for path in kept("step-*")), process)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert 7 <= int(find_checkpoints(folder / "checkpoints")[0].name[5:]) < 40


@POSIX
def test_a_killed_run_of_the_second_stage_ends_with_the_same_weights(uninterrupted, tmp_path):
    settings = settings_for(tmp_path / "run")
    kill_on_the_way(module.__file__, settings)
    assert second_stage(replace(settings, resume=True)).finished
    assert_same_result(tmp_path / "run", uninterrupted)


def weighted_settings(folder: Path) -> CorpusSettings:
    """Settings of a run on texts with a weight each, of which one text comes with two weights, many times."""
    draw = random.Random(1)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(4, 20))) for _ in range(200)]
    rows = [{"text": text, "weight": draw.choice([-0.7, 1.3])} for text in texts]
    rows += [{"text": "the cat sees", "weight": weight} for weight in (-0.7, 0.1, 0.1, -0.7, -0.7)]
    folder.mkdir(exist_ok=True)
    data = folder / "weighted.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {"data_path": str(data), "max_seq_len": 128, "validation_documents": 8}
    return CorpusSettings(**{**vars(settings_for(folder / "run")), **changes})


@pytest.fixture(scope="module")
def weighted_run(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("weighted")
    assert weighted_stage(weighted_settings(folder)).finished
    return folder


def test_a_weight_arrives_from_the_file_in_the_batch_to_the_bit(weighted_run):
    rows = [json.loads(line) for line in (weighted_run / "weighted.jsonl").read_text().splitlines()]
    corpus = open_corpus(weighted_run / "run")
    assert corpus.rows["weights"].dtype == np.float32
    batches = RowBatches(corpus.rows, batch_size=4, epochs=1)
    met: Counter[tuple[str, float]] = Counter()
    for batch in (one for step in range(batches.step_count) for one in batches.of_step(step)):
        for ids, owners, weights in zip(
            batch["input_ids"], batch["document_ids"], batch["weights"], strict=True
        ):
            assert not weights[owners < 0].any()
            for owner in range(int(owners.max()) + 1):
                (weight,) = set(weights[owners == owner].tolist())
                met[corpus.tokenizer.decode(ids[owners == owner].tolist()[1:-1]), weight] += 1
    held_out = {corpus.tokenizer.decode(list(document.ids[1:-1])) for document in corpus.held_out}
    assert met == Counter(
        (row["text"], float(np.float32(row["weight"]))) for row in rows if row["text"] not in held_out
    )
    assert met["the cat sees", float(np.float32(-0.7))] == 3
    assert met["the cat sees", float(np.float32(0.1))] == 2


@POSIX
def test_a_killed_run_on_rows_with_a_column_of_floats_ends_with_the_same_weights(weighted_run, tmp_path):
    settings = weighted_settings(tmp_path / "again")
    kill_on_the_way(weighted_module.__file__, settings)
    assert weighted_stage(replace(settings, resume=True)).finished
    assert_same_result(tmp_path / "again" / "run", weighted_run / "run")


def test_a_bad_row_of_another_kind_is_named(tmp_path):
    settings = weighted_settings(tmp_path / "bad")
    data = Path(settings.data_path)
    data.write_text(data.read_text() + '{"text": "no weight"}\n')
    with pytest.raises(UserError, match=r"weighted\.jsonl:206: 'weight' must be a number"):
        weighted_stage(settings)


def test_stages_take_no_rows_from_each_other(tmp_path):
    settings = replace(weighted_settings(tmp_path / "data"), max_seconds=0)
    changes = {"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 300}
    changes["output"] = str(tmp_path / "data" / "pretrain")
    weighted_stage(settings)
    pretrain(PretrainSettings(**{**vars(settings), **changes}))
    assert "weights" in open_corpus(tmp_path / "data" / "run").rows
    assert "weights" not in open_corpus(tmp_path / "data" / "pretrain").rows


@pytest.mark.parametrize("stage", [module, weighted_module])
def test_a_stage_is_short(stage):
    source = Path(stage.__file__).read_text()
    code = [line for line in source.splitlines() if line and not line.startswith(("import", "from", '"""'))]
    assert len(code) < 40
