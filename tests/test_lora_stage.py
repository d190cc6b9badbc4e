"""`minimind lora`: an adapter learns, its base does not; and whoever wants the model loads the adapter's folder."""

import json
import shutil
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_checkpoint import POSIX
from test_sft import settings_for as sft_settings
from test_sft import write_conversations
from test_stage import assert_same_result, kill_on_the_way, rows_of
from tiny_runs import tiny_settings

import minimind.training.answering as answering_module
from minimind import MiniMind, load
from minimind.cli import main
from minimind.data import World
from minimind.data.world.words import LISTS
from minimind.errors import UserError
from minimind.metrics.answers import Reply
from minimind.metrics.tasks import TaskAnswers
from minimind.model import apply_lora, load_adapter, save_adapter
from minimind.runs import find_run
from minimind.settings import LoraSettings, SftSettings
from minimind.tokenizer import Tokenizer
from minimind.training import lora, pretrain, sft
from minimind.training.checkpoint import find_checkpoints
from minimind.training.corpus import open_corpus
from minimind.training.replay import DOCUMENTS, conversations_of, learned_last, pretraining_of, repeated

module = sys.modules["minimind.training.lora"]  # the name in the package is the function's


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A tiny model that was pretrained and fine-tuned, and beside it a file of other conversations."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("base")
    first = folder / "runs" / "pretrain"
    assert pretrain(tiny_settings(folder, max_seq_len=128, steps=20, output=str(first))).finished
    write_conversations(folder / "talks.jsonl")
    assert sft(sft_settings(first, folder / "runs" / "sft", steps=20)).finished
    rows = [
        [
            {"role": "user", "content": f"{opening}who are you?"},
            {"role": "assistant", "content": "I am a dog."},
        ]
        for opening in ("", "the cat hears: ", "a river runs. ", "old house, ", "red tree, ", "and ", "so ")
    ]
    text = "".join(json.dumps({"conversations": row}) + "\n" for row in rows)
    (folder / "identity.jsonl").write_text(text)
    return folder / "runs" / "sft"


def settings_for(base: Path, output: Path, **changes) -> LoraSettings:
    fields = {
        "output": str(output),
        "from_weight": str(base),
        "data_path": str(base.parents[1] / "identity.jsonl"),
        "steps": 40,
        "learning_rate": 0.02,
        "replay": 0.25,
        "max_seq_len": 128,
        "batch_size": 4,
        "validation_documents": 2,
        "validation_share": 0.3,
        "validate_every": 20,
        "sample_tokens": 4,
        "checkpoint_seconds": 0,
        "device": "cpu",
        "threads": 1,
    }
    return LoraSettings(**{**fields, **changes})


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("adapter") / "run"
    assert lora(settings_for(base, folder)).finished
    return folder


def facts_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())["data"]


def logits_of(model: MiniMind) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(3, 90)[None]).logits


