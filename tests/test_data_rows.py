"""Packing: every token once, no border crossed, rows nearly full."""

from collections import Counter
from itertools import count, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimind.data import pack, pack_rows
from minimind.errors import UserError


def unpack(packed):
    """The documents of each row, by their ids."""
    return [
        tuple(row[owners == owner].tolist())
        for row, owners in zip(packed.input_ids, packed.document_ids, strict=True)
        for owner in range(owners.max() + 1)
    ]


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
    placed = Counter(tuple(piece.tolist()) for row in rows for piece in row)
    assert placed == Counter(cut(documents, 8))


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
    assert len(rows[0][0]) == 5


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
    assert [len(row) for row in rows] == [4] * 5


def test_nothing_to_pack_and_rows_too_short_get_one_clear_line():
    for documents in ([], [[]]):
        with pytest.raises(UserError, match="no document to pack"):
            pack(documents, 8)
    with pytest.raises(UserError, match="row_length must be at least 2"):
        pack([[1, 2]], 1)
