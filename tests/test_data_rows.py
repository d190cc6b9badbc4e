"""Packing: every token once, no border crossed, rows nearly full."""

from collections import Counter
from itertools import count, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind.data import Packed, encode_documents, open_rows, pack, pack_rows, write_rows
from minimind.errors import UserError
from minimind.tokenizer import train_tokenizer
from minimind.training import RowBatches


def unpack(packed):
    """The documents of each row, by their ids."""
    return [
        tuple(row[owners == owner].tolist())
        for row, owners in zip(packed.input_ids, packed.document_ids, strict=True)
        for owner in range(owners.max() + 1)
    ]


def stacked(rows):
    rows = list(rows)
    return Packed({name: np.stack([row[name] for row in rows]) for name in rows[0]})


def cut(documents, length):
    return [
        tuple(document[i : i + length]) for document in documents for i in range(0, len(document), length)
    ]


def numbered(lengths):
    numbers = count(1)
    return [list(islice(numbers, length)) for length in lengths]  # every token of the corpus is different


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 25), min_size=1, max_size=60).filter(any), st.integers(2, 12))
def test_no_document_is_lost_doubled_or_torn(lengths, row_length):
    documents = numbered(lengths)
    assert Counter(unpack(pack(documents, row_length))) == Counter(cut(documents, row_length))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 25), min_size=1, max_size=60), st.integers(1, 5))
def test_a_small_buffer_loses_nothing_either(lengths, buffer):
    documents = numbered(lengths)
    rows = pack_rows(documents, 8, buffer=buffer)
    assert Counter(unpack(stacked(rows))) == Counter(cut(documents, 8))


def test_document_ids_count_up_in_each_row_and_padding_is_minus_one():
    packed = pack(numbered([3, 5, 2, 7, 1, 4]), row_length=8, pad_id=99)
    assert packed.input_ids.shape == packed.document_ids.shape == (3, 8)
    for row, owners in zip(packed.input_ids, packed.document_ids, strict=True):
        real = owners[owners >= 0]
        assert sorted(real) == real.tolist()
        assert set(real) == set(range(real.max() + 1))
        assert (owners[len(real) :] == -1).all()
        assert (row[len(real) :] == 99).all()
        assert (row[: len(real)] != 99).all()


def test_fill_is_the_share_of_real_tokens():
    assert pack(numbered([3, 3]), row_length=4).fill == 6 / 8
    assert pack(numbered([4, 8]), row_length=4).fill == 1.0


def test_what_fills_the_rest_of_a_row_best_is_chosen_one_document_or_two():
    packed = pack(numbered([5, 1, 2, 3, 4]), row_length=8)
    assert [len(document) for document in unpack(packed)] == [5, 3, 1, 4, 2]
    packed = pack(numbered([2, 5, 3, 3]), row_length=8)  # a greedy choice would take the 5 and leave one free
    assert [len(document) for document in unpack(packed)] == [2, 3, 3, 5]


def test_a_document_that_fits_nowhere_well_is_not_kept_waiting():
    documents = [[7] * 5, *([1] * 4 for _ in range(100))]  # two fours fill a row of eight, a five never helps
    rows = list(pack_rows(documents, 8, buffer=10))
    assert (rows[0]["document_ids"] == 0).sum() == 5


def test_long_documents_are_cut_into_rows():
    packed = pack([list(range(10))], row_length=4)
    assert sorted(len(document) for document in unpack(packed)) == [2, 4, 4]


@pytest.mark.parametrize("spread", [50, 27])
def test_documents_of_mixed_lengths_fill_their_rows(spread):
    lengths = np.random.default_rng(0).normal(110, spread, 2000).clip(20, 240).astype(int)
    assert pack(numbered(lengths.tolist()), row_length=256).fill > 0.95


def test_packing_twice_gives_the_same_rows():
    documents = numbered(np.random.default_rng(1).integers(1, 50, 300).tolist())
    one, two = pack(documents, 64), pack(iter(documents), 64)
    assert (one.input_ids == two.input_ids).all()
    assert (one.document_ids == two.document_ids).all()


def test_rows_come_before_the_documents_end():
    endless = ([number, number + 1] for number in count())
    rows = list(islice(pack_rows(endless, 8, buffer=16), 5))
    assert [row["document_ids"].max() for row in rows] == [3] * 5


def test_nothing_to_pack_and_rows_too_short_get_one_clear_line():
    for documents in ([], [[]]):
        with pytest.raises(UserError, match="no document to pack"):
            pack(documents, 8)
    with pytest.raises(UserError, match="row_length must be at least 2"):
        pack([[1, 2]], 1)


