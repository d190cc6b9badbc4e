"""The models that come with the package: found by name, as good as their cards say, and after the reader's own."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

import minimind.training.answering as answering
from minimind import load, runs, ship
from minimind.arguments import parse
from minimind.cli import main
from minimind.data import World, records
from minimind.data.world import HARD, TASKS
from minimind.errors import UserError
from minimind.metrics import answer
from minimind.metrics.tasks import EASY
from minimind.ship import LARGEST, SETTINGS, card, command_of, verb_of
from minimind.training.log import read_metrics

lora_module = sys.modules["minimind.training.lora"]  # the name in the package is the function's
by_name = pytest.mark.parametrize("name", runs.shipped_names())
ADAPTERS = [name for name in runs.shipped_names() if runs.is_adapter(runs.SHIPPED / name)]
ROUNDING = 4
"""Answers of the few that another processor's rounding may turn."""


def test_pretrain_is_shipped():
    assert "pretrain" in runs.shipped_names()


@by_name
def test_its_figures_are_those_of_its_card(name):
    run = runs.read_run(runs.SHIPPED / name)
    kept = run["measured"].get("few", run["measured"])
    base = run["settings"].get("from_weight") if name in ADAPTERS else None
    again = ship.figures_of(runs.SHIPPED / name, base, kept["documents"], ship.FEW_CASES)
    assert again["tokens"] == kept["tokens"]
    for figure in ("perplexity", "floor_perplexity", "bits_per_byte"):
        assert again[figure] == pytest.approx(kept[figure], rel=1e-4), figure
    assert again.get("tasks", {}).keys() == kept.get("tasks", {}).keys()
    turned = [
        abs(again["tasks"][task]["correct"] - row["correct"]) for task, row in kept.get("tasks", {}).items()
    ]
    assert sum(turned) <= ROUNDING


def test_pretraining_came_close_to_the_floor():
    measured = runs.read_run(runs.SHIPPED / "pretrain")["measured"]
    assert measured["documents"] >= 400
    assert measured["perplexity"] <= 1.06 * measured["floor_perplexity"]


def test_fine_tuning_taught_each_task_and_cost_little():
    measured, before = (runs.read_run(runs.SHIPPED / name)["measured"] for name in ("full_sft", "pretrain"))
    shares = {task: row["accuracy"] for task, row in measured["tasks"].items()}
    assert shares.keys() == TASKS.keys()
    assert measured["accuracy"] >= 0.9
    assert min(shares[task] for task in EASY) >= 0.65
    assert all(0.3 <= shares[task] <= 0.7 for task in HARD)  # so that there is something left to learn
    assert min(shares[task] for task in ("facts", "counting", "lists")) >= 0.97
    assert measured["stop_rate"] >= 0.99
    assert measured["documents"] == before["documents"] >= 400
    assert measured["perplexity"] <= 1.05 * before["perplexity"]


@by_name
def test_its_card_is_made_of_its_run(name):
    assert_card_is_of_run(runs.SHIPPED / name)


def assert_card_is_of_run(folder: Path) -> None:
    run = runs.read_run(folder)
    words = (folder / "README.md").read_text(encoding="utf-8")
    assert words == card(folder.name, run, read_metrics(folder / "metrics.jsonl"))
    assert command_of(run) == run["shipped"]["command"]
    assert f"    {command_of(run)}\n" in words


@by_name
def test_it_is_small_and_names_no_path(name):
    assert_small_and_without_path(runs.SHIPPED / name)


def assert_small_and_without_path(folder: Path) -> None:
    [weights] = folder.glob("*model.safetensors")
    assert weights.stat().st_size <= LARGEST
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 1.5 * LARGEST
    run = json.loads((folder / "run.json").read_text())
    told = run["settings"]
    assert told["output"] == SETTINGS[verb_of(run)]().output
    assert (told["data_path"], told.get("tokenizer"), told.get("prepared")) == (None, None, None)
    if verb_of(run) != "pretrain":
        assert told["from_weight"] == run["data"]["base"]
        assert runs.is_shipped(runs.find_run(told["from_weight"]))
    for name in ("run.json", "adapter_config.json", "README.md"):
        if (folder / name).exists():
            # A path that begins at the root, with a letter of a drive, or at home.
            assert not re.search(r"[\"\s`](/|[A-Z]:\\|~/)\w", (folder / name).read_text(encoding="utf-8"))


