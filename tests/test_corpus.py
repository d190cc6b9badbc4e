"""From files to rows: one pass, one tokenizer, and prepared data that runs share."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from tiny_runs import arguments, tiny_settings, write_texts

import minimind.training.corpus as corpus_module
from minimind.cli import main
from minimind.data import Record, read_records, tokenizer_sample
from minimind.errors import UserError
from minimind.evaluation.evaluate import evaluate
from minimind.settings import EvaluateSettings
from minimind.tokenizer import Tokenizer
from minimind.training import pretrain
from minimind.training.corpus import NewTokenizer, digest, hold_out, open_corpus, prepare_corpus
from minimind.training.prepared import PACKAGE, code_digest


@dataclass(frozen=True)
class Text:
    text: str


def split(texts: list[str], most: int, share: float) -> tuple[list[str], list[str]]:
    kept: list[Text] = []
    training = [document.text for document in hold_out(map(Text, texts), most, share, kept)]
    return training, [document.text for document in kept]


@examples(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 40).map(str), min_size=2, max_size=80), st.integers(1, 9), st.floats(0.01, 0.99)
)
def test_the_smallest_hashes_are_held_out_and_all_else_is_trained_on(texts, most, share):
    training, held_out = split(texts, most, share)
    by_hash = sorted(set(texts), key=digest)
    below = sum(digest(text) < share * 2**64 for text in by_hash)
    count = max(1, min(most, below))
    if count == len(by_hash) > 1:
        count -= 1  # one is needed to train on
    assert held_out == by_hash[:count]
    assert Counter(training) == Counter(text for text in texts if text not in held_out)


def test_no_more_is_remembered_than_is_held_out():
    remembered = []

    def documents():
        for number in range(3000):
            yield Text(f"text {number}")
            remembered.append(len(handed_on))

    handed_on: list[Text] = []
    for document in hold_out(documents(), 5, 0.5, []):
        handed_on.append(document)
    assert all(read - given <= 6 for read, given in enumerate(remembered, start=1))


def test_a_text_that_was_pushed_out_stays_out():
    first, second, *_ = sorted((f"text {number}" for number in range(50)), key=digest)
    training, held_out = split([second, second, first, second], 1, 0.5)
    assert (training, held_out) == ([second] * 3, [first])


def test_rows_of_one_text_that_is_pushed_out_keep_what_else_they_have():
    first, second, *_ = sorted((f"text {number}" for number in range(50)), key=digest)
    weights = [-0.7, 0.1, 0.1, -0.7]
    rows = [Record(second, Path("rows.jsonl"), n, 20, {"weight": w}) for n, w in enumerate(weights, start=1)]
    kept: list[Record] = []
    training = list(hold_out([*rows, Record(first, Path("rows.jsonl"), 5, 20)], 1, 0.5, kept))
    assert [(record.text, record.fields["weight"]) for record in training] == [(second, w) for w in weights]
    assert [record.text for record in kept] == [first]


def learned(tmp_path: Path, data: str | None, *more: str) -> tuple[str, str]:
    """Digests of the tokenizers that the two commands learn."""
    flags = ["--vocab-size", "300", *(["--data-path", data] if data else []), *more]
    small = "--steps 1 --hidden-size 32 --num-hidden-layers 1 --max-seq-len 32 --validation-documents 4"
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert main(["tokenizer", "train", "--output", str(tmp_path / "out" / "tokenizer"), *flags]) == 0
    assert main(["pretrain", "--output", str(tmp_path / "out" / "run"), *small.split(), *flags]) == 0
    one, two = (Tokenizer.load(tmp_path / "out" / name).digest for name in ("tokenizer", "run"))
    return one, two


def test_both_commands_learn_the_same_tokenizer_from_a_file(tmp_path, monkeypatch):
    data = write_texts(tmp_path / "texts.jsonl", 300)
    whole = learned(tmp_path, str(data))
    assert whole[0] == whole[1]
    monkeypatch.setattr("minimind.data.records.READ_WHOLE", 0)
    monkeypatch.setattr("minimind.data.records.SAMPLE_DOCUMENTS", 40)
    sampled = learned(tmp_path, str(data))
    assert sampled[0] == sampled[1] != whole[0]


def test_both_commands_learn_the_same_tokenizer_from_several_files(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        write_texts(folder / f"{number}.jsonl", 50, seed=number)
    (folder / "plain.txt").write_text("A plain text, which is one document.\n" * 30)
    monkeypatch.setattr("minimind.data.records.READ_WHOLE", 0)
    one, two = learned(tmp_path, str(folder))
    assert one == two


def test_both_commands_learn_the_same_tokenizer_from_the_world(tmp_path):
    one, two = learned(tmp_path, None, "--seed", "3")
    assert one == two
    assert learned(tmp_path, None)[0] != one


def test_a_sample_is_taken_evenly_and_each_line_once(tmp_path, monkeypatch):
    monkeypatch.setattr("minimind.data.records.READ_WHOLE", 0)
    monkeypatch.setattr("minimind.data.records.SAMPLE_DOCUMENTS", 100)
    paths = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for start, path in enumerate(paths):
        path.write_text("".join(json.dumps({"text": f"{start * 700 + n:05}"}) + "\n" for n in range(700)))
    numbers = [int(text) for text in tokenizer_sample(paths)]
    assert len(numbers) in range(98, 103)
    apart = [later - earlier for earlier, later in pairwise(numbers)]
    assert 20 <= min(apart) <= max(apart) <= 22
    assert numbers[0] == 0
    monkeypatch.setattr("minimind.data.records.SAMPLE_DOCUMENTS", 10**5)
    assert [int(text) for text in tokenizer_sample(paths)] == list(range(2100))


def test_a_sample_reads_little_of_a_large_plain_text_and_passes_over_bad_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("minimind.data.records.READ_WHOLE", 100)
    monkeypatch.setattr("minimind.data.records.SAMPLE_DOCUMENTS", 4)
    monkeypatch.setattr("minimind.data.records.SAMPLE_LENGTH", 50)
    (tmp_path / "large.txt").write_text("".join(f"line {number:04}\n" for number in range(1000)))
    pieces = tokenizer_sample(tmp_path / "large.txt")
    assert [piece[:9] for piece in pieces] == ["line 0000", "line 0250", "line 0500", "line 0750"]
    assert all(len(piece) <= 60 for piece in pieces)
    (tmp_path / "bad.jsonl").write_text('{"txt": 1}\n' * 20 + '{"text": "good"}\n')
    monkeypatch.setattr("minimind.data.records.SAMPLE_DOCUMENTS", 1000)
    assert tokenizer_sample(tmp_path / "bad.jsonl") == ["good"]


def letters(count: int, seed: int = 0) -> str:
    """Text without a line's end, of which every few letters differ from all others; "é" takes two bytes."""
    return "".join(random.Random(seed).choices("abcdefgé ", k=count))


