"""How sure a share is, and whether two models differ."""

import math
import random
from statistics import NormalDist

import numpy as np
import pytest
import torch

from minimind.metrics import confidence_interval, paired_difference

Z = 1.959963984540054


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (8, 10, 0.4902, 0.9433),
    ],
)
def test_wilsons_interval_has_its_known_values(correct, total, low, high):
    """All but the last are those of Newcombe's comparison of seven methods, 1998."""
    assert confidence_interval(correct, total) == pytest.approx((low, high), abs=5.1e-5)


@pytest.mark.parametrize("total", [1, 10, 1000])
def test_none_right_and_all_right_have_a_closed_form(total):
    width = Z**2 / (total + Z**2)
    assert confidence_interval(0, total) == pytest.approx((0, width), abs=1e-12)
    assert confidence_interval(total, total) == pytest.approx((1 - width, 1), abs=1e-12)
    assert confidence_interval(0, total)[0] == 0
    assert confidence_interval(total, total)[1] == 1


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_ends_are_just_no_surprise(level):
    z = NormalDist().inv_cdf((1 + level) / 2)
    for end in confidence_interval(37, 120, level):
        assert abs(37 / 120 - end) == pytest.approx(z * math.sqrt(end * (1 - end) / 120))


@pytest.mark.parametrize(
    "given", [(1, 0), (-1, 10), (11, 10), (0, 0), (1, 10, 0.0), (1, 10, 1.0), (1, 10, 95)]
)
def test_nonsense_is_refused(given):
    with pytest.raises(ValueError, match="must be"):
        confidence_interval(*given)


def test_the_difference_counts_what_one_alone_got_right():
    a, b = answers(both=50, only_a=10, only_b=4, neither=36)
    found = paired_difference(a, b)
    assert found.difference == pytest.approx(0.06)
    # (10.5 - 4.5) / 102, and 15 / 102 less its square under the root
    center, spread = 6 / 102, math.sqrt((15 / 102 - (6 / 102) ** 2) / 102)
    assert (found.low, found.high) == pytest.approx((center - Z * spread, center + Z * spread))
    # 14 coins: at most 4 of one side, or of the other
    assert found.p == pytest.approx(2 * (1 + 14 + 91 + 364 + 1001) / 2**14)


def test_the_other_way_round_is_the_same_with_the_sign_turned():
    a, b = answers(both=3, only_a=9, only_b=1, neither=2)
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-there.difference, -there.high, -there.low)
    )
    assert back.p == there.p == pytest.approx(22 / 2**10)


def test_what_both_get_right_or_wrong_is_no_evidence():
    few = paired_difference(*answers(both=0, only_a=6, only_b=0, neither=0))
    many = paired_difference(*answers(both=500, only_a=6, only_b=0, neither=494))
    assert few.p == many.p == pytest.approx(2 / 2**6)
    assert (few.difference, few.high) == (1, 1)
    assert many.difference == pytest.approx(0.006)


def test_equal_answers_differ_by_nothing_and_leave_some_doubt():
    found = paired_difference([1, 0, 1], [1, 0, 1])
    assert (found.difference, found.p) == (0, 1)
    assert found.low == pytest.approx(-found.high)
    assert found.high > 0


def test_many_questions_are_counted_exactly_and_at_once():
    found = paired_difference(*answers(both=0, only_a=7000, only_b=6500, neither=0))
    assert found.p == pytest.approx(2 * NormalDist().cdf(-(500 - 1) / math.sqrt(13500)), rel=0.02)


def test_answers_may_be_truth_values_arrays_or_tensors():
    a, b = [True, False, True, True], [False, False, True, True]
    expected = paired_difference([1, 0, 1, 1], [0, 0, 1, 1])
    assert paired_difference(a, b) == expected
    assert paired_difference(np.array(a), np.array(b)) == expected
    assert paired_difference(torch.tensor(a), torch.tensor(b)) == expected


@pytest.mark.parametrize(("a", "b"), [([], []), ([1], [1, 0]), ([1, 2], [1, 1]), ([1, 0], [0.5, 0])])
def test_what_are_no_answers_to_the_same_questions_is_refused(a, b):
    with pytest.raises(ValueError, match="got"):
        paired_difference(a, b)


@pytest.mark.parametrize("true_share", [0.5, 0.85, 0.97])
def test_nineteen_of_twenty_intervals_hold_the_true_share(true_share):
    draw = random.Random(0)
    held = 0
    for _ in range(2000):
        low, high = confidence_interval(sum(draw.random() < true_share for _ in range(200)), 200)
        held += low <= true_share <= high
    assert 0.935 <= held / 2000 <= 0.97


@pytest.mark.parametrize(("only_a", "only_b"), [(0.1, 0.1), (0.15, 0.05), (0.03, 0.01)])
def test_nineteen_of_twenty_intervals_hold_the_true_difference(only_a, only_b):
    generator = np.random.default_rng(0)
    held = 0
    for counts in generator.multinomial(200, [0.6, only_a, only_b, 0.4 - only_a - only_b], size=500):
        found = paired_difference(*answers(*counts))
        held += found.low <= only_a - only_b <= found.high
    assert 0.93 <= held / 500 <= 0.985


def test_between_equally_good_models_chance_rarely_makes_p_small():
    generator = np.random.default_rng(1)
    counts = generator.multinomial(200, [0.6, 0.1, 0.1, 0.2], size=500)
    small = sum(paired_difference(*answers(*each)).p <= 0.05 for each in counts)
    assert small / 500 <= 0.05  # an exact test is wrong at most as often as it says


def answers(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[int], list[int]]:
    """Right and wrong answers of two models."""
    a = [1] * both + [1] * only_a + [0] * only_b + [0] * neither
    b = [1] * both + [0] * only_a + [1] * only_b + [0] * neither
    return a, b
