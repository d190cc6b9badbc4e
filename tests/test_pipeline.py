"""The pipeline: stages in order, each from the one before, and whoever is stopped goes on."""

from __future__ import annotations

import json
import math
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import tiny_pipeline as tiny
from test_checkpoint import POSIX
from tiny_pipeline import SMALL, TINY, tiny_pipeline

from minimind.arguments import main_of, parse
from minimind.cli import VERBS, main
from minimind.data.world import TASKS
from minimind.errors import UserError
from minimind.model import apply_lora, load
from minimind.model.adapters import save_adapter
from minimind.pipeline import STAGES, pipeline
from minimind.pipeline.measure import Measures
from minimind.pipeline.report import by_task, side_by_side
from minimind.runs import read_run, write_run
from minimind.settings import PipelineSettings
from minimind.tokenizer import Tokenizer
from minimind.training import FitResult
from minimind.training.checkpoint import find_checkpoints

NAMES = [stage.name for stage in TINY]


def settings_for(folder: Path, **changes) -> PipelineSettings:
    return PipelineSettings(**{"output": str(folder), "threads": 1, **changes})


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in SMALL:
            patch.setattr(module, name, value)
        yield


@pytest.fixture(scope="module")
def undisturbed(small, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline") / "runs"
    assert tiny_pipeline(settings_for(folder)) is None
    return folder


def assert_same_models(one: Path, other: Path) -> None:
    files = ["tokenizer/tokenizer.json", "pretrain/model.safetensors", "further/model.safetensors"]
    assert [(one / file).read_bytes() for file in files] == [(other / file).read_bytes() for file in files]


def never(settings):
    raise AssertionError(f"{settings.output} was begun")


def with_run(name: str, run) -> tuple:
    """The tiny stages, one of which does something else."""
    return tuple(replace(stage, run=run) if stage.name == name else stage for stage in TINY)


def test_each_stage_goes_on_from_the_one_before(undisturbed):
    assert [read_run(undisturbed / name)["status"] for name in NAMES] == ["finished"] * 3
    digests = {Tokenizer.load(undisturbed / name).digest for name in NAMES}
    assert len(digests) == 1
    assert read_run(undisturbed / "further")["settings"]["from_weight"] == str(undisturbed / "pretrain")
    # A model that knows nothing is in doubt between all ids.
    first = json.loads((undisturbed / "further/metrics.jsonl").read_text().splitlines()[0])
    assert first["loss"] < math.log(300) - 0.3


def test_what_is_finished_is_left_as_it_is(undisturbed, capsys):
    def times():
        return {path: path.stat().st_mtime_ns for name in NAMES for path in (undisturbed / name).rglob("*")}

    before = times()
    assert pipeline(settings_for(undisturbed), [replace(stage, run=never) for stage in TINY]) is None
    said = capsys.readouterr().out
    assert "about 0:00 on two cores" in said
    assert said.count("finished\n") == 3
    assert "measuring" not in said
    assert times() == before


def test_a_run_with_other_settings_is_named_before_anything_is_trained(undisturbed):
    nothing = [replace(stage, run=never) for stage in TINY]
    with pytest.raises(UserError, match=r"pretrain: .*other settings: steps was 20, now 10; .*--overwrite"):
        pipeline(settings_for(undisturbed, quick=True), nothing)
    with pytest.raises(UserError, match=r"tokenizer: .*other settings: seed was 0, now 7; "):
        pipeline(settings_for(undisturbed, seed=7), nothing)
    assert (
        pipeline(settings_for(undisturbed, threads=2), nothing) is None
    )  # It changes nothing that is learned.


def test_a_mistake_in_the_settings_deletes_nothing(undisturbed):
    with pytest.raises(UserError, match="threads must be at least 1"):
        pipeline(settings_for(undisturbed, threads=0, overwrite=True), TINY)
    assert (undisturbed / "further/model.safetensors").exists()


def test_a_stage_whose_base_was_exchanged_is_named(undisturbed):
    weights = undisturbed / "pretrain/model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        with pytest.raises(UserError, match=r"further: was made from another .*pretrain than"):
            pipeline(settings_for(undisturbed), [replace(stage, run=never) for stage in TINY])
    finally:
        weights.write_bytes(before)


def test_a_mistake_in_a_stage_is_one_line_and_the_stages_before_it_stay(undisturbed, tmp_path, capsys):
    def refuse(settings):
        raise UserError("no such data")

    folder = tmp_path / "runs"
    given = ["--output", str(folder), "--threads", "1"]
    stages = with_run("further", refuse)
    assert main_of("pipeline", PipelineSettings, lambda s: pipeline(s, stages), given) == 2
    assert capsys.readouterr().err == "error: stage further: no such data\n"
    assert "pretrain" in (folder / "pipeline.html").read_text()
    assert tiny_pipeline(settings_for(folder)) is None
    assert_same_models(folder, undisturbed)

    # The same folder again: begin anew, in another size. What is nobody's run stays.
    (folder / "pretrain/notes.txt").write_text("mine")
    left = FitResult(step=3, finished=False, reason="SIGINT", rows=[], numerics={})
    stages = with_run("further", lambda settings: left)
    given += ["--quick", "--overwrite"]
    assert main_of("pipeline", PipelineSettings, lambda s: pipeline(s, stages), given) == 128 + signal.SIGINT
    assert "left in stage further; the same command without --overwrite goes on" in capsys.readouterr().out
    assert read_run(folder / "pretrain")["settings"]["steps"] == 10
    assert not (folder / "further/run.json").exists()
    assert (folder / "pretrain/notes.txt").read_text() == "mine"
    assert "<b>pretrain</b>" in (page := (folder / "pipeline.html").read_text())
    assert "<b>further</b>" not in page  # what was measured of the deleted run


def test_a_stage_that_cannot_go_on_begins_again(tmp_path):
    folder = tmp_path / "runs" / "tokenizer"
    folder.mkdir(parents=True)
    stage = TINY[0]
    given = stage.settings_for(settings_for(tmp_path / "runs"))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer\.json is there already"):
        pipeline(settings_for(tmp_path / "runs"), [stage])  # It may be anybody's.
    pipeline(settings_for(tmp_path / "runs", overwrite=True), [stage])
    (folder / "tokenizer.json").write_text("{")
    write_run(folder, {"status": "unfinished", "settings": vars(given)})
    pipeline(settings_for(tmp_path / "runs"), [stage])
    assert read_run(folder)["status"] == "finished"
    assert Tokenizer.load(folder).vocab_size == 300


# What a kill leaves


def start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, tiny.__file__, "--output", str(folder), "--threads", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@POSIX
def test_a_pipeline_that_is_killed_goes_on_to_the_same_weights(undisturbed, tmp_path, capsys):
    process = start(tmp_path / "runs")
    folder = tmp_path / "runs" / "further"
    while process.poll() is None and not any(
        int(path.name[5:]) >= 7 for path in (folder / "checkpoints").glob("step-*")
    ):
        time.sleep(0.001)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert 7 <= int(find_checkpoints(folder / "checkpoints")[0].name[5:]) < 20
    capsys.readouterr()
    assert tiny_pipeline(settings_for(tmp_path / "runs")) is None
    said = capsys.readouterr().out
    assert "[3 of 3]" in said
    assert "[2 of 3]" not in said
    assert "before training" not in said  # It went on from its checkpoint.
    assert_same_models(tmp_path / "runs", undisturbed)


@POSIX
@pytest.mark.slow
def test_a_pipeline_that_is_killed_at_ten_random_moments_ends_with_the_same_weights(undisturbed, tmp_path):
    began = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    whole = time.monotonic() - began
    draw, killed = random.Random(0), 0
    for _ in range(10):
        process = start(tmp_path / "runs")
        time.sleep(whole * draw.uniform(0.2, 0.6))
        process.kill()
        _, errors = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), errors.decode()
        killed += process.returncode != 0
    assert killed >= 3
    assert tiny_pipeline(settings_for(tmp_path / "runs")) is None
    assert_same_models(tmp_path / "runs", undisturbed)