def test_a_sample_of_long_plain_texts_of_one_line_is_even_over_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("minimind.data.records.READ_WHOLE", 1000)
    monkeypatch.setattr("minimind.data.records.SAMPLE_DOCUMENTS", 30)
    monkeypatch.setattr("minimind.data.records.SAMPLE_LENGTH", 100)
    texts = [letters(10_000, seed) for seed in range(3)]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    pieces = tokenizer_sample(tmp_path)
    assert len(pieces) in (30, 31)
    sizes = sorted(len(piece.encode()) for piece in pieces)
    # A character that is cut is in neither piece; the last piece of each text may be a short one.
    assert sizes[3] >= 98
    assert sizes[-1] == 100
    for text in texts:
        found = [text.index(piece) for piece in pieces if piece in text]
        assert len(found) in (10, 11)
        assert all(800 <= later - earlier <= 1200 for earlier, later in pairwise(found))


def test_a_sample_of_two_long_rows_is_even_over_both(tmp_path, monkeypatch):
    monkeypatch.setattr("minimind.data.records.READ_WHOLE", 1000)
    monkeypatch.setattr("minimind.data.records.SAMPLE_DOCUMENTS", 40)
    monkeypatch.setattr("minimind.data.records.SAMPLE_LENGTH", 100)
    texts = [letters(20_000), letters(20_000, seed=1)]
    rows = ['{"text": "short"}', *(json.dumps({"text": text}) for text in texts), '{"text": "short"}']
    (tmp_path / "long.jsonl").write_text("\n".join(rows))
    pieces = tokenizer_sample(tmp_path / "long.jsonl")
    assert pieces.count("short") <= 2
    for text in texts:
        found = [text.index(piece) for piece in pieces if piece in text]
        assert len(found) in range(18, 22)
        assert all(800 <= later - earlier <= 1200 for earlier, later in pairwise(found))
    monkeypatch.setattr("minimind.data.records.SAMPLE_DOCUMENTS", 10**5)
    assert "".join(tokenizer_sample(tmp_path / "long.jsonl")) == f"short{texts[0]}{texts[1]}short"


