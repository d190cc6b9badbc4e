"""RoPE's frequencies: how fast each pair of numbers turns."""

import torch
from torch import Tensor

from ..task import Mistake, Property, Task


def rope_frequencies(head_dim: int, theta: float = 10000.0) -> Tensor:
    """Say by which angle each pair of numbers turns from one token to the next.

    Pair i of a head with D numbers turns by theta to the power of -2i / D.

    Args:
        head_dim: numbers of a head D, even. Two make a pair, so there are D/2 pairs, counted from 0.
        theta: the base; the larger it is, the slower the slow pairs turn.

    Returns:
        Angles (D/2,) in radians per token, in fp32, the fastest first.
    """
    pairs = torch.arange(head_dim // 2)
    return theta ** (-2 * pairs / head_dim)


TASK = Task(
    name="rope_frequencies",
    module="position_encoding",
    minutes=5,
    solution=rope_frequencies,
    properties=[
        Property(
            "The first pair turns by one radian, whatever theta is",
            [{"head_dim": 2}, {"head_dim": 2, "theta": 100.0}],
        ),
        Property(
            "There is one frequency for each pair, and each pair is slower than the one before by the same factor",
            [
                {"head_dim": 4, "theta": 100.0},
                {"head_dim": 8, "theta": 10000.0},
                {"head_dim": 6, "theta": 1000.0},
                {"head_dim": 4, "theta": 12.5},
            ],
        ),
        Property("Without theta it is 10,000", [{"head_dim": 4}]),
        Property(
            "A head of a real model: 64 numbers and a large theta",
            [{"head_dim": 64, "theta": 1e6}],
        ),
    ],
    mistakes=[
        Mistake(
            "the exponent had the wrong sign, so that each pair turns faster than the one before",
            [("(-2 * pairs", "(2 * pairs")],
            "Nothing turns faster than one radian a token; the frequencies fall from 1 towards 1 / theta.",
        ),
        Mistake(
            "the 2 were missing from the exponent",
            [("-2 * pairs", "-pairs")],
            "Then the slowest pair turns by about 1 / √theta, far too fast: the exponent must come close to −1.",
        ),
        Mistake(
            "the 2 were in the exponent twice, as when you divide by head_dim / 2 or count in steps of 2 as well",
            [("-2 * pairs", "-4 * pairs")],
            "Count the pairs 0, 1, 2, …; 2i / D then runs from 0 to almost 1, and not to 2.",
        ),
        Mistake(
            "there were a frequency for each of the D numbers rather than for each pair",
            [("torch.arange(head_dim // 2)", "torch.arange(head_dim)")],
            "The two numbers of a pair turn together, as one point in a plane. So D/2 frequencies are enough.",
        ),
        Mistake(
            "theta were raised to −i, and the length of the head had no part in it",
            [("(-2 * pairs / head_dim)", "(-pairs.float())")],
            "The exponents run from 0 to almost −1 in every head, long or short: divide by D.",
        ),
        Mistake(
            "the order were reversed, the slowest pair first",
            [("return theta ** (-2 * pairs / head_dim)", "return theta ** (-2 * pairs.flip(0) / head_dim)")],
            "Pair 0 is the fastest. Trained weights rely on which pair has which speed.",
        ),
        Mistake(
            "the pairs were counted from 1",
            [("torch.arange(head_dim // 2)", "torch.arange(1, head_dim // 2 + 1)")],
            "Pair 0 has exponent 0 and turns by theta⁰ = 1 radian.",
        ),
        Mistake(
            "the last pair turned by exactly 1 / theta, as torch.linspace(0, 1, D/2) gives",
            [("(-2 * pairs / head_dim)", "(-torch.linspace(0, 1, head_dim // 2))")],
            "The steps of the exponent are 2 / D: the last is −(D − 2) / D, one step short of −1.",
        ),
        Mistake(
            "theta were always 10,000",
            [("return theta **", "return 10000.0 **")],
            "Models for long texts choose a larger theta, Qwen3 a million.",
        ),
        Mistake(
            "each angle were multiplied by 2π, as if the power counted full turns",
            [("/ head_dim)", "/ head_dim) * (2 * torch.pi)")],
            "The power is the angle itself, in radians: the first pair makes a full turn in 2π tokens.",
        ),
        Mistake(
            "the frequencies stood twice, once for each half of the head",
            [
                (
                    "return theta ** (-2 * pairs / head_dim)",
                    "return (theta ** (-2 * pairs / head_dim)).repeat(2)",
                )
            ],
            "That repetition belongs to the angles, when the pairs are turned; here each pair has one frequency.",
        ),
    ],
    hints=(
        "Count the pairs: 0, 1, …, D/2 − 1. Each number becomes an exponent, and theta is raised to it.",
        "The exponents fall in equal steps of 2/D, from 0 to almost −1. For D = 4 they are 0 and −1/2.",
        "pairs = torch.arange(head_dim // 2); a number ** a tensor raises it to each exponent at once.",
    ),
)