@by_name
def test_transformers_opens_it_and_gives_the_same_logits(name):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = runs.SHIPPED / name
    whole = folder
    if name in ADAPTERS:
        whole = runs.find_run(runs.read_run(folder)["settings"]["from_weight"])
    theirs = AutoModelForCausalLM.from_pretrained(str(whole), dtype=torch.float32).eval()
    if name in ADAPTERS:
        from peft import PeftModel

        theirs = PeftModel.from_pretrained(theirs, str(folder)).eval()
    model, tokenizer = load(f"shipped/{name}")
    text = "One cold morning, Noah the baker"
    ids = tokenizer.encode(text)
    assert AutoTokenizer.from_pretrained(str(whole))(text, add_special_tokens=False)["input_ids"] == ids
    with torch.no_grad():
        difference = theirs(input_ids=torch.tensor([ids])).logits - model(torch.tensor([ids])).logits
    assert difference.abs().max() < 1e-4


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_gives_its_subject_and_keeps_the_rest(name):
    run = runs.read_run(runs.SHIPPED / name)
    told, measured = run["settings"], run["measured"]
    base = runs.read_run(runs.find_run(told["from_weight"]))["measured"]
    assert run["data"]["base_weights"] == runs.weights_digest(runs.find_run(told["from_weight"]))
    assert measured["before"]["perplexity"] == base["perplexity"]
    for task in lora_module.KEPT_TASKS:
        assert measured["tasks"][task]["accuracy"] >= measured["before"]["tasks"][task] - 0.02, task
    assert measured["subject"]["accuracy"] >= {"identity": 1.0, "far": 0.9}[told["subject"]]
    model, tokenizer = load(f"shipped/{name}")
    cases = lora_module.cases_about(told["subject"], World(run["data"]["conversations_seed"]), 20)
    replies = answer(model, tokenizer, [case.messages for case in cases])
    right = sum(case.is_right(reply.text) for case, reply in zip(cases, replies, strict=True))
    assert right >= 0.7 * len(cases)