def test_a_sample_of_two_documents_of_two_megabytes_is_all_of_both(tmp_path):
    (tmp_path / "long.jsonl").write_text(
        "".join(json.dumps({"text": letters(2_100_000, seed)}) + "\n" for seed in range(2))
    )
    assert sum(map(len, tokenizer_sample(tmp_path / "long.jsonl"))) == 4_200_000


def test_a_sample_of_small_files_is_all_of_them(tmp_path):
    texts = [letters(50_000), *(letters(20, seed) for seed in range(1, 50))]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "text.txt").write_text(letters(30_000, seed=99))
    assert tokenizer_sample(tmp_path) == [*texts, letters(30_000, seed=99)]


def test_a_file_is_read_once_beside_the_sample(tmp_path, monkeypatch):
    opened = []
    real = corpus_module.read_records
    monkeypatch.setattr(corpus_module, "read_records", lambda *a, **n: opened.append(a) or real(*a, **n))
    pretrain(tiny_settings(tmp_path, max_seconds=0))
    assert len(opened) == 1


def test_mistakes_are_told_after_the_pass_and_nothing_is_left(tmp_path, capsys):
    data = write_texts(tmp_path / "texts.jsonl")
    data.write_text('{"txt": 1}\n' + data.read_text() + "{\n")
    assert main(["pretrain", *arguments(tiny_settings(tmp_path))]) == 2
    said = capsys.readouterr().err
    assert "texts.jsonl:1: " in said
    assert "texts.jsonl:202: " in said
    assert {path.name for path in tmp_path.iterdir()} == {"texts.jsonl"}


def inode(folder: Path) -> int:
    return (folder / "data" / "rows" / "input_ids.bin").stat().st_ino


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture
def never_again(monkeypatch):
    """From here on, nothing may be prepared anew."""

    def forbid() -> None:
        def fail(*_):
            raise AssertionError("the data are prepared again")

        monkeypatch.setattr(corpus_module, "make_corpus", fail)

    return forbid


def test_equal_runs_beside_each_other_share_their_data(tmp_path, never_again, capsys):
    data = write_texts(tmp_path / "texts.jsonl")
    data.write_text(data.read_text() + '{"text": 5}\n')
    settings = tiny_settings(tmp_path, skip_bad_rows=True, vocab_size=None)
    pretrain(replace(settings, output=str(tmp_path / "one")))
    first = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith(("left out", "vocabulary"))
    ]
    never_again()
    pretrain(replace(settings, output=str(tmp_path / "two")))
    again = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith(("left out", "vocabulary"))
    ]
    assert inode(tmp_path / "one") == inode(tmp_path / "two")
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    assert again == first
    assert len(first) == 2