def test_the_roadmaps_command_runs_as_printed(base, tmp_path, monkeypatch, capsys):
    shutil.copytree(base, tmp_path / "runs" / "sft")
    (tmp_path / "dataset").mkdir()
    shutil.copy(base.parents[1] / "identity.jsonl", tmp_path / "dataset" / "lora_identity.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "STEPS", 30)
    command = "lora --data_path dataset/lora_identity.jsonl --from_weight full_sft"
    assert main([*command.split(), "--max-seq-len", "128", "--batch-size", "4"]) == 0
    said = capsys.readouterr()
    assert "model: runs/sft, your own" in said.err
    assert "of them trained" in said.out
    assert "finished: runs/lora holds the adapter; `minimind chat runs/lora`" in said.out
    assert (
        json.loads(Path("runs/lora/adapter_config.json").read_text())["base_model_name_or_path"] == "runs/sft"
    )
    # Seven short rows are repeated until they fill the length of a run.
    assert 28 <= rows_of(Path("runs/lora"))[-1]["step"] <= 40
    assert main(["generate", "lora", "--max-new-tokens", "3", "--device", "cpu"]) == 0
    assert "model: runs/lora is an adapter of runs/sft" in capsys.readouterr().err


def test_the_adapter_alone_is_trained_saved_and_kept_in_checkpoints(base, adapter):
    assert not (adapter / "model.safetensors").exists()
    assert not (adapter / "config.json").exists()
    saved = load_file(adapter / "adapter_model.safetensors")
    assert all(".lora_" in name for name in saved)
    assert any(weight.abs().max() > 0.01 for name, weight in saved.items() if ".lora_B." in name)
    newest = find_checkpoints(adapter / "checkpoints")[0]
    kept = load_file(newest / "model.safetensors")
    assert {name.removeprefix("base_model.model.") for name in saved} == set(kept)
    assert (adapter / "data" / "base" / "model.safetensors").read_bytes() == (
        base / "model.safetensors"
    ).read_bytes()
    described = json.loads((adapter / "run.json").read_text())["model"]
    assert described["trained_parameters"] == sum(weight.numel() for weight in saved.values())


def test_it_learns_and_the_folder_stands_for_the_adapted_model(base, adapter, capsys):
    rows = rows_of(adapter)
    assert rows[-1]["loss"] < rows[0]["loss"] / 1.2
    model, tokenizer = load(adapter)
    assert f"{adapter} is an adapter of {base}" in capsys.readouterr().err
    assert tokenizer.digest == Tokenizer.load(base).digest
    by_hand, _ = load(base)
    plain = logits_of(by_hand)
    load_adapter(by_hand, adapter)
    torch.testing.assert_close(logits_of(model), logits_of(by_hand), atol=1e-5, rtol=0)
    assert (logits_of(model) - plain).abs().max() > 0.1
    also, _ = load(base, [adapter])
    assert torch.equal(logits_of(also), logits_of(model))


@pytest.mark.parametrize("way", ["stopped", pytest.param("killed", marks=[POSIX, pytest.mark.slow])])
def test_a_run_that_is_cut_short_ends_with_the_same_adapter_even_if_the_base_is_gone(
    base, adapter, tmp_path, way
):
    shutil.copytree(base, tmp_path / "sft")
    settings = settings_for(base, tmp_path / "run", from_weight=str(tmp_path / "sft"))
    if way == "killed":
        kill_on_the_way("minimind.training.lora", settings)
    else:
        assert not lora(replace(settings, max_seconds=0)).finished
    shutil.rmtree(tmp_path / "sft")
    assert lora(replace(settings, resume=True)).finished
    assert_same_result(tmp_path / "run", adapter, "adapter_model.safetensors")


def test_a_resumed_run_refuses_another_base(base, tmp_path):
    settings = settings_for(base, tmp_path / "run", max_seconds=0)
    assert not lora(settings).finished
    weights = tmp_path / "run" / "data" / "base" / "model.safetensors"
    changed = {name: weight + 1 for name, weight in load_file(weights).items()}
    weights.unlink()
    save_file(changed, weights)
    with pytest.raises(UserError, match=r"data/base: has changed since the run began; .*--overwrite"):
        lora(replace(settings, max_seconds=None, resume=True))


def documents_of(folder: Path) -> list[str]:
    """The text of each document in a run's rows."""
    corpus = open_corpus(folder)
    return [
        corpus.tokenizer.decode(ids[owners == owner].tolist(), skip_special_tokens=True)
        for ids, owners in zip(corpus.rows["input_ids"], corpus.rows["document_ids"], strict=True)
        for owner in range(int(owners.max()) + 1)
    ]


def test_what_is_replayed_is_what_the_base_learned_last(base, adapter):
    talks, documents = set(documents_of(base)), set(documents_of(base.parent / "pretrain"))
    mine = [text for text in documents_of(adapter) if "who are you" in text]
    replayed = [text for text in documents_of(adapter) if "who are you" not in text]
    assert len(set(mine)) < len(mine)  # repeated
    assert any("last of" in text for text in replayed)
    assert set(replayed) <= talks | documents
    facts = facts_of(adapter)
    assert facts["replay_tokens"] / facts["training_tokens"] == pytest.approx(0.25, abs=0.02)


def test_a_base_of_the_world_replays_its_conversations(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"settings": {}, "data": {"conversations_seed": 3}}))
    tokenizer = load("shipped/pretrain")[1]
    one, same, other = (
        [e["input_ids"].tolist() for e in islice(conversations_of(tmp_path, tokenizer, 256, seed), 5)]
        for seed in (1, 1, 2)
    )
    assert one == same != other
    assert "user" in tokenizer.decode(one[0])
    (tmp_path / "run.json").write_text(json.dumps({"settings": {}}))
    assert conversations_of(tmp_path, tokenizer, 256, 1) is None


def test_documents_are_replayed_among_conversations():
    folder = find_run("shipped/full_sft")
    tokens = {"documents": 0, "conversations": 0}
    for example in islice(learned_last(folder, pretraining_of(folder, load(folder)[1]), 256, seed=0), 400):
        kind = "documents" if (example["labels"] == example["input_ids"]).all() else "conversations"
        tokens[kind] += len(example["input_ids"])
    assert tokens["documents"] / sum(tokens.values()) == pytest.approx(DOCUMENTS, abs=0.02)


