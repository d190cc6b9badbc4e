"""The models that come with the package: found by name, as good as their cards say, and after the reader's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from minimind import load, runs, ship
from minimind.cli import main
from minimind.errors import UserError
from minimind.evaluation import evaluate
from minimind.settings import EvaluateSettings, PretrainSettings
from minimind.ship import LARGEST, card, command_of
from minimind.training.log import read_metrics

by_name = pytest.mark.parametrize("name", runs.shipped_names())


def test_pretrain_is_shipped():
    assert "pretrain" in runs.shipped_names()


@by_name
def test_its_figures_are_those_of_its_card(name):
    run = runs.read_run(runs.SHIPPED / name)
    kept = run["measured"]
    again = evaluate(EvaluateSettings(f"shipped/{name}", documents=kept["documents"], device="cpu"))
    assert again["tokens"] == kept["tokens"]
    for figure in ("perplexity", "floor_perplexity", "bits_per_byte"):
        assert again[figure] == pytest.approx(kept[figure], rel=1e-4), figure


def test_pretraining_came_close_to_the_floor():
    measured = runs.read_run(runs.SHIPPED / "pretrain")["measured"]
    assert measured["documents"] >= 400
    assert measured["perplexity"] <= 1.06 * measured["floor_perplexity"]


@by_name
def test_its_card_is_made_of_its_run(name):
    folder = runs.SHIPPED / name
    run = runs.read_run(folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == card(
        name, run, read_metrics(folder / "metrics.jsonl")
    )
    assert command_of(run) == run["shipped"]["command"]
    assert command_of(run) in (folder / "README.md").read_text(encoding="utf-8")


@by_name
def test_it_is_small_and_names_no_path(name):
    folder = runs.SHIPPED / name
    assert (folder / "model.safetensors").stat().st_size <= LARGEST
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 1.5 * LARGEST
    settings = json.loads((folder / "run.json").read_text())["settings"]
    assert settings["output"] == PretrainSettings().output
    assert (settings["data_path"], settings["tokenizer"]) == (None, None)


@by_name
def test_transformers_opens_it_and_gives_the_same_logits(name):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(runs.SHIPPED / name)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model, tokenizer = load(f"shipped/{name}")
    text = "One cold morning, Noah the baker"
    ids = tokenizer.encode(text)
    assert AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"] == ids
    with torch.no_grad():
        difference = theirs(torch.tensor([ids])).logits - model(torch.tensor([ids])).logits
    assert difference.abs().max() < 1e-4


def test_a_model_makes_way_only_for_one_that_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(ship, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(ship, "DOCUMENTS", 4)
    run = tmp_path / "run"
    small = "--steps 2 --hidden-size 32 --num-hidden-layers 1 --max-seq-len 64 --vocab-size 400 --threads 1"
    assert main(["pretrain", "--output", str(run), *small.split(), "--validation_documents", "8"]) == 0

    def files():
        return {path.name: path.read_bytes() for path in (tmp_path / "shipped" / "tiny").iterdir()}

    assert ship.ship(run, "tiny") == tmp_path / "shipped" / "tiny"
    before = files()
    assert {"README.md", "config.json", "metrics.jsonl", "model.safetensors", "run.json"} <= before.keys()
    assert b"--hidden-size 32" in before["README.md"]

    monkeypatch.setattr(ship, "LARGEST", 1000)
    with pytest.raises(UserError, match="bytes of weights, at most 1,000 are shipped"):
        ship.ship(run, "tiny")
    assert files() == before

    monkeypatch.setattr(ship, "LARGEST", LARGEST)
    monkeypatch.setattr(ship, "evaluate", lambda _: (_ for _ in ()).throw(UserError("cannot be measured")))
    with pytest.raises(UserError, match="cannot be measured"):
        ship.ship(run, "tiny")
    assert files() == before


def test_a_name_is_the_readers_own_run_before_the_shipped_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert runs.is_shipped(runs.find_run("pretrain"))
    load("pretrain")
    assert capsys.readouterr().err == "model: shipped/pretrain, which comes with the package\n"
    shutil.copytree(runs.SHIPPED / "pretrain", "runs/pretrain")
    assert runs.find_run("pretrain") == Path("runs/pretrain")
    assert not runs.is_shipped("runs/pretrain")
    load("pretrain")
    assert capsys.readouterr().err == f"model: {Path('runs/pretrain')}, your own\n"
    assert runs.is_shipped(runs.find_run("shipped/pretrain"))
    load("runs/pretrain")
    assert capsys.readouterr().err == ""  # It was named itself.


def test_a_run_that_still_trains_has_no_model_yet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("runs/pretrain").mkdir(parents=True)
    shutil.copy(runs.SHIPPED / "pretrain/run.json", "runs/pretrain")
    load("pretrain")
    assert f"comes with the package ({Path('runs/pretrain')} holds no model yet)" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"config\.json"):
        load("runs/pretrain")
    Path("runs/other").mkdir()
    with pytest.raises(UserError, match=r"other.*config\.json"):
        load("other")


def test_a_name_that_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^no_such: no such run.*shipped/pretrain"):
        load("no_such")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("pretrain", "pretrain"),
        ("mine", "pretrain"),
        ("full_sft", "sft"),
        ("sft", "sft"),
        ("runs/sft", "sft"),
        ("lora", "lora"),
        ("merged", "merge"),
    ],
)
def test_the_advice_fits_the_name(name, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "SHIPPED", tmp_path)
    with pytest.raises(UserError, match=rf"^{name}: no such run.*`minimind {command}`, or name another$"):
        runs.find_run(name)


def test_the_command_writes_before_anything_was_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "--prompt", "One sunny morning,", "--max-new-tokens", "8"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("One sunny morning,")
    assert len(said.out) > len("One sunny morning,\n")
    assert "comes with the package" in said.err
    assert main(["evaluate", "--documents", "3"]) == 0
    assert "shipped/pretrain, which comes with the package, on 3 documents" in capsys.readouterr().out