# The report


class Page(HTMLParser):
    """The words of a page, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self.fetched, self.open = "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.fetched += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "line", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("line", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_the_report_holds_all_stages(undisturbed):
    tiny_pipeline(settings_for(undisturbed, threads=2))
    text = (undisturbed / "pipeline.html").read_text()
    page = Page(text)
    assert page.open == page.fetched == []
    assert "http" not in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    for stage in TINY:
        # The settings that it was begun with, though the last look at the same runs asked for two threads.
        assert stage.command(stage.settings_for(settings_for(undisturbed))) in page.words
    assert text.count("<svg") == 3  # two losses, and the further stage's own figure
    figures = json.loads((undisturbed / "pipeline.json").read_text())["pretrain"]["figures"]
    assert f"{figures['perplexity']:.3f}" in page.words
    assert f"{figures['floor_perplexity']:.3f}" in page.words
    for task in TASKS:
        assert f'<span class="soft">{task}</span>' in text
    assert text.count("<b>pretrain</b>") == text.count("<b>further</b>") == len(TASKS) >= 12


def test_commands_of_the_report_give_the_same_settings(undisturbed):
    for stage in TINY:
        given = stage.settings_for(settings_for(undisturbed))
        words = shlex.split(stage.command(given))
        assert words[:2] == ["minimind", stage.verb]
        assert parse(stage.settings, words[2:], stage.verb) == given


def test_right_answers_stand_by_task_with_their_interval():
    tasks = {
        task: {"accuracy": 0.5, "low": 0.404, "high": 0.596, "correct": 50, "total": 100, "chance": 0.05}
        for task in TASKS
    }
    text = by_task({"pretrain": {"figures": {}}, "sft": {"figures": {"tasks": tasks}}})
    assert text.count("50.0 % (40 to 60)") == len(TASKS)
    assert "<th>facts</th><td>5.0 %</td>" in text
    assert "pretrain" not in text
    assert by_task({"pretrain": {"figures": {}}}) == ""


def test_an_answer_is_shown_as_text_and_as_right_only_where_it_is():
    said = [{"text": "<b>no</b>", "ended": False, "right": False}] * (len(TASKS) - 1)
    said.append({"text": "I am MiniMind.", "ended": True, "right": True})
    text = side_by_side(0, {"sft": {"answers": said}})
    assert text.count("&lt;b&gt;no&lt;/b&gt; …") == len(TASKS) - 1
    assert text.count('<span class="right">I am MiniMind.</span>') == 1


def test_an_adapter_is_measured_on_the_model_that_it_belongs_to(undisturbed, tmp_path):
    model, _ = load(undisturbed / "further")
    apply_lora(model, rank=2, alpha=4)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data += 1.0  # untrained, an adapter changes nothing
    save_adapter(model, tmp_path / "adapter")
    given = tiny.FurtherSettings(output=str(tmp_path / "adapter"), from_weight=str(undisturbed / "further"))
    measures = tiny.measure.Measures(tmp_path)
    stage = replace(TINY[2], name="adapter", reads={})
    measures.take(stage, given)
    base = json.loads((undisturbed / "pipeline.json").read_text())["further"]
    found = tiny.measure.Measures(tmp_path).of(stage, given)
    assert found["figures"]["adapters"] == [given.output]
    assert found["figures"]["perplexity"] != base["figures"]["perplexity"]
    assert found["answers"] != base["answers"]


# The list of stages


def test_every_stage_reads_from_stages_above_it_and_has_three_sizes():
    for place, stage in enumerate(STAGES):
        above = {one.name for one in STAGES[:place]}
        assert set(stage.reads.values()) <= above
        assert set(stage.sizes) == {"quick", "default", "ship"}
        for quick, default in pairwise(("quick", "default", "ship")):
            assert stage.sizes[quick].seconds <= stage.sizes[default].seconds


@pytest.mark.parametrize("flags", [{"quick": True}, {}, {"ship": True}])
def test_every_command_of_the_pipeline_is_understood(flags):
    for stage in STAGES:
        given = stage.settings_for(settings_for(Path("runs"), seed=3, **flags))
        assert VERBS[stage.verb][0] is stage.settings
        words = shlex.split(stage.command(given))
        assert parse(stage.settings, words[2:], stage.verb) == given
        assert given.seed == 3
        assert Path(given.output) == Path("runs") / stage.name
    assert sum(stage.sizes["quick"].seconds for stage in STAGES) <= 240
    assert sum(stage.sizes["default"].seconds for stage in STAGES) <= 600


def test_the_command_takes_one_size(capsys):
    assert main(["pipeline", "--quick", "--ship"]) == 2
    assert re.fullmatch(r"error: --quick .*--ship .*\n", capsys.readouterr().err)


def for_shipping(stage, run):
    """A tiny stage that is as long in size `ship` as by default."""
    return replace(stage, run=run, sizes={**stage.sizes, "ship": stage.sizes["default"]})


def test_what_is_finished_is_shipped_before_the_next_stage_begins(undisturbed, tmp_path, monkeypatch):
    done, shipped = [], []
    monkeypatch.setattr(
        "minimind.pipeline.run.ship", lambda *given: done.append(given) or shipped.append(given)
    )
    monkeypatch.setattr("minimind.pipeline.run.is_shipped_as", lambda *given: given in shipped)
    folder = tmp_path / "runs"
    for name in NAMES[:2]:
        shutil.copytree(undisturbed / name, folder / name)
    run = read_run(folder / "pretrain")
    run["settings"]["tokenizer"] = str(folder / "tokenizer")  # where this copy has it
    write_run(folder / "pretrain", run)
    left = FitResult(step=3, finished=False, reason="SIGINT", rows=[], numerics={})

    def begin(settings):
        done.append("further began")
        return left

    stages = [for_shipping(TINY[0], never), for_shipping(TINY[1], never), for_shipping(TINY[2], begin)]
    stages[1], stages[2] = replace(stages[1], shipped="pretrain"), replace(stages[2], shipped="further")
    assert pipeline(settings_for(folder, ship=True), stages) is left
    assert done == [(folder / "pretrain", "pretrain"), "further began"]
    # Whoever goes on does not measure again what is shipped already; and other sizes ship nothing.
    assert pipeline(settings_for(folder, ship=True), stages) is left
    shipped.clear()
    assert pipeline(settings_for(folder), stages) is left
    assert done[2:] == ["further began"] * 2


def test_each_stage_of_size_ship_starts_from_what_is_shipped():
    by_name = {stage.name: stage for stage in STAGES}
    for stage in STAGES:
        usual, given = (stage.settings_for(settings_for(Path("runs"), ship=ship)) for ship in (False, True))
        if "from_weight" in stage.reads:
            before = stage.reads["from_weight"]
            assert usual.from_weight == str(Path("runs") / before)
            assert given.from_weight == f"shipped/{by_name[before].shipped}"
        if stage.shipped:
            assert "--tokenizer" not in stage.command(given)
    shipped = [stage.shipped for stage in STAGES if stage.shipped]
    assert shipped == ["pretrain", "full_sft", "lora_identity", "lora_far"]


@pytest.mark.parametrize("kept", ["[1]", "null", "5", '{"sft": {}}', '{"sft": []}', "{"])
def test_a_damaged_file_of_measures_is_as_none(tmp_path, kept):
    (tmp_path / "pipeline.json").write_text(kept)
    assert Measures(tmp_path).stages == {}