@pytest.mark.parametrize(
    "change",
    [{"max_seq_len": 48}, {"vocab_size": 290}, {"validation_documents": 3}, {"validation_share": 0.3}],
)
def test_unequal_runs_share_nothing(tmp_path, change):
    settings = tiny_settings(tmp_path, max_seconds=0)
    pretrain(replace(settings, output=str(tmp_path / "one")))
    pretrain(replace(settings, output=str(tmp_path / "two"), **change))
    assert inode(tmp_path / "one") != inode(tmp_path / "two")


def test_a_file_that_has_changed_is_read_again(tmp_path):
    settings = tiny_settings(tmp_path, max_seconds=0)
    pretrain(replace(settings, output=str(tmp_path / "one")))
    write_texts(tmp_path / "texts.jsonl", seed=7)
    pretrain(replace(settings, output=str(tmp_path / "two")))
    kept = [
        sorted(tuple(document.ids) for document in open_corpus(tmp_path / name).held_out)
        for name in ("one", "two")
    ]
    assert kept[0] != kept[1]


def test_the_world_is_shared_where_seed_and_length_are_equal(tmp_path):
    settings = tiny_settings(tmp_path, data_path=None, max_seconds=0)
    for name, change in {"one": {}, "two": {}, "three": {"seed": 1}, "four": {"steps": 40}}.items():
        pretrain(replace(settings, output=str(tmp_path / name), **change))
    first = inode(tmp_path / "one")
    assert [inode(tmp_path / name) == first for name in ("two", "three", "four")] == [True, False, False]


def test_deleting_one_run_harms_no_other_and_a_resumed_run_reads_what_it_began_with(tmp_path, never_again):
    settings = tiny_settings(tmp_path)
    pretrain(replace(settings, output=str(tmp_path / "whole")))
    pretrain(replace(settings, output=str(tmp_path / "two"), max_seconds=0))
    shutil.rmtree(tmp_path / "whole" / "data")
    write_texts(tmp_path / "texts.jsonl", seed=7)
    never_again()
    pretrain(replace(settings, output=str(tmp_path / "two"), resume=True))
    assert weights(tmp_path / "whole") == weights(tmp_path / "two")


def test_a_run_that_is_overwritten_leaves_the_data_of_the_other(tmp_path):
    settings = tiny_settings(tmp_path, max_seconds=0)
    pretrain(replace(settings, output=str(tmp_path / "one")))
    pretrain(replace(settings, output=str(tmp_path / "two")))
    before = {path: path.read_bytes() for path in (tmp_path / "two").rglob("*") if path.is_file()}
    other = write_texts(tmp_path / "other.jsonl", seed=3)
    pretrain(replace(settings, output=str(tmp_path / "one"), data_path=str(other), overwrite=True))
    assert {path: path.read_bytes() for path in (tmp_path / "two").rglob("*") if path.is_file()} == before


def test_a_tokenizer_that_was_changed_in_one_run_is_not_that_of_the_next(tmp_path):
    settings = tiny_settings(tmp_path, max_seconds=0)
    pretrain(replace(settings, output=str(tmp_path / "one")))
    path = tmp_path / "one" / "tokenizer_config.json"
    before = path.read_text()
    path.write_text(before.replace("<|im_end|>", "<|im_start|>"))
    pretrain(replace(settings, output=str(tmp_path / "two")))
    assert inode(tmp_path / "one") == inode(tmp_path / "two")
    assert (tmp_path / "two" / "tokenizer_config.json").read_text() == before


