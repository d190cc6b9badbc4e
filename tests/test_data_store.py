"""Rows and documents on disk: what was written comes back, and damage is noticed on opening."""

import json
import os

import numpy as np
import pytest

from minimind.data import TokenStore, encode_documents, open_rows, pack, pack_rows, write_rows
from minimind.errors import UserError
from minimind.tokenizer import train_tokenizer

DOCUMENTS = [[1, 5, 2], [1, 6, 7, 8, 2], [9]]


@pytest.fixture
def folder(tmp_path):
    TokenStore.write(tmp_path / "store", DOCUMENTS, vocab_size=10, tokenizer_digest="abc")
    return tmp_path / "store"


@pytest.mark.parametrize(("vocab_size", "dtype"), [(10, "uint16"), (65536, "uint16"), (65537, "uint32")])
def test_documents_come_back_in_the_smallest_type_that_fits(tmp_path, vocab_size, dtype):
    documents = [*DOCUMENTS, [vocab_size - 1]]
    store = TokenStore.write(tmp_path / "store", iter(documents), vocab_size)
    assert [document.tolist() for document in store] == documents
    assert store[3].dtype == dtype
    assert (len(store), store.num_tokens, store.vocab_size) == (4, 10, vocab_size)
    assert store[-1].tolist() == [vocab_size - 1]
    assert (tmp_path / "store" / "tokens.bin").stat().st_size == 10 * np.dtype(dtype).itemsize


def test_a_document_beyond_the_end_is_an_index_error(folder):
    store = TokenStore.open(folder)
    for number in (3, -4):
        with pytest.raises(IndexError, match="of a store of 3"):
            store[number]


def test_a_store_packs_as_its_documents_do(folder):
    rows = pack(TokenStore.open(folder), row_length=6)
    assert (rows.input_ids == pack(DOCUMENTS, row_length=6).input_ids).all()


def test_documents_are_read_from_disk_and_cannot_be_changed(folder):
    with pytest.raises(ValueError, match="read-only"):
        TokenStore.open(folder)[0][0] = 3


def test_encoded_texts_start_and_end_with_their_tokens(tmp_path):
    tokenizer = train_tokenizer(["a text and a text"], 262)
    texts = ["a text", "", "<|im_end|>"]
    store = TokenStore.write(tmp_path / "s", encode_documents(tokenizer, texts), 262, tokenizer.digest)
    assert [document.tolist() for document in store] == [[1, *tokenizer.encode(text), 2] for text in texts]
    assert TokenStore.open(tmp_path / "s", tokenizer.digest).num_tokens == store.num_tokens


def test_a_store_is_replaced_by_writing_again(folder):
    assert len(TokenStore.write(folder, [[1]], 10)) == 1
    assert sorted(os.listdir(folder.parent)) == ["store"]


def test_a_writer_that_fails_leaves_the_old_store_and_no_half_one(folder):
    def documents():
        yield [1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TokenStore.write(folder, documents(), 10)
    assert len(TokenStore.open(folder)) == 3
    assert sorted(os.listdir(folder.parent)) == ["store"]


def test_a_full_disk_gets_one_clear_line(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minimind.data.store.os.fsync", full)
    with pytest.raises(
        UserError, match=r"store: the token store cannot be written \(No space left on device\)"
    ):
        TokenStore.write(folder, DOCUMENTS, 10)
    assert len(TokenStore.open(folder)) == 3


def test_a_folder_that_is_no_store_is_not_replaced(tmp_path):
    (tmp_path / "photo.jpg").write_text("precious")
    with pytest.raises(UserError, match="exists and is not a token store"):
        TokenStore.write(tmp_path, DOCUMENTS, 10)
    assert (tmp_path / "photo.jpg").exists()


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([[1], [10]], "document 1 has ids from 10 to 10, but vocab_size is 10"),
        ([[-1, 3]], "document 0 has ids from -1 to 3"),
        ([[1], []], "document 1 has no tokens"),
        ([], "no document to store"),
    ],
)
def test_documents_that_cannot_be_stored_are_named(tmp_path, documents, message):
    with pytest.raises(UserError, match=message):
        TokenStore.write(tmp_path / "store", documents, vocab_size=10)
    assert not (tmp_path / "store").exists()


def rewrite(folder, name, dtype, values):
    (folder / name).write_bytes(np.array(values, dtype).tobytes())


def change_index(folder, **changes):
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | changes))


