"""Fine-tuning: a base becomes a model that answers, on conversations of the reader's own or of the world."""

import json
import random
import re
import shutil
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_checkpoint import POSIX
from test_stage import assert_same_result, kill_on_the_way, rows_of
from tiny_runs import WORDS, tiny_settings

import minimind.training.answering as answering_module
from minimind import MiniMind, ModelConfig, load
from minimind.cli import main
from minimind.data import World, pack
from minimind.data.world import TASKS
from minimind.device import supports_bfloat16
from minimind.errors import UserError
from minimind.metrics.held_out_answers import held_out_answers
from minimind.runs import find_run
from minimind.settings import SftSettings
from minimind.tokenizer import Tokenizer
from minimind.training import pretrain, sft
from minimind.training.fine_tuning import notes_of, open_conversations
from minimind.training.replay import pretraining_of, with_replay


def exchange(draw: random.Random) -> list[dict]:
    words = draw.choices(WORDS, k=draw.randint(2, 5))
    question = {"role": "user", "content": f"Which is the last of {' '.join(words)}?"}
    return [question, {"role": "assistant", "content": f"It is {words[-1]}."}]


def write_conversations(path: Path, count: int = 200, exchanges: int = 2) -> Path:
    """A JSONL file of questions about short lists."""
    draw = random.Random(5)
    rows = [[one for _ in range(draw.randint(1, exchanges)) for one in exchange(draw)] for _ in range(count)]
    path.write_text("".join(json.dumps({"conversations": row}) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """The run of a tiny base, and beside it a file of conversations."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("base")
    settings = tiny_settings(folder, max_seq_len=128, steps=20, output=str(folder / "runs" / "pretrain"))
    assert pretrain(settings).finished
    write_conversations(folder / "talks.jsonl")
    return folder / "runs" / "pretrain"


def settings_for(base: Path, output: Path, **changes) -> SftSettings:
    fields = {
        "output": str(output),
        "from_weight": str(base),
        "data_path": str(base.parents[1] / "talks.jsonl"),
        "steps": 40,
        "max_seq_len": 128,
        "batch_size": 4,
        "validation_documents": 6,
        "validation_share": 0.05,
        "validate_every": 20,
        "sample_tokens": 4,
        "checkpoint_seconds": 0,
        "device": "cpu",
        "threads": 1,
    }
    return SftSettings(**{**fields, **changes})


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tuned") / "run"
    assert sft(settings_for(base, folder)).finished
    return folder


def facts_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())["data"]


def documents_of(rows: dict[str, np.ndarray]) -> list[tuple[list[int], list[int]]]:
    """Ids and labels of each document in packed rows."""
    return [
        (ids[owners == owner].tolist(), labels[owners == owner].tolist())
        for ids, labels, owners in zip(
            *(rows[name] for name in ("input_ids", "labels", "document_ids")), strict=True
        )
        for owner in range(int(owners.max()) + 1)
    ]


def test_the_roadmaps_command_runs_as_printed(base, tmp_path, monkeypatch, capsys):
    shutil.copytree(base, tmp_path / "runs" / "pretrain")
    (tmp_path / "dataset").mkdir()
    write_conversations(tmp_path / "dataset" / "sft_mini_512.jsonl", 60)
    monkeypatch.chdir(tmp_path)
    command = "sft --data_path dataset/sft_mini_512.jsonl --from_weight pretrain"
    assert main([*command.split(), "--max-seq-len", "128"]) == 0
    said = capsys.readouterr()
    assert "model: runs/pretrain, your own" in said.err
    assert "finished: runs/sft holds the model; `minimind chat runs/sft` talks with it" in said.out
    assert re.search(r"perplexity \d+\.\d{3} before, \d+\.\d{3} now \([+-]\d+\.\d%\)", said.out)
    assert re.search(r"\d steps may be too few to learn from; --epochs \d+ makes more", said.out)
    model, tokenizer = load("full_sft")
    assert tokenizer.digest == Tokenizer.load("runs/pretrain").digest
    assert model.generation_config["eos_token_id"] == tokenizer.eos_token_id
    assert facts_of(Path("runs/sft"))["base"] == "runs/pretrain"


def test_the_loss_on_answers_falls_and_all_figures_are_there(tuned):
    first, last = rows_of(tuned)[0], rows_of(tuned)[-1]
    assert last["loss"] < first["loss"] / 1.2
    assert last["validation_loss"] < 3.5
    assert 0 <= last["end_accuracy"] <= 1
    assert last["floor_perplexity"] is None
    assert last["pretraining_perplexity"] > 1
    assert "accuracy" not in last
    assert facts_of(tuned)["pretraining_perplexity_before"] > 1
    report = (tuned / "report.html").read_text()
    for words in ("end accuracy", "pretraining perplexity", "answers without end", "replay tokens"):
        assert f"<th>{words}</th>" in report


def test_answers_are_learned_and_questions_are_not_and_all_of_a_replayed_document_is(base, tuned):
    data = open_conversations(tuned)
    talks = (base.parents[1] / "talks.jsonl").read_text().splitlines()
    conversations = [json.loads(line)["conversations"] for line in talks]
    said = Counter(" ".join(one["content"] for one in talk[1::2]) for talk in conversations)
    found: Counter[str] = Counter()
    replayed = []
    for ids, labels in documents_of(data.corpus.rows) + documents_of(data.answers):
        if all(label == id for id, label in zip(ids[1:], labels[1:], strict=True)):
            replayed.append(data.tokenizer.decode(ids, skip_special_tokens=True))
            continue
        answers = data.tokenizer.decode([label for label in labels if label >= 0]).split("<|im_end|>")
        assert answers.pop() == ""
        found[" ".join(answers)] += 1
    assert found == said
    texts = [json.loads(line)["text"] for line in (base.parents[1] / "texts.jsonl").read_text().splitlines()]
    assert replayed
    assert set(replayed) < set(texts)
    held_out = {
        data.tokenizer.decode(document.ids[1:-1])
        for document in pretraining_of(base, data.tokenizer).held_out(99)
    }
    assert held_out
    assert not held_out & set(replayed)


@pytest.mark.parametrize("share", [0.05, 0.125, 0.5])
def test_the_share_of_replayed_tokens_is_what_was_asked_for(base, tmp_path, share):
    sft(settings_for(base, tmp_path / "run", replay=share, max_seconds=0))
    facts = facts_of(tmp_path / "run")
    assert facts["replay_tokens"] / facts["training_tokens"] == pytest.approx(share, abs=0.01)


def test_replay_can_be_turned_off(base, tmp_path):
    sft(settings_for(base, tmp_path / "run", replay=0, max_seconds=0))
    facts = facts_of(tmp_path / "run")
    assert facts["replay_tokens"] == 0
    assert facts["training_documents"] + facts["held_out_conversations"] == 200


def test_replay_depends_on_the_seed_alone():
    draw = random.Random(0)
    talks = [{"input_ids": np.arange(n), "labels": np.arange(n)} for n in draw.choices(range(9, 40), k=50)]
    tokenizer = load("shipped/pretrain")[1]
    world = pretraining_of(Path("minimind/shipped/pretrain").resolve(), tokenizer)
    assert world.seed == 0

    def replayed(seed: int) -> list[list[int]]:
        mixed = with_replay(talks, world.documents(seed), 0.3, Counter())
        return [example["input_ids"].tolist() for example in mixed]

    assert replayed(1) == replayed(1) != replayed(2)


def test_every_other_document_of_the_world_that_is_replayed_tells_facts():
    tokenizer = load("shipped/pretrain")[1]
    documents = pretraining_of(find_run("shipped/pretrain"), tokenizer).documents(seed=0)
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in islice(documents, 400)]
    assert all(text.startswith("From ") for text in texts[1::2])
    assert len({text.partition(" ")[0] for text in texts[::2]}) == 5
    assert len(set(texts)) == len(texts)
    told = " ".join(texts)
    assert all(f" {place}." in told for place in World(0).facts)


def test_a_base_of_which_nothing_is_known_is_tuned_without_replay(base, tmp_path, capsys):
    shutil.copytree(base, tmp_path / "foreign", ignore=shutil.ignore_patterns("run.json", "data"))
    sft(settings_for(base, tmp_path / "run", from_weight=str(tmp_path / "foreign"), steps=2))
    assert "no replay: what" in capsys.readouterr().out
    facts = facts_of(tmp_path / "run")
    assert (facts["replay_tokens"], facts["world_seed"]) == (0, None)
    assert "pretraining_perplexity" not in rows_of(tmp_path / "run")[-1]


def test_a_tuned_model_can_be_tuned_again_and_replays_its_pretraining(base, tuned, tmp_path):
    tokenizer = Tokenizer.load(tuned)
    assert pretraining_of(tuned, tokenizer) == replace(pretraining_of(base, tokenizer), tokenizer=tokenizer)
    sft(settings_for(base, tmp_path / "run", from_weight=str(tuned), steps=2))
    assert facts_of(tmp_path / "run")["replay_tokens"] > 0


def test_a_base_that_another_training_has_replaced_is_not_replayed(base, tmp_path, capsys):
    first, second = shutil.copytree(base, tmp_path / "pretrain"), tmp_path / "sft"
    sft(settings_for(base, second, from_weight=str(first), steps=2))
    tokenizer = Tokenizer.load(second)
    assert pretraining_of(second, tokenizer).folder == first
    weights = load_file(first / "model.safetensors")
    (first / "model.safetensors").unlink()
    assert not pretraining_of(second, tokenizer).known
    save_file({name: weight + 1 for name, weight in weights.items()}, first / "model.safetensors")
    assert not pretraining_of(second, tokenizer).known
    capsys.readouterr()
    sft(settings_for(base, tmp_path / "third", from_weight=str(second), steps=2))
    assert f"no replay: what {second} was pretrained on is not known" in capsys.readouterr().out
    assert facts_of(tmp_path / "third")["replay_tokens"] == 0

    # A run of before does not know of which weights it was made; what comes with the package knows one world.
    run = json.loads((second / "run.json").read_text())
    digest = run["data"].pop("base_weights")
    (second / "run.json").write_text(json.dumps(run))
    assert pretraining_of(second, tokenizer).folder == first
    run["data"] |= {"base": "shipped/pretrain", "base_weights": digest}
    (second / "run.json").write_text(json.dumps(run))
    assert pretraining_of(second, tokenizer).seed == 0


@pytest.mark.parametrize("way", ["stopped", pytest.param("killed", marks=[POSIX, pytest.mark.slow])])
def test_a_run_that_is_cut_short_ends_with_the_same_weights_even_if_the_base_is_gone(
    base, tuned, tmp_path, way
):
    shutil.copytree(base, tmp_path / "base")
    settings = settings_for(base, tmp_path / "run", from_weight=str(tmp_path / "base"))
    if way == "killed":
        kill_on_the_way("minimind.training.sft", settings)
    else:
        assert not sft(replace(settings, max_seconds=0)).finished
    shutil.rmtree(tmp_path / "base")
    assert sft(replace(settings, resume=True)).finished
    assert_same_result(tmp_path / "run", tuned)


def test_the_world_without_flags_answers_its_tasks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(answering_module, "CASES", 1)
    monkeypatch.setattr("minimind.training.fine_tuning.PRETRAINING_DOCUMENTS", 8)
    bars = []
    monkeypatch.setattr(
        "minimind.metrics.answers.progress", lambda items, what, *_: bars.append(what) or items
    )
    settings = SftSettings(
        output=str(tmp_path / "run"), from_weight="shipped/pretrain", steps=2, batch_size=2, seed=3,
        validate_every=1, validation_documents=4, sample_tokens=4, device="cpu", threads=1,
    )  # fmt: skip
    assert sft(settings).finished
    data = open_conversations(tmp_path / "run")
    assert (data.facts["world_seed"], data.facts["conversations_seed"]) == (0, 0)
    (conversation,) = islice(World(0).conversations("validation"), 1)
    text = data.tokenizer.decode(data.answers["input_ids"].reshape(-1).tolist())
    assert conversation.messages[0]["content"] in text
    first, last = rows_of(tmp_path / "run")
    assert bars == ["answering, questions"]
    assert "figures from so few" not in capsys.readouterr().out
    assert "accuracy" not in first
    assert 0 <= last["accuracy"] <= 1
    assert set(last["accuracy_by_task"]) == set(TASKS)
    tokens = int((data.answers["labels"] >= 0).sum())
    floor = sum(item.nats for item in islice(World(0).conversations("validation"), 4)) / tokens
    assert np.log(last["floor_perplexity"]) == pytest.approx(floor)
    assert "facts 0" in (tmp_path / "run" / "report.html").read_text()


def test_held_out_answers_are_measured_as_one_would_by_hand(base):
    draw = random.Random(2)
    model = MiniMind(ModelConfig(hidden_size=32, num_hidden_layers=1, vocab_size=40)).eval()
    model.generation_config["eos_token_id"] = [2, 7]
    examples = []
    for _ in range(30):
        ids = [draw.randrange(3, 7) for _ in range(draw.randint(3, 9))] + [draw.choice([2, 7])]
        examples.append({"input_ids": ids, "labels": [-100] * 2 + ids[2:]})
    with torch.no_grad():
        # Half of the ends are foreseen: after an even token the model finds the end likeliest.
        model.model.embed_tokens.weight[2] = 3 * model.model.embed_tokens.weight[4]
    nats = tokens = stops = 0
    for example in examples:
        with torch.no_grad():
            logits = model(torch.tensor([example["input_ids"]])).logits[0]
        for place in range(2, len(example["input_ids"])):
            nats -= float(logits[place - 1].log_softmax(-1)[example["input_ids"][place]])
            tokens += 1
        stops += int(logits[-2].argmax()) in (2, 7)
    assert 0 < stops < 30
    measured = held_out_answers(model, pack(examples, 24).columns)
    assert (measured.tokens, measured.ends, measured.stops) == (tokens, 30, stops)
    assert measured.nats == pytest.approx(nats, rel=1e-5)
    figures = measured.figures(floor_nats=tokens * 0.5)
    assert figures["floor_perplexity"] == pytest.approx(np.exp(0.5))
    assert figures["end_accuracy"] == stops / 30


def test_what_is_longer_than_a_row_is_said(base, tmp_path, capsys):
    sft(settings_for(base, tmp_path / "run", max_seq_len=64, steps=2))
    facts = facts_of(tmp_path / "run")
    assert facts["truncated"] > 20
    assert facts["answers_without_end"] == 0
    said = capsys.readouterr().out
    assert f"{facts['truncated']} of {facts['conversations']} conversations longer than a row" in said
    assert f"held out: {facts['held_out_conversations']} conversations; figures from so few are rough" in said


def test_few_held_out_conversations_are_remarked_upon():
    facts = {"conversations": 400, "truncated": 0, "answers_without_end": 0, "dropped": 0}
    own = {"conversations_seed": None}
    assert notes_of({**facts, **own, "held_out_conversations": 1}) == [
        "held out: 1 conversation; figures from so few are rough"
    ]
    assert len(notes_of({**facts, **own, "held_out_conversations": 19})) == 1
    assert notes_of({**facts, **own, "held_out_conversations": 20}) == []
    assert notes_of({**facts, "conversations_seed": 0, "held_out_conversations": 1}) == []


def test_a_conversation_without_room_for_its_tools_is_left_out_and_counted(base, tmp_path, capsys):
    """Rows with a tool that is called, of which the description is longer than a row."""
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "add", "arguments": {"a": 1}}]}
    tools = [{"name": "add", "description": "the old house and the river " * 9}]
    rows = [
        {"conversations": [{"role": "user", "content": f"{number}?"}, call], "tools": tools}
        for number in range(30)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "tools.jsonl").write_text(text)
    (tmp_path / "both.jsonl").write_text((base.parents[1] / "talks.jsonl").read_text() + text)
    sft(settings_for(base, tmp_path / "run", data_path=str(tmp_path / "both.jsonl"), steps=2))
    facts = facts_of(tmp_path / "run")
    held_out = len(documents_of(open_conversations(tmp_path / "run").answers))
    assert facts["held_out_conversations"] == held_out > 0
    assert 20 <= facts["dropped"] <= 30
    said = f"{facts['dropped']} of {facts['conversations']} conversations too long for a row with the tools"
    assert said in capsys.readouterr().out
    settings = settings_for(base, tmp_path / "none", data_path=str(tmp_path / "tools.jsonl"))
    refused(settings, r"max_seq_len 128: no training conversation fits .* give a larger --max-seq-len")


def refused(settings: SftSettings, words: str) -> str:
    with pytest.raises(UserError, match=words) as caught:
        sft(settings)
    assert "\n" not in str(caught.value)
    assert not (Path(settings.output) / "data").exists() or settings.output == settings.from_weight
    return str(caught.value)


def test_what_cannot_work_is_refused_in_a_line(base, tmp_path):
    run = tmp_path / "run"
    refused(settings_for(base, run, from_weight="nowhere"), "^--from-weight nowhere: no such run")
    refused(settings_for(base, base, overwrite=True), "is --output itself")
    refused(
        settings_for(base, run, max_seq_len=256), r"max_seq_len 256 is longer than 128.*--max-seq-len 128"
    )
    refused(settings_for(base, run, replay=1), "replay must be at least 0 and below 1, got 1")
    refused(settings_for(base, run, data_path=None, epochs=3), "no epochs")
    assert (base / "model.safetensors").exists()
    other = tmp_path / "other"
    shutil.copytree(base, other)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path("minimind/shipped/pretrain") / name, other / name)
    refused(settings_for(base, run, from_weight=str(other)), "tokenizer has 1024 ids, the model 300")


def test_one_percent_of_broken_rows_is_refused_or_left_out_and_listed(base, tmp_path, capsys):
    good = (base.parents[1] / "talks.jsonl").read_text().splitlines()
    broken = [
        '{"conversations": [{"role": "assistant", "content": "Hi"}]}',
        "{",
        '{"text": "a"}',
        '{"messages": []}',
    ]
    path = tmp_path / "talks.jsonl"
    path.write_text("\n".join([*good, *good[:100], *broken]) + "\n")
    settings = settings_for(base, tmp_path / "run", data_path=str(path), steps=2)
    said = refused(
        settings, r"4 bad rows: .*:301: .* \| .*:302: .* \| .*:303: .*\(and 1 more\).*--skip-bad-rows"
    )
    assert "message 1: the first message must be 'system' or 'user', found 'assistant'" in said
    assert sft(replace(settings, skip_bad_rows=True)).finished
    assert "left out 4 bad row(s)" in capsys.readouterr().out
    assert facts_of(tmp_path / "run")["bad_rows"] == 4
    report = (tmp_path / "run" / "report.html").read_text()
    assert all(f"talks.jsonl:{line}: " in report for line in (301, 302, 303, 304))


def test_equal_runs_share_rows_and_others_do_not(base, tmp_path, monkeypatch):
    sft(settings_for(base, tmp_path / "one", steps=2))
    made = []
    monkeypatch.setattr(
        "minimind.training.corpus.make_corpus",
        lambda *given: made.append(given) or (_ for _ in ()).throw(UserError("made anew")),
    )
    sft(settings_for(base, tmp_path / "two", steps=3))
    assert not made
    other = (
        "fp32" if supports_bfloat16(torch.device("cpu")) else "bf16"
    )  # What is measured of the base differs.
    for number, changes in enumerate(
        [{"replay": 0.2}, {"seed": 1}, {"max_seq_len": 64}, {"precision": other}]
    ):
        with pytest.raises(UserError, match="made anew"):
            sft(settings_for(base, tmp_path / f"other {number}", **changes))
