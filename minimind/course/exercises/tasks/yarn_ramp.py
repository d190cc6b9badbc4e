"""YaRN's ramp: which pairs of RoPE are slowed down for longer texts, and how far."""

import math

import torch
from torch import Tensor

from ..task import Mistake, Property, Task


def yarn_ramp(
    head_dim: int, theta: float, trained_length: int, beta_fast: float = 32.0, beta_slow: float = 1.0
) -> Tensor:
    """Say how far YaRN slows each pair: not at all where training saw many turns, wholly where it saw less than one.

    Pair i turns by theta to the power of -2i / D radians a token. So n full turns within the trained length L
    belong to the pair i = D * ln(L / (2π n)) / (2 ln(theta)), a fraction.

    Args:
        head_dim: numbers of a head D; there are D/2 pairs.
        theta: base of the frequencies.
        trained_length: tokens of the rows in training, L.
        beta_fast: the ramp starts at the pair that makes so many full turns, rounded down and at least 0.
        beta_slow: it ends at the pair that makes so many, rounded up and at most D - 1. Where it ends at its
            start, it is 0.001 wide.

    Returns:
        (D/2,) shares in fp32: 0 up to the start of the ramp, 1 from its end on, a straight line between.
    """

    def pair_that_makes(turns: float) -> float:
        return head_dim * math.log(trained_length / (2 * math.pi * turns)) / (2 * math.log(theta))

    first = max(math.floor(pair_that_makes(beta_fast)), 0)
    last = min(math.ceil(pair_that_makes(beta_slow)), head_dim - 1)
    width = last - first if last != first else 0.001
    return ((torch.arange(head_dim // 2) - first) / width).clamp(0, 1)


TASK = Task(
    name="yarn_ramp",
    module="position_encoding",
    minutes=15,
    solution=yarn_ramp,
    core=False,
    properties=[
        Property(
            "Fast pairs are left alone, slow pairs slowed wholly, with a straight ramp between",
            [
                {"head_dim": 8, "theta": 10000.0, "trained_length": 2048},
                {"head_dim": 16, "theta": 10000.0, "trained_length": 2048},
            ],
        ),
        Property(
            "The ramp starts where a pair makes beta_fast turns and ends where one makes beta_slow",
            [
                {
                    "head_dim": 16,
                    "theta": 10000.0,
                    "trained_length": 2048,
                    "beta_fast": 8.0,
                    "beta_slow": 2.0,
                }
            ],
        ),
        Property(
            "After short rows no pair made many turns: the ramp starts at pair 0, and no share is below 0",
            [{"head_dim": 8, "theta": 10000.0, "trained_length": 100}],
        ),
        Property(
            "The ramp ends at D − 1 at the latest",
            [{"head_dim": 8, "theta": 10.0, "trained_length": 4096, "beta_fast": 1000.0}],
        ),
        Property(
            "A ramp that ends where it starts is a step, and no NaN appears",
            [{"head_dim": 8, "theta": 10000.0, "trained_length": 6}],
        ),
        Property(
            "A head of a real model: 128 numbers and a large theta",
            [{"head_dim": 128, "theta": 1e6, "trained_length": 32768}],
        ),
    ],
    mistakes=[
        Mistake(
            "the ramp fell from 1 to 0: the share that stays as it is, not the share that is slowed",
            [("return (", "return 1 - (")],
            "Pair 0 turns fastest. Training showed it every angle, so it needs no slowing: its share is 0.",
        ),
        Mistake(
            "beta_fast and beta_slow were swapped",
            [
                ("pair_that_makes(beta_fast)", "pair_that_makes(beta_slow)"),
                ("ceil(pair_that_makes(beta_slow)", "ceil(pair_that_makes(beta_fast)"),
            ],
            "Many turns belong to an early pair, few turns to a late one: the ramp starts at beta_fast.",
        ),
        Mistake(
            "turns were counted in radians, without 2π",
            [("(2 * math.pi * turns)", "turns")],
            "A full turn is 2π radians; the frequencies are in radians a token.",
        ),
        Mistake(
            "the 2 before ln(theta) were missing",
            [("(2 * math.log(theta))", "math.log(theta)")],
            "The exponent is −2i / D: solve for i, and the 2 goes below the line.",
        ),
        Mistake(
            "start and end of the ramp were not rounded",
            [
                ("math.floor(pair_that_makes(beta_fast))", "pair_that_makes(beta_fast)"),
                ("math.ceil(pair_that_makes(beta_slow))", "pair_that_makes(beta_slow)"),
            ],
            "Round outwards, down at the start and up at the end, as the paper's own code does.",
        ),
        Mistake(
            "both ends were rounded to the nearest pair",
            [("math.floor(pair", "round(pair"), ("math.ceil(pair", "round(pair")],
            "Round outwards: the start down, the end up. So the ramp is never narrower than it should be.",
        ),
        Mistake(
            "shares were not kept between 0 and 1",
            [(".clamp(0, 1)", "")],
            "Before the ramp the line is below 0, and the pair would turn faster than it was trained.",
        ),
        Mistake(
            "the start of the ramp were not kept at 0 or above",
            [("max(math.floor(pair_that_makes(beta_fast)), 0)", "math.floor(pair_that_makes(beta_fast))")],
            "After short rows no pair made 32 turns, and the formula names a pair before the first.",
        ),
        Mistake(
            "the end of the ramp were not kept at D − 1 or below",
            [
                (
                    "min(math.ceil(pair_that_makes(beta_slow)), head_dim - 1)",
                    "math.ceil(pair_that_makes(beta_slow))",
                )
            ],
            "With a small theta even the slowest pair makes many turns, and the formula names a pair far behind.",
        ),
        Mistake(
            "the end of the ramp were kept at the last pair, D/2 − 1",
            [("head_dim - 1)", "head_dim // 2 - 1)")],
            "It sounds right, but the first YaRN code stops at D − 1, and models are trained with that.",
        ),
        Mistake(
            "a ramp of width 0 were divided by",
            [(" if last != first else 0.001", "")],
            "The pair at the start would get 0 / 0, which is NaN.",
        ),
    ],
    hints=(
        "Three steps: the pair where the ramp starts, the pair where it ends, and a straight line through all pairs.",
        "Write a small function for the formula and call it with beta_fast and with beta_slow. Round down at the "
        "start, up at the end; then keep them at 0 or above and at D − 1 or below.",
        "first = max(math.floor(…), 0); last = min(math.ceil(…), head_dim - 1); the line is (pairs - first) / "
        "(last - first), cut off with .clamp(0, 1).",
    ),
)