DAMAGE = {
    "no index": (lambda f: (f / "index.json").unlink(), "not a token store"),
    "half an index": (lambda f: (f / "index.json").write_text('{"format": '), "cannot be read"),
    "another index": (lambda f: (f / "index.json").write_text("[]"), "not the index"),
    "a newer format": (lambda f: change_index(f, format="2"), "not the index"),
    "no tokens": (lambda f: (f / "tokens.bin").unlink(), "tokens.bin: cannot be read"),
    "tokens cut short": (lambda f: os.truncate(f / "tokens.bin", 10), "has 10 bytes instead of 18"),
    "offsets cut short": (lambda f: os.truncate(f / "offsets.bin", 24), "has 24 bytes instead of 32"),
    "offsets going back": (lambda f: rewrite(f, "offsets.bin", "uint64", [0, 8, 3, 9]), "not offsets"),
    "an empty document": (lambda f: rewrite(f, "offsets.bin", "uint64", [0, 3, 3, 9]), "not offsets"),
    "offsets from 1": (lambda f: rewrite(f, "offsets.bin", "uint64", [1, 3, 8, 9]), "not offsets"),
    "offsets beyond": (lambda f: rewrite(f, "offsets.bin", "uint64", [0, 3, 8, 99]), "not offsets"),
    "a foreign id": (lambda f: rewrite(f, "tokens.bin", "uint16", [1] * 8 + [10]), "id 10 in a vocabulary"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_store_is_noticed_on_opening(folder, kind):
    damage, message = DAMAGE[kind]
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        TokenStore.open(folder)
    assert "\n" not in str(caught.value)


def test_a_store_of_another_tokenizer_is_refused(folder):
    assert len(TokenStore.open(folder, tokenizer_digest="abc")) == 3
    with pytest.raises(UserError, match="another tokenizer"):
        TokenStore.open(folder, tokenizer_digest="abd")


@pytest.fixture
def rows_folder(tmp_path):
    write_rows(tmp_path / "rows", pack_rows(DOCUMENTS, 6), vocab_size=10, tokenizer_digest="abc")
    return tmp_path / "rows"


@pytest.mark.parametrize(
    ("vocab_size", "row_length", "types"),
    [
        (128, 128, ["int8", "int8", "int8"]),
        (129, 129, ["int16", "int16", "int16"]),
        (32768, 6, ["int16", "int16", "int8"]),
        (32769, 6, ["int32", "int32", "int8"]),
    ],
)
def test_whole_numbers_of_rows_take_the_smallest_type_that_fits(tmp_path, vocab_size, row_length, types):
    documents = [[vocab_size - 1] * 3, *([n % 100] for n in range(row_length + 50))]
    columns = write_rows(tmp_path / "rows", pack_rows(documents, row_length), vocab_size)
    assert [columns[name].dtype.name for name in ("input_ids", "labels", "document_ids")] == types
    packed = pack(documents, row_length)
    assert all((columns[name] == packed.columns[name]).all() for name in packed.columns)


def test_rows_need_no_more_memory_than_a_part_of_them(tmp_path):
    alive = most = 0

    class Counted(dict):
        def __init__(self, *given):
            nonlocal alive, most
            super().__init__(*given)
            alive += 1
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    rows = (Counted(row) for row in pack_rows(([n % 9] * 6 for n in range(5000)), 6))
    assert len(write_rows(tmp_path / "rows", rows, 10)["input_ids"]) == 5000
    assert most <= 2 * 1024 + 1  # what is being written, and what is read meanwhile


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no row to store"),
        ([{"input_ids": np.array([1, 10])}], "input_ids has ids from 1 to 10, but vocab_size is 10"),
        ([{"input_ids": np.array([-1, 1])}], "input_ids has ids from -1 to 1"),
        ([{"input_ids": np.array([1]), "labels": np.array([10])}], "labels has ids up to 10"),
        (
            [
                {"input_ids": np.array([1]), "x": np.array([1])},
                {"input_ids": np.array([1]), "x": np.array([0.5])},
            ],
            "x has numbers of type float64 that are not of type int64",
        ),
    ],
)
def test_rows_that_cannot_be_stored_are_named(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        write_rows(tmp_path / "rows", rows, vocab_size=10)
    assert not list(tmp_path.iterdir())


def test_a_writer_of_rows_that_fails_leaves_the_old_ones(rows_folder):
    def rows():
        yield from pack_rows([[1, 2]], 6)
        raise KeyboardInterrupt

    before = open_rows(rows_folder)["input_ids"].tolist()
    with pytest.raises(KeyboardInterrupt):
        write_rows(rows_folder, rows(), 10)
    assert open_rows(rows_folder)["input_ids"].tolist() == before
    assert sorted(os.listdir(rows_folder.parent)) == ["rows"]


ROW_DAMAGE = {
    "no index": (lambda f: (f / "index.json").unlink(), "not a folder of rows"),
    "half an index": (lambda f: (f / "index.json").write_text('{"format": '), "cannot be read"),
    "another index": (lambda f: change_index(f, format="minimind token store 1"), "not the index"),
    "no column": (lambda f: change_index(f, columns={}), "not the index"),
    "columns of nothing": (lambda f: change_index(f, columns=None), "not the index"),
    "a column elsewhere": (lambda f: change_index(f, columns={"input_ids": "int8", "../x": "int8"}), "not the index"),
    "an unknown type": (lambda f: change_index(f, columns={"input_ids": "object"}), "not the index"),
    "a negative count": (lambda f: change_index(f, rows=-1), "not the index"),
    "no labels": (lambda f: (f / "labels.bin").unlink(), "labels.bin: cannot be read"),
    "labels cut short": (lambda f: os.truncate(f / "labels.bin", 10), "labels.bin: has 10 bytes instead of 12"),
    "a foreign id": (lambda f: rewrite(f, "input_ids.bin", "int8", [1] * 11 + [10]), "id 10 in a vocabulary of 10"),
    "a negative id": (lambda f: rewrite(f, "input_ids.bin", "int8", [1] * 11 + [-1]), "id -1 in a vocabulary"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ROW_DAMAGE)
def test_damaged_rows_are_noticed_on_opening(rows_folder, kind):
    damage, message = ROW_DAMAGE[kind]
    damage(rows_folder)
    with pytest.raises(UserError, match=message) as caught:
        open_rows(rows_folder)
    assert "\n" not in str(caught.value)


def test_rows_of_another_tokenizer_are_refused(rows_folder):
    assert len(open_rows(rows_folder, "abc")["input_ids"]) == 2
    with pytest.raises(UserError, match="another tokenizer"):
        open_rows(rows_folder, "abd")