def test_every_token_is_a_label_but_the_first_of_its_document_and_padding():
    packed = pack([[1, 2, 3, 4, 5, 6, 7], [8, 9]], row_length=5)
    assert packed.input_ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]
    assert packed.columns["labels"].tolist() == [[-100, 2, 3, 4, 5], [-100, 7, -100, 9, -100]]


def examples_with_columns():
    draw = np.random.default_rng(0)
    for length in (3, 9, 5, 2, 7):
        yield {
            "input_ids": draw.integers(5, 10, length).astype(np.int32),
            "labels": np.where(draw.random(length) < 0.5, -100, draw.integers(5, 10, length)),
            "reference_log_probs": draw.random(length).astype(np.float32) - 0.7,
            "advantages": np.full(length, -0.7),
            "told": draw.random(length) < 0.5,
        }


def test_columns_stay_beside_their_tokens_and_of_their_type():
    examples = list(examples_with_columns())
    packed = pack(examples, row_length=8, pad_id=4)
    types = {name: column.dtype.name for name, column in packed.columns.items()}
    assert types == {
        "input_ids": "int32", "labels": "int64", "reference_log_probs": "float32", "advantages": "float64",
        "told": "bool", "document_ids": "int64",
    }  # fmt: skip
    padding = packed.document_ids == -1
    assert padding.any()
    for name, fill in {"input_ids": 4, "labels": -100, "reference_log_probs": 0, "advantages": 0}.items():
        assert (packed.columns[name][padding] == fill).all()
    assert (packed.columns["advantages"][~padding] == -0.7).all()

    def tokens(columns, names):
        return Counter(
            zip(*(np.concatenate([part[name] for part in columns]) for name in names), strict=True)
        )

    names = ("input_ids", "reference_log_probs", "told")
    real = {name: packed.columns[name][~padding] for name in names}
    assert tokens([real], names) == tokens(examples, names)
    begins = np.diff(packed.document_ids, axis=1, prepend=-2) != 0
    assert (packed.columns["labels"][begins] == -100).all()
    assert (packed.columns["labels"] != -100).any()


def test_an_example_is_not_changed_by_packing_it():
    labels = np.array([5, 6, 7])
    pack([{"input_ids": [5, 6, 7], "labels": labels}], row_length=4)
    assert labels.tolist() == [5, 6, 7]


def test_a_float_column_comes_through_packing_disk_and_batch_as_it_was(tmp_path):
    examples = [{"input_ids": [1, 2, 3], "advantages": np.array([-0.7, 0.3, 1e-8], np.float32)}] * 4
    rows = pack_rows(examples, row_length=6)
    columns = write_rows(tmp_path / "rows", rows, vocab_size=10)
    batch = next(RowBatches(columns, batch_size=2).of_step(0))
    assert batch["advantages"].tolist() == [np.array([-0.7, 0.3, 1e-8] * 2, np.float32).tolist()] * 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_ids": [1, 2], "labels": [1]}, r"example 1: .*equally long.*input_ids \(2,\), labels \(1,\)"),
        ({"input_ids": [[1, 2]], "labels": [[1, 2]]}, r"example 1: .*equally long lists"),
        ({"labels": [1]}, "example 1: needs input_ids, and no document_ids .* found labels"),
        ({"input_ids": [1], "labels": [1], "document_ids": [0]}, "example 1: needs input_ids, and no"),
        ({"input_ids": [1]}, "example 1 has the columns input_ids; those before input_ids, labels"),
    ],
)
def test_columns_that_do_not_fit_are_named(wrong, message):
    with pytest.raises(UserError, match=message) as caught:
        pack([[1, 2, 3], wrong], 8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [10, 5000])  # few long texts, or many short ones, are tokenized together
def test_texts_of_any_length_come_out_one_by_one_in_order(length, monkeypatch):
    monkeypatch.setattr("minimind.data.rows.CHARACTERS_AT_ONCE", 9000)
    tokenizer = train_tokenizer(["low lower lowest"], 262)
    texts = [f"{number} " * length for number in range(9)]
    assert [tokenizer.decode(ids[1:-1]) for ids in encode_documents(tokenizer, texts)] == texts


def test_rows_are_opened_where_they_lie(tmp_path):
    packed = pack([[1, 2, 3], [4, 5]], 4)
    write_rows(tmp_path / "rows", pack_rows([[1, 2, 3], [4, 5]], 4), 6)
    columns = open_rows(tmp_path / "rows")
    assert {name: column.tolist() for name, column in columns.items()} == {
        name: column.tolist() for name, column in packed.columns.items()
    }
    with pytest.raises(ValueError, match="read-only"):
        columns["labels"][0, 0] = 1