def test_damaged_data_of_another_run_are_not_taken(tmp_path):
    settings = tiny_settings(tmp_path)
    pretrain(replace(settings, output=str(tmp_path / "one")))
    os.truncate(tmp_path / "one" / "data" / "rows" / "labels.bin", 10)
    pretrain(replace(settings, output=str(tmp_path / "two")))
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_a_prepared_folder_is_made_and_used(tmp_path, never_again):
    settings = tiny_settings(tmp_path, prepared=str(tmp_path / "shared" / "base"))
    pretrain(replace(settings, output=str(tmp_path / "a" / "run")))
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {"base"}
    assert {path.name for path in (tmp_path / "shared" / "base").iterdir()} == {"data"}
    never_again()
    pretrain(replace(settings, output=str(tmp_path / "b" / "run")))
    assert (
        inode(tmp_path / "a" / "run") == inode(tmp_path / "b" / "run") == inode(tmp_path / "shared" / "base")
    )
    assert weights(tmp_path / "a" / "run") == weights(tmp_path / "b" / "run")
    shutil.rmtree(tmp_path / "shared")
    assert len(open_corpus(tmp_path / "b" / "run").rows["labels"]) > 0


def test_a_prepared_folder_of_something_else_is_named_with_what_differs(tmp_path, capsys):
    base = tmp_path / "base"
    settings = tiny_settings(tmp_path, prepared=str(base), max_seconds=0)
    pretrain(settings)
    wrong = replace(settings, output=str(tmp_path / "two"), max_seq_len=48, validation_documents=3)
    with pytest.raises(
        UserError, match=r"max_seq_len was 32, now 48; validation_documents was 8, now 3; choose"
    ):
        pretrain(wrong)
    assert not (tmp_path / "two").exists()
    os.truncate(base / "data" / "rows" / "labels.bin", 10)
    with pytest.raises(UserError, match=r"base: is damaged, delete it .*labels\.bin"):
        pretrain(replace(settings, output=str(tmp_path / "two")))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for other in ("mine", "texts.jsonl"):
        with pytest.raises(UserError, match="holds something else than prepared data"):
            pretrain(replace(settings, output=str(tmp_path / "two"), prepared=str(tmp_path / other)))
    assert {path.name for path in tmp_path.iterdir()} == {"base", "run", "texts.jsonl", "mine"}