def test_what_the_adapter_is_to_answer_anew_is_not_replayed(tmp_path):
    """A conversation of the base's whose question stands in the new data would teach the old answer again."""
    (tmp_path / "run.json").write_text(json.dumps({"settings": {}, "data": {"conversations_seed": 3}}))
    tokenizer = load("shipped/pretrain")[1]

    def replayed(asked):
        examples = islice(conversations_of(tmp_path, tokenizer, 256, 0, asked), 2_000)
        return " ".join(tokenizer.decode(example["input_ids"].tolist()) for example in examples)

    assert "I am MiniMind" in replayed(set())
    file = tmp_path / "mine.jsonl"
    rows = [{"conversations": talk.messages} for talk in World(3).identity()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for settings in (LoraSettings(data_path=str(file)), LoraSettings()):
        left = replayed(module.questions_anew(settings))
        assert "I am MiniMind" not in left
        assert "I do not know" in left
    assert module.questions_anew(LoraSettings(subject="far")) == set()


def test_short_data_are_repeated_and_long_ones_are_not():
    examples = [{"input_ids": [0] * n} for n in (3, 4, 5)]
    assert [len(e["input_ids"]) for e in repeated(iter(examples), 20)] == [3, 4, 5, 3, 4, 5]
    assert len(list(repeated(iter(examples), 12))) == 3
    assert list(repeated(iter([]), 12)) == []


@pytest.mark.slow
def test_the_world_without_flags_asks_about_the_subject_and_about_the_old_tasks(tmp_path, monkeypatch):
    monkeypatch.setattr(answering_module, "CASES", 1)
    monkeypatch.setattr(module, "CASES", 8)
    common = {"steps": 1, "batch_size": 1, "validation_documents": 4, "sample_tokens": 0, "device": "cpu"}
    tuned = SftSettings(output=str(tmp_path / "sft"), from_weight="shipped/pretrain", **common)
    assert sft(tuned).finished
    # The two runs lie beside each other, and must not take each other's rows.
    for subject, words in (("identity", ["Iris"]), ("far", LISTS["far_places"])):
        run = tmp_path / subject
        settings = LoraSettings(output=str(run), from_weight=str(tmp_path / "sft"), subject=subject, **common)
        assert lora(settings).finished
        last, facts = rows_of(run)[-1], facts_of(run)
        assert 0 <= last["subject_accuracy"] <= 1
        assert set(last["accuracy_by_task"]) == set(facts["accuracy_by_task_before"])
        assert "identity" not in last["accuracy_by_task"]
        assert 0 <= facts["accuracy_before"] <= 1
        assert any(word in text for text in documents_of(run) for word in words)


def test_an_adapter_that_changes_nothing_has_the_figures_of_its_base(base, tmp_path, monkeypatch):
    """Before and after are measured alike: in the run's precision, without dropout. In place of answers stand logits,
    of which each bit is seen."""

    def logits_as_answers(model, tokenizer, world, count, tasks, show_progress):
        assert show_progress
        mean = float(logits_of(model).float().mean())
        return {task: TaskAnswers([mean], [True]) for task in tasks}

    monkeypatch.setattr(answering_module, "answer_tasks", logits_as_answers)
    learned = shutil.copytree(base, tmp_path / "sft")
    run = json.loads((learned / "run.json").read_text())
    run["data"]["conversations_seed"] = 0
    (learned / "run.json").write_text(json.dumps(run))
    changes = {"learning_rate": 1e-30, "steps": 2, "lora_dropout": 0.5, "replay": 0.0, "precision": "bf16"}
    assert lora(settings_for(base, tmp_path / "run", from_weight=str(learned), **changes)).finished
    last, facts = rows_of(tmp_path / "run")[-1], facts_of(tmp_path / "run")
    for name in ("pretraining_perplexity", "accuracy", "accuracy_by_task"):
        assert last[name] == facts[f"{name}_before"]


def test_questions_about_the_subject_show_a_bar(monkeypatch):
    told = []

    def answers(model, tokenizer, questions, show_progress=False):
        told.append(show_progress)
        return [Reply("", True)] * len(questions)

    monkeypatch.setattr(module, "answer", answers)
    data = SimpleNamespace(facts={"conversations_seed": 0, "kept_tasks_seed": None}, tokenizer=None)
    assert module.examine(data, None, "identity") == {"subject_accuracy": 0.0}
    assert told == [True]


def test_the_cases_are_held_out_ways_of_asking():
    world = World(0)
    for subject, documents in module.SUBJECTS.items():
        shown = {c.messages[0]["content"] for c in islice(documents(world, "train"), 3000)}
        cases = module.cases_about(subject, world, module.CASES)
        kept = {c.messages[0]["content"] for c in islice(documents(world, "validation"), 3000)}
        assert {case.messages[-1]["content"] for case in cases} <= kept
        assert not kept & shown


def refused(settings: LoraSettings, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        lora(settings)
    assert "\n" not in str(caught.value)
    assert not Path(settings.output).exists()


def test_what_cannot_work_is_refused_in_a_line(base, adapter, tmp_path):
    run = tmp_path / "run"
    refused(settings_for(base, run, rank=33), r"LoRA's rank in a 32 x 32 matrix must be 1 to 32, got 33")
    refused(settings_for(base, run, rank=0), "rank")
    refused(settings_for(base, run, alpha=0), "alpha must be above 0")
    refused(settings_for(base, run, lora_dropout=1), "dropout")
    refused(settings_for(base, run, target_modules=["q_prj"]), "'q_prj' is no linear layer.*q_proj")
    refused(
        settings_for(base, run, from_weight=str(adapter)), "is an adapter; `minimind merge .*` makes a model"
    )
    refused(settings_for(base, run, from_weight="nowhere"), "^--from-weight nowhere: no such run")
    other = tmp_path / "other"
    shutil.copytree(base, other)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path("minimind/shipped/pretrain") / name, other / name)
    refused(settings_for(base, run, from_weight=str(other)), "tokenizer has 1024 ids, the model 300")


def test_target_modules_choose_the_layers_and_survive_a_resume(base, tmp_path):
    settings = settings_for(
        base, tmp_path / "run", target_modules=["q_proj", "v_proj"], max_seconds=0, steps=3
    )
    lora(settings)
    assert lora(replace(settings, max_seconds=None, resume=True)).finished
    told = json.loads((tmp_path / "run" / "adapter_config.json").read_text())
    assert told["target_modules"] == ["q_proj", "v_proj"]
    assert len(load_file(tmp_path / "run" / "adapter_model.safetensors")) == 4


def test_an_adapter_of_other_weights_or_without_its_base_is_a_line(base, adapter, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(base, other)
    weights = load_file(other / "model.safetensors")
    save_file({name: weight * 1.5 for name, weight in weights.items()}, other / "model.safetensors")
    with pytest.raises(UserError, match="was trained on other weights than those in"):
        load(other, [adapter])
    moved = tmp_path / "moved"
    shutil.copytree(adapter, moved)
    told = json.loads((moved / "adapter_config.json").read_text())
    (moved / "adapter_config.json").write_text(json.dumps({**told, "base_model_name_or_path": "gone"}))
    with pytest.raises(UserError, match=r"gone that it was trained on is not there; .*--adapter"):
        load(moved)
    model, _ = load(base, [moved])
    assert torch.equal(logits_of(model), logits_of(load(adapter)[0]))
    (moved / "adapter_config.json").write_text(json.dumps({**told, "base_model_name_or_path": str(adapter)}))
    with pytest.raises(UserError, match="is an adapter itself; merge that one first"):
        load(moved)
    with pytest.raises(UserError, match=r"layers.0.\S+ has shape \(\d+, \d+\), but this model"):
        load("shipped/pretrain", [foreign_adapter(tmp_path / "foreign", base)])


def foreign_adapter(folder: Path, base: Path) -> Path:
    """An adapter that nothing says of where it comes from, but its shapes."""
    model, _ = load(base)
    apply_lora(model, 2, 4)
    save_adapter(model, folder)
    return folder


def test_evaluate_and_chat_take_adapters(base, adapter, capsys, monkeypatch):
    command = ["evaluate", str(base), "--documents", "2", "--device", "cpu", "--json"]
    assert main(command) == 0
    plain = json.loads(capsys.readouterr().out)["perplexity"]
    assert main([*command, "--adapter", str(adapter)]) == 0
    adapted = json.loads(capsys.readouterr().out)
    assert adapted["perplexity"] != plain
    assert adapted["adapters"] == [str(adapter)]
    assert main(["evaluate", str(adapter), *command[2:]]) == 0
    assert json.loads(capsys.readouterr().out)["perplexity"] == pytest.approx(adapted["perplexity"])
    told = []
    monkeypatch.setattr("minimind.inference.terminal.load", lambda *given: told.append(given) or load(*given))
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115
    assert main(["chat", str(base), "--adapter", str(adapter), "--adapter", str(adapter)]) == 0
    assert told == [(str(base), (str(adapter), str(adapter)))]


def test_an_adapter_is_found_like_a_run(adapter, tmp_path, monkeypatch):
    shutil.copytree(adapter, tmp_path / "runs" / "lora")
    monkeypatch.chdir(tmp_path)
    assert find_run("lora") == Path("runs/lora")


def test_epochs_are_passes_over_the_file_and_without_them_a_short_one_fills_the_usual_length(base, tmp_path):
    rows = {}
    for name, changes in (("usual", {}), ("counted", {"epochs": 3}), ("long", {"steps": 9000})):
        settings = settings_for(base, tmp_path / name, **{"steps": None, "max_seconds": 1e-9, **changes})
        result = lora(settings)
        rows[name] = facts_of(tmp_path / name)["rows"]
        assert result is not None
    assert rows["counted"] < rows["usual"] / 3
    assert rows["long"] == rows["usual"]  # A long run passes again what is stored once.