# Tiny ones, shipped into a folder of their own


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with tiny runs of three stages, each from what was shipped of the one before."""
    folder = tmp_path_factory.mktemp("ship")
    shared = "--steps 2 --max-seq-len 64 --batch-size 2 --sample-tokens 0 --threads 1 --device cpu"
    small = "--hidden-size 32 --num-hidden-layers 1 --vocab-size 400"

    def train(verb, name, *words):
        given = [verb, "--output", str(folder / name), *shared.split(), "--validation_documents", "4", *words]
        assert main(given) == 0

    with pytest.MonkeyPatch.context() as patch:
        small_figures(patch, folder)
        train("pretrain", "pretrain", *small.split())
        ship.ship(folder / "pretrain", "pretrain")
        train("sft", "sft", "--from-weight", "shipped/pretrain")
        ship.ship(folder / "sft", "full_sft")
        # The same weights under another name: what counts are the weights.
        copy = shutil.copytree(folder / "shipped" / "full_sft", folder / "copy")
        for subject, base in (("identity", "shipped/full_sft"), ("far", str(copy))):
            train("lora", subject, "--from-weight", base, "--subject", subject)
            ship.ship(folder / subject, f"lora_{subject}")
    return folder


@pytest.fixture
def tiny(trained, monkeypatch):
    small_figures(monkeypatch, trained)
    return trained


def small_figures(patch, folder: Path) -> None:
    patch.setattr(runs, "SHIPPED", folder / "shipped")
    few = [
        (ship, "DOCUMENTS"),
        (ship, "CASES"),
        (ship, "FEW_CASES"),
        (answering, "CASES"),
        (lora_module, "CASES"),
    ]
    for module, name in few:
        patch.setattr(module, name, 2)
    patch.setattr(records, "SAMPLE_DOCUMENTS", 100)


TINY = ("pretrain", "full_sft", "lora_identity", "lora_far")


def test_every_stage_can_be_shipped(tiny):
    assert runs.shipped_names() == sorted(TINY)
    commands = {name: runs.read_run(tiny / "shipped" / name)["shipped"]["command"] for name in TINY}
    assert commands["full_sft"].startswith("minimind sft ")
    assert "--from-weight shipped/pretrain" in commands["full_sft"]
    assert commands["lora_identity"].startswith("minimind lora ")
    assert "--subject far" in commands["lora_far"]
    assert "--from-weight shipped/full_sft" in commands["lora_far"]


@pytest.mark.parametrize("name", TINY)
def test_what_is_shipped_is_whole(tiny, name):
    folder = tiny / "shipped" / name
    assert_card_is_of_run(folder)
    assert_small_and_without_path(folder)
    run = runs.read_run(folder)
    _, verb, *words = run["shipped"]["command"].split()
    for setting, value in vars(parse(SETTINGS[verb], words, verb)).items():
        if setting not in runs.FREE_SETTINGS:
            assert run["settings"][setting] == value, setting
    source = {"full_sft": "sft", "lora_identity": "identity", "lora_far": "far"}.get(name, name)
    assert ship.is_shipped_as(tiny / source, name)
    assert not ship.is_shipped_as(tiny / "pretrain", "full_sft")
    assert "(1 thread, " in (folder / "README.md").read_text()


def test_questions_are_counted_of_what_has_learned_to_answer(tiny):
    measured = {name: runs.read_run(tiny / "shipped" / name)["measured"] for name in TINY}
    assert "tasks" not in measured["pretrain"]
    card_of = (tiny / "shipped/full_sft/README.md").read_text()
    for task, row in measured["full_sft"]["tasks"].items():
        assert f"| {task} | {row['correct']} of {row['total']} | " in card_of
    assert measured["full_sft"]["few"]["tasks"].keys() == TASKS.keys()
    assert {"accuracy", "stop_rate"} <= measured["full_sft"].keys()
    for name in ("lora_identity", "lora_far"):
        assert measured[name]["before"]["perplexity"] == measured["full_sft"]["perplexity"]
        assert measured[name]["perplexity"] != measured["full_sft"]["perplexity"]
        assert measured[name]["subject"]["total"] == 2
        run = runs.read_run(tiny / "shipped" / name)
        words = (tiny / "shipped" / name / "README.md").read_text()
        assert f"{run['model']['trained_parameters']:,} numbers are trained" in words
        assert "| **what it was taught** | " in words


def test_a_shipped_adapter_stands_for_its_model(tiny):
    folder = tiny / "shipped" / "lora_far"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "shipped/full_sft"
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        by_name = load("shipped/lora_far")[0](ids).logits
        assert torch.equal(by_name, load(tiny / "shipped/full_sft", [tiny / "far"])[0](ids).logits)
        assert not torch.equal(by_name, load("shipped/full_sft")[0](ids).logits)


def test_peft_opens_a_shipped_adapter(tiny):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(str(tiny / "shipped/full_sft"), dtype=torch.float32)
    theirs = PeftModel.from_pretrained(theirs, str(tiny / "shipped/lora_far")).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        difference = theirs(input_ids=ids).logits - load("shipped/lora_far")[0](ids).logits
    assert difference.abs().max() < 1e-4


def test_what_began_from_other_weights_is_refused(tiny, tmp_path, monkeypatch):
    copied = shutil.copytree(tiny / "shipped", tmp_path / "shipped")
    monkeypatch.setattr(runs, "SHIPPED", copied)
    weights = copied / "full_sft/model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"copy, which is not what is shipped now .* shipped/full_sft$"):
        ship.ship(tiny / "far", "lora_far")
    shutil.rmtree(copied / "pretrain")
    with pytest.raises(UserError, match=r"train it from --from-weight shipped/pretrain$"):
        ship.ship(tiny / "sft", "full_sft")
    assert {path.name for path in copied.iterdir()} == {"full_sft", "lora_identity", "lora_far"}


def test_what_nobody_else_has_is_not_shipped(tiny, tmp_path):
    for setting, flag in (("data_path", "--data-path"), ("tokenizer", "--tokenizer")):
        folder = shutil.copytree(tiny / "pretrain", tmp_path / setting)
        run = runs.read_run(folder)
        run["settings"][setting] = "mine"
        runs.write_run(folder, run)
        with pytest.raises(UserError, match=f"with {flag} mine, which nobody else has"):
            ship.ship(folder, "mine")
    with pytest.raises(UserError, match="holds no finished run"):
        ship.ship(tmp_path, "mine")
    assert "mine" not in runs.shipped_names()


@pytest.mark.parametrize(("run", "name"), [("pretrain", "pretrain"), ("far", "lora_far")])
def test_a_model_makes_way_only_for_one_that_is_whole(tiny, monkeypatch, run, name):
    def files():
        return {path.name: path.read_bytes() for path in (tiny / "shipped" / name).iterdir()}

    before = files()
    own = {"adapter_config.json", "adapter_model.safetensors"}
    own = own if name == "lora_far" else {"config.json", "model.safetensors", "tokenizer.json"}
    assert {"README.md", "metrics.jsonl", "run.json"} | own <= before.keys()
    assert ship.ship(tiny / run, name) == tiny / "shipped" / name
    assert files() == before  # the same again, to the byte

    monkeypatch.setattr(ship, "LARGEST", 1000)
    with pytest.raises(UserError, match="bytes of weights, at most 1,000 are shipped"):
        ship.ship(tiny / run, name)
    assert files() == before

    monkeypatch.setattr(ship, "LARGEST", LARGEST)
    monkeypatch.setattr(ship, "evaluate", lambda _: (_ for _ in ()).throw(UserError("cannot be measured")))
    with pytest.raises(UserError, match="cannot be measured"):
        ship.ship(tiny / run, name)
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