def test_where_the_disk_knows_no_links_files_are_copied(tmp_path, monkeypatch):
    settings = tiny_settings(tmp_path)
    pretrain(replace(settings, output=str(tmp_path / "one")))

    def no_links(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(corpus_module, "make_corpus", None)
    pretrain(replace(settings, output=str(tmp_path / "two")))
    assert inode(tmp_path / "one") != inode(tmp_path / "two")
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_a_run_that_is_slower_to_prepare_takes_part_all_the_same(tmp_path, monkeypatch):
    base, real = tmp_path / "base", corpus_module.make_corpus
    settings = tiny_settings(tmp_path, prepared=str(base))

    def meanwhile(*given):
        monkeypatch.setattr(corpus_module, "make_corpus", real)
        pretrain(replace(settings, output=str(tmp_path / "faster")))
        real(*given)

    monkeypatch.setattr(corpus_module, "make_corpus", meanwhile)
    pretrain(replace(settings, output=str(tmp_path / "slower")))
    assert weights(tmp_path / "faster") == weights(tmp_path / "slower")
    assert inode(base) == inode(tmp_path / "faster")
    assert {path.name for path in tmp_path.iterdir()} == {"base", "faster", "slower", "texts.jsonl"}


def start(settings) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "minimind", "pretrain", *arguments(settings)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_two_processes_prepare_one_folder_at_the_same_time(tmp_path):
    write_texts(tmp_path / "texts.jsonl", 1000)
    settings = tiny_settings(tmp_path, prepared=str(tmp_path / "base"), steps=2)
    running = [start(replace(settings, output=str(tmp_path / name))) for name in ("one", "two")]
    for process in running:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    assert inode(tmp_path / "base") in (inode(tmp_path / "one"), inode(tmp_path / "two"))
    assert {path.name for path in tmp_path.iterdir()} == {"base", "one", "two", "texts.jsonl"}


def test_a_killed_preparation_leaves_nothing_half(tmp_path):
    data = write_texts(tmp_path / "texts.jsonl", 30_000)
    settings = tiny_settings(tmp_path, prepared=str(tmp_path / "base"), steps=2)
    process = start(settings)
    writing = tmp_path / "run" / ".prepare" / "data" / "rows.part"
    deadline = time.monotonic() + 300
    while not writing.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert writing.exists()
    assert not (tmp_path / "base").exists()
    pretrain(settings)
    assert not (tmp_path / "run" / ".prepare").exists()
    corpus = open_corpus(tmp_path / "base")
    count = sum(1 for _ in read_records(data))
    held_out = {tuple(document.ids) for document in corpus.held_out}
    assert corpus.facts["training_documents"] + len(held_out) in range(count - 20, count + 1)


def test_the_api_prepares_a_folder_and_opens_it(tmp_path):
    settings = tiny_settings(tmp_path)
    size = prepare_corpus(settings, NewTokenizer(300), 0, tmp_path / "folder")
    corpus = open_corpus(tmp_path / "folder")
    assert size == corpus.tokenizer.vocab_size == corpus.facts["vocab_size"] == 300
    assert list(corpus.rows) == ["input_ids", "labels", "document_ids"]
    assert corpus.rows["input_ids"].shape[1] == 32
    assert len(corpus.held_out) == corpus.facts["held_out_documents"]


def test_the_key_changes_with_every_file_that_decides_what_a_corpus_becomes(tmp_path):
    package = shutil.copytree(PACKAGE, tmp_path / "minimind", ignore=shutil.ignore_patterns("shipped"))
    digests = {code_digest(), code_digest(package=package)}
    assert len(digests) == 1
    files = [package / "metrics" / "perplexity.py", package / "training" / "corpus.py"]
    files += [
        file
        for name in ("data", "tokenizer")
        for file in (package / name).rglob("*.*")
        if file.suffix != ".pyc"
    ]
    assert package / "data" / "world" / "words.toml" in files
    for number, file in enumerate(files, start=2):
        with file.open("a") as end:
            end.write("\n")
        digests.add(code_digest(package=package))
        assert len(digests) == number, file
    (package / "data" / "__pycache__").mkdir(exist_ok=True)
    (package / "data" / "__pycache__" / "made_by_python.pyc").write_text("1")
    assert code_digest(package=package) in digests


@pytest.mark.parametrize("count", [1, 2])
def test_copies_of_one_document_are_too_few(tmp_path, count):
    data = tmp_path / "texts.jsonl"
    data.write_text('{"text": "the cat sees the dog and the cat sees the tree"}\n' * count)
    with pytest.raises(UserError, match=r"texts\.jsonl: found no two documents that differ"):
        pretrain(tiny_settings(tmp_path, vocab_size=None))


def make_it_of_an_earlier_version(folder: Path) -> None:
    """Leave in a run's folder what such a version left there."""
    path = folder / "data" / "corpus.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({name: stored[name] for name in ("facts", "bytes", "nats")}))
    shutil.rmtree(folder / "data" / "tokenizer")
    (folder / "data" / "rows").rename(folder / "data" / "train")


def test_a_finished_run_of_an_earlier_version_is_evaluated(tmp_path):
    pretrain(tiny_settings(tmp_path))
    now = evaluate(EvaluateSettings(run=str(tmp_path / "run")))
    make_it_of_an_earlier_version(tmp_path / "run")
    assert evaluate(EvaluateSettings(run=str(tmp_path / "run"))) == now


def test_an_unfinished_run_of_an_earlier_version_says_that_it_cannot_go_on(tmp_path):
    settings = tiny_settings(tmp_path, max_seconds=0)
    pretrain(settings)
    make_it_of_an_earlier_version(tmp_path / "run")
    with pytest.raises(
        UserError,
        match=r"run: was begun by an earlier version of minimind and cannot go on; start over with --overwrite$",
    ):
        pretrain(replace(settings, resume=True))
    pretrain(replace(settings, output=str(tmp_path / "two")))  # which takes nothing from it
    assert open_corpus(tmp_path / "two").facts["vocab_size"] == 300
