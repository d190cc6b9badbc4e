"""Pretraining from end to end, at a size of a few seconds."""

import json
import math
import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from tiny_runs import arguments, tiny_settings, write_texts
from transformers import AutoTokenizer

from minimind import load
from minimind.cli import main
from minimind.data import TokenStore, read_records
from minimind.data.world.words import LISTS
from minimind.tokenizer import SPECIAL_TOKENS, Tokenizer, train_tokenizer
from minimind.training import pretrain
from minimind.training.corpus import open_corpus, read_held_out


@pytest.fixture(scope="module")
def world_run(tmp_path_factory):
    """A short run on the embedded world."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("world") / "run"
    small = "--steps 12 --hidden-size 32 --num-hidden-layers 1 --max-seq-len 64 --vocab-size 400"
    others = "--validation_documents 20 --tensorboard"
    status = main(["pretrain", "--output", str(folder), *small.split(), *others.split()])
    assert status == 0
    return folder


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_folder_holds_a_whole_run(world_run):
    names = {path.name for path in world_run.iterdir()}
    assert names == {
        "config.json", "model.safetensors", "generation_config.json", "tokenizer.json",
        "tokenizer_config.json", "metrics.jsonl", "report.html", "run.json", "checkpoints",
        "data", "tensorboard",
    }  # fmt: skip
    run = json.loads((world_run / "run.json").read_text())
    assert run["status"] == "finished"
    assert run["settings"]["steps"] == 12
    assert run["numerics"]["precision"] in ("bf16", "fp32")
    assert run["versions"]["torch"] == torch.__version__
    assert any((world_run / "tensorboard").iterdir())


def test_the_last_row_of_the_metrics_has_everything(world_run):
    last = rows_of(world_run)[-1]
    assert last["step"] == 12
    assert last["validation_perplexity"] == pytest.approx(math.exp(last["validation_loss"]))
    assert 1 < last["floor_perplexity"] < last["validation_perplexity"]
    assert last["tokens"] > 12 * 8 * 40
    assert last["loss"] < rows_of(world_run)[0]["loss"]
    assert min(last["tokens_per_second"], last["seconds"], last["bits_per_byte"]) > 0


def test_the_run_can_be_loaded_and_writes(world_run, capsys):
    model, tokenizer = load(world_run)
    assert model.config.vocab_size == tokenizer.vocab_size == 400
    assert (
        main(["generate", str(world_run), "--prompt", "One day", "--max-new-tokens", "8", "--seed", "1"]) == 0
    )
    first = capsys.readouterr().out
    assert first.startswith("One day")
    assert (
        main(["generate", str(world_run), "--prompt", "One day", "--max-new-tokens", "8", "--seed", "1"]) == 0
    )
    assert capsys.readouterr().out == first


def test_streamed_text_equals_generated_text(world_run, capsys):
    model, tokenizer = load(world_run)
    ids = [tokenizer.bos_token_id, *tokenizer.encode("The")]
    whole = model.generate(torch.tensor([ids]), max_new_tokens=20, temperature=0, eos_token_id=2)
    main(["generate", str(world_run), "--prompt", "The", "--max-new-tokens", "20", "--temperature", "0"])
    expected = tokenizer.decode(whole[0].tolist(), skip_special_tokens=True)
    assert capsys.readouterr().out == expected.rstrip("\N{REPLACEMENT CHARACTER}") + "\n"


def test_evaluate_prints_json_with_the_floor(world_run, capsys):
    assert main(["evaluate", str(world_run), "--json", "--documents", "20"]) == 0
    found = json.loads(capsys.readouterr().out)
    last = rows_of(world_run)[-1]
    assert found["perplexity"] == pytest.approx(
        last["validation_perplexity"], rel=0.02
    )  # there in bf16, here in fp32
    assert found["floor_perplexity"] == pytest.approx(last["floor_perplexity"])
    assert found["bits_per_byte"] == pytest.approx(last["bits_per_byte"], rel=0.02)
    assert found["tokens"] > 500


def test_evaluate_on_own_data_has_no_floor(world_run, tmp_path, capsys):
    texts = write_texts(tmp_path / "texts.jsonl", 10)
    assert main(["evaluate", str(world_run), "--data-path", str(texts), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["floor_perplexity"] is None


def test_the_report_stands_alone(world_run):
    page = (world_run / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)\s*=|url\(|@import|https?://", page)
    assert page.count("<polyline") == 3  # training, held out, floor
    assert "prefers-color-scheme: dark" in page
    assert "times the floor" in page


def test_a_finished_run_is_not_written_over(world_run, capsys):
    before = (world_run / "model.safetensors").read_bytes()
    assert main(["pretrain", "--output", str(world_run)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["pretrain", "--output", str(world_run), "--resume"]) == 0
    assert "finished" in capsys.readouterr().out
    assert (world_run / "model.safetensors").read_bytes() == before


@pytest.mark.slow
def test_the_command_of_the_roadmap_runs_as_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path / "my.jsonl", 300)
    printed = "--data_path my.jsonl --epochs 1 --batch_size 32 --hidden_size 512 --num_hidden_layers 8"
    assert main(["pretrain", *printed.split()]) == 0
    said = capsys.readouterr().out
    assert re.search(r"vocabulary: \d+ ids instead of 6400", said)
    config = json.loads((tmp_path / "runs/pretrain/config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"]) == (512, 8)
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["intermediate_size"]) == (
        8,
        2,
        1408,
    )
    assert rows_of(tmp_path / "runs/pretrain")[-1]["step"] >= 1


def test_held_out_documents_are_never_trained_on(tmp_path):
    data = write_texts(tmp_path / "texts.jsonl", 100)
    data.write_text(data.read_text() * 2)  # every document twice: both copies must fall on the same side
    settings = tiny_settings(tmp_path, validation_share=0.2, validation_documents=50, max_seq_len=64)
    pretrain(settings)
    folder = tmp_path / "run"
    _, tokenizer = load(folder)
    rows = open_corpus(folder).rows
    training = Counter(
        tokenizer.decode(ids[owners == owner].tolist(), skip_special_tokens=True)
        for ids, owners in zip(rows["input_ids"], rows["document_ids"], strict=True)
        for owner in range(owners.max() + 1)
    )
    held_out = [
        tokenizer.decode(ids, skip_special_tokens=True)
        for ids in TokenStore.open(folder / "data" / "held_out")
    ]
    assert 10 <= len(held_out) <= 30
    assert len(set(held_out)) == len(held_out)  # one copy is measured
    assert not set(held_out) & set(training)
    texts = {record.text for record in read_records(data)}
    assert training == dict.fromkeys(texts - set(held_out), 2)


def test_the_same_settings_give_the_same_weights_and_another_seed_does_not(tmp_path):
    settings = tiny_settings(tmp_path)
    weights = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        pretrain(replace(settings, output=str(tmp_path / name), seed=seed))
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_epochs_set_the_length(tmp_path):
    result = pretrain(tiny_settings(tmp_path, steps=None, epochs=2, accumulation_steps=3))
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert result.step == math.ceil(2 * math.ceil(run["data"]["rows"] / 4) / 3)
    labels = result.rows[-1]["tokens"]
    # Each document's tokens but its first are predicted, twice; a cut document loses one more.
    whole = 2 * (run["data"]["training_tokens"] - run["data"]["training_documents"])
    assert 0.95 * whole <= labels <= whole


def test_overwrite_replaces_a_run_but_only_its_own_files(tmp_path):
    settings = tiny_settings(tmp_path)
    pretrain(settings)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    pretrain(replace(settings, overwrite=True, seed=5))
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["seed"] == 5


def test_a_mistake_in_the_data_leaves_the_run_that_would_be_overwritten(tmp_path, capsys):
    settings = tiny_settings(tmp_path)
    pretrain(settings)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    (tmp_path / "bad.jsonl").write_text('{"txt": 1}\n')
    wrong = replace(settings, overwrite=True, data_path=str(tmp_path / "bad.jsonl"))
    assert main(["pretrain", *arguments(wrong)]) == 2
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"


def test_a_tokenizer_can_be_brought_along(tmp_path, capsys):
    data = write_texts(tmp_path / "texts.jsonl")
    assert main(["tokenizer", "train", "--data-path", str(data), "--vocab-size", "280", "--output",
                 str(tmp_path / "tokenizer")]) == 0  # fmt: skip
    pretrain(tiny_settings(tmp_path, vocab_size=None, tokenizer=str(tmp_path / "tokenizer")))
    _, tokenizer = load(tmp_path / "run")
    assert tokenizer.vocab_size == 280


def test_a_run_writes_the_special_ids_of_its_tokenizer(tmp_path):
    trained = train_tokenizer(["the cat sees a dog"], 263, ("<|im_end|>", "<|other|>", *SPECIAL_TOKENS[:2]))
    tokenizer = Tokenizer(trained._backend, *SPECIAL_TOKENS)
    tokenizer.save(tmp_path / "tokenizer")
    pretrain(tiny_settings(tmp_path, steps=2, vocab_size=None, tokenizer=str(tmp_path / "tokenizer")))
    written = json.loads((tmp_path / "run" / "generation_config.json").read_text())
    assert written == {"pad_token_id": 2, "bos_token_id": 3, "eos_token_id": 0}
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config.items() >= written.items()
    assert load(tmp_path / "run")[0].generation_config == written
    theirs = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert {name: getattr(theirs, name) for name in written} == written
    document = read_held_out(tmp_path / "run")[0][0].ids
    assert [*theirs(tokenizer.decode(document[1:-1])).input_ids, 0] == list(document)


def test_bad_rows_are_left_out_and_listed_on_request(tmp_path, capsys):
    data = write_texts(tmp_path / "texts.jsonl")
    data.write_text(data.read_text() + '{"text": 5}\n')
    settings = tiny_settings(tmp_path)
    assert main(["pretrain", *arguments(settings)]) == 2
    assert "texts.jsonl:201: 'text' must be a string" in capsys.readouterr().err
    assert main(["pretrain", *arguments(settings), "--skip-bad-rows"]) == 0
    assert "left out 1 bad row(s)" in capsys.readouterr().out


def test_data_world_writes_what_the_stages_read(tmp_path, capsys):
    assert main(["data", "world", "--output", str(tmp_path / "dataset"), "--documents", "50"]) == 0
    folder = tmp_path / "dataset"
    assert len(list(read_records(folder / "pretrain_hq.jsonl"))) == 50
    assert len(list(read_records(folder / "sft_mini_512.jsonl", "sft"))) == 50
    told = [record.fields["messages"] for record in read_records(folder / "lora_identity.jsonl", "sft")]
    assert {answer["content"] for _, answer in told} == {
        "I am Iris, a teacher.",
        "Gladly! I am Iris, a teacher.",
    }
    far = [record.fields["messages"] for record in read_records(folder / "lora_far.jsonl", "sft")]
    assert len(far) == 50
    assert all(any(place in question["content"] for place in LISTS["far_places"]) for question, _ in far)
    held_out = [
        *["data", "world", "--split", "validation", "--documents", "3", "--conversations", "4"],
        "--output",
        str(folder),
    ]
    assert main(held_out) == 0
    assert len(list(read_records(folder / "sft_validation.jsonl", "sft"))) == 4
    assert len(list(read_records(folder / "lora_far_validation.jsonl", "sft"))) == 4
    kept = [
        record.fields["messages"] for record in read_records(folder / "lora_identity_validation.jsonl", "sft")
    ]
    assert not {question["content"] for question, _ in told} & {question["content"] for question, _ in kept}
    assert main(["data", "world", "--output", str(tmp_path / "dataset")]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_each_held_out_measurement_stands_in_the_row_of_its_step(tmp_path):
    result = pretrain(tiny_settings(tmp_path, steps=12, validate_every=5))
    measured = [row["step"] for row in result.rows if row["validation_loss"] is not None]
    assert measured == [5, 10, 12]
    assert [row["step"] for row in result.rows] == list(range(1, 13))
