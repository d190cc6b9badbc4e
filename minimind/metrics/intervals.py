"""How sure a share of right answers is, and whether two models differ: a few hundred questions are a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple


def confidence_interval(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share: the shares p for which `correct` of `total` is no surprise.

    With p̂ = correct / total, n = total, and z of the normal distribution, these are all p with
    |p̂ − p| ≤ z √(p (1 − p) / n). Unlike p̂ ± z √(p̂ (1 − p̂) / n) it stays between 0 and 1, and has a width even where
    all answers are right.

    Args:
        correct: how many answers are right.
        total: how many there are.
        level: how often an interval made like this holds the true share.

    Returns:
        Lowest and highest share.

    Raises:
        ValueError: if `correct` is not within 0 and `total`, or `level` not between 0 and 1.

    References:
        Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927,
        https://doi.org/10.1080/01621459.1927.10502953

    Examples:
        >>> low, high = confidence_interval(8, 10)
        >>> round(low, 3), round(high, 3)
        (0.49, 0.943)
    """
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(
            f"correct must be within 0 and total, and total at least 1, got {correct} of {total}"
        )
    z = quantile(level)
    share = correct / total
    center = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    # Of none right and of all right one end is known exactly; rounding would miss it.
    return (0.0 if correct == 0 else center - half), (1.0 if correct == total else center + half)


class PairedDifference(NamedTuple):
    """How much more often one model is right than another, on the same questions."""

    difference: float
    """Share of right answers of the first model, less that of the second."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Its upper end."""
    p: float
    """How often chance alone makes a difference at least as large, if both were equally good."""


def paired_difference(a: Sequence[int], b: Sequence[int]) -> PairedDifference:
    """Compare two models that answered the same questions.

    Questions that both get right, or both wrong, say nothing about who is better. So what counts is how often only the
    first was right, and how often only the second. That tells smaller differences apart than two separate intervals
    do. `p` is McNemar's exact test: if both were equally good, each of these questions would be a coin's toss. The
    interval is that of Agresti and Min: half a question more of each of the four kinds, and then a normal one.

    Args:
        a: for each question 1 (or True) if the first model's answer is right, else 0.
        b: the same for the second model.

    Raises:
        ValueError: if there is no question, the lengths differ, or there is something else than 0 and 1.

    References:
        McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions or Percentages, 1947,
        https://doi.org/10.1007/BF02295996

        Agresti and Min, Simple Improved Confidence Intervals for Comparing Matched Proportions, 2005,
        https://doi.org/10.1002/sim.1781

    Examples:
        >>> paired_difference([1, 1, 1, 0], [1, 0, 0, 0]).difference
        0.5
    """
    if len(a) != len(b) or len(a) == 0:
        raise ValueError(
            f"both models must answer the same questions, at least one; got {len(a)} and {len(b)} answers"
        )
    for answer in (*a, *b):
        if answer not in (0, 1):
            raise ValueError(f"an answer is 1 (right) or 0 (wrong), got {answer!r}")
    total = len(a)
    only_a = sum(1 for first, second in zip(a, b, strict=True) if first and not second)
    only_b = sum(1 for first, second in zip(a, b, strict=True) if second and not first)
    more_a, more_b, more = only_a + 0.5, only_b + 0.5, total + 2
    center = (more_a - more_b) / more
    half = quantile(0.95) * math.sqrt((more_a + more_b) / more - center**2) / math.sqrt(more)
    return PairedDifference(
        difference=(only_a - only_b) / total,
        low=max(-1.0, center - half),
        high=min(1.0, center + half),
        p=coin_test(only_a, only_b),
    )


def coin_test(heads: int, tails: int) -> float:
    """How often a fair coin, tossed as often, falls at least as unevenly.

    >>> coin_test(5, 0)
    0.0625
    """
    tosses, fewer = heads + tails, min(heads, tails)
    ways, so_far = 1, 1  # of `fewer` = 0; then of one more each time
    for count in range(1, fewer + 1):
        ways = ways * (tosses - count + 1) // count
        so_far += ways
    return min(1.0, 2 * so_far / 2**tosses)


def quantile(level: float) -> float:
    """z: the normal distribution lies between −z and z with this probability."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    return NormalDist().inv_cdf((1 + level) / 2)
