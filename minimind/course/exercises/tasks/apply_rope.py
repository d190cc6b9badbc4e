"""RoPE: queries and keys turned by their positions."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..examples import gradients_at, numbers
from ..task import Mistake, Property, Task


def apply_rope(x: Tensor, positions: Tensor, frequencies: Tensor) -> Tensor:
    """Turn each pair of numbers of a query or key by its position times the pair's frequency.

    Number i of the first half and number i of the second half make pair i ("rotate-half"). Turned
    counter-clockwise by the angle α, the point (a, b) becomes (a cos α - b sin α, b cos α + a sin α).

    Args:
        x: queries or keys (…, T, D), in fp32 or bf16.
        positions: (T,), whole numbers: where each token stands.
        frequencies: (D/2,), the angle in radians by which each pair turns from one token to the next.

    Returns:
        (…, T, D) in the dtype of x. Angles, cosines and sines are computed in fp32.
    """
    angles = positions[:, None] * frequencies  # (T, D/2)
    angles = torch.cat((angles, angles), dim=-1)  # (T, D)
    first, second = x.chunk(2, dim=-1)
    partners = torch.cat((-second, first), dim=-1)
    return (x * angles.cos() + partners * angles.sin()).to(x.dtype)


def _scores(
    function: Callable[..., Tensor], query: Tensor, key: Tensor, distance: int, frequencies: Tensor
) -> Tensor:
    """Scores of a query at positions 3, 10 and 50 with a key that stands so many tokens before."""
    positions = torch.tensor([3, 10, 50])
    queries = function(query.expand(3, -1), positions, frequencies)
    keys = function(key.expand(3, -1), positions - distance, frequencies)
    return (queries * keys).sum(dim=-1)


QUARTER = torch.tensor([torch.pi / 2])
TWO = torch.tensor([1.0, 0.1])
TASK = Task(
    name="apply_rope",
    module="position_encoding",
    minutes=15,
    solution=apply_rope,
    properties=[
        Property(
            "At position 0 nothing turns",
            [{"x": torch.tensor([[3.0, 4.0]]), "positions": torch.tensor([0]), "frequencies": QUARTER}],
        ),
        Property(
            "A frequency of π/2 makes a quarter turn for each token, counter-clockwise",
            [
                {"x": torch.tensor([[1.0, 0.0]]), "positions": torch.tensor([1]), "frequencies": QUARTER},
                {"x": torch.tensor([[0.0, 1.0]]), "positions": torch.tensor([1]), "frequencies": QUARTER},
                {
                    "x": torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]),
                    "positions": torch.tensor([1, 2, 3]),
                    "frequencies": QUARTER,
                },
            ],
        ),
        Property(
            "Number i of the first half and number i of the second half turn together, by frequency i",
            [
                {
                    "x": torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]),
                    "positions": torch.tensor([1, 1]),
                    "frequencies": TWO,
                },
                {
                    "x": torch.tensor([[1.0, 2.0, 3.0, 4.0]]),
                    "positions": torch.tensor([2]),
                    "frequencies": TWO,
                },
            ],
        ),
        Property(
            "Each token turns by the position that it was given, in every head alike",
            [
                {
                    "x": torch.tensor([[1.0, 0.0], [1.0, 0.0]]),
                    "positions": torch.tensor([7, 3]),
                    "frequencies": torch.tensor([0.5]),
                },
                {
                    "x": torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [2.0, 1.0]]]),
                    "positions": torch.tensor([4, 5]),
                    "frequencies": torch.tensor([0.5]),
                },
            ],
        ),
        Property(
            "The score of a query and a key depends on their distance only",
            [
                {
                    "query": torch.tensor([1.0, 2.0, 0.0, 1.0]),
                    "key": torch.tensor([1.0, 0.0, 3.0, 1.0]),
                    "distance": distance,
                    "frequencies": TWO,
                }
                for distance in (0, 2)
            ],
            _scores,
            "the scores of the turned query and key at three places",
        ),
        Property(
            "bf16 goes in, bf16 comes out, and the angles are computed in fp32",
            [
                {
                    "x": torch.tensor([[1.0, 0.0], [1.0, 0.0]]).bfloat16(),
                    "positions": torch.tensor([256, 257]),
                    "frequencies": torch.tensor([frequency]),
                }
                for frequency in (1.0, 0.3)
            ],
        ),
        Property(
            "Rows, heads, far positions: (B, H, T, D), each turned by its own token's position",
            [
                {
                    "x": numbers(2, 2, 4, 6),
                    "positions": torch.tensor([0, 700, 5, 1000]),
                    "frequencies": torch.tensor([1.0, 0.1, 0.01]),
                }
            ],
        ),
        Property(
            "The gradient flows back to x",
            [{"x": numbers(2, 4), "positions": torch.tensor([3, 5]), "frequencies": TWO}],
            gradients_at("x"),
            "the gradient of y₁ + 2·y₂ + 3·y₃ + … at x",
            tolerance=1e-3,
        ),
    ],
    mistakes=[
        Mistake(
            "neighbours made a pair: numbers 0 and 1, numbers 2 and 3, …",
            [
                ("torch.cat((angles, angles), dim=-1)", "angles.repeat_interleave(2, dim=-1)"),
                ("x.chunk(2, dim=-1)", "(x[..., 0::2], x[..., 1::2])"),
                ("torch.cat((-second, first), dim=-1)", "torch.stack((-second, first), dim=-1).flatten(-2)"),
            ],
            "That is RoPE as well, but for other weights: the rows of wq and wk would have to be permuted first.",
        ),
        Mistake(
            "the angles were repeated one by one, as for neighbours, while the halves make the pairs",
            [("torch.cat((angles, angles), dim=-1)", "angles.repeat_interleave(2, dim=-1)")],
            "Numbers i and i + D/2 share frequency i: the angles must stand as (0, 1, 0, 1), not as (0, 0, 1, 1).",
        ),
        Mistake(
            "the minus stood on the wrong half, so that every pair turns backwards",
            [("(-second, first)", "(second, -first)")],
            "Scores among your own tokens stay right, so no test of distances finds it; trained weights do.",
        ),
        Mistake(
            "no half got a minus",
            [("(-second, first)", "(second, first)")],
            "Without it nothing turns: the lengths change. (a, b) needs −b in the first half.",
        ),
        Mistake(
            "the halves had not changed places before they were multiplied by the sine",
            [("(-second, first)", "(-first, second)")],
            "Each number takes its partner from the other half.",
        ),
        Mistake(
            "cosine and sine were swapped",
            [("x * angles.cos() + partners * angles.sin()", "x * angles.sin() + partners * angles.cos()")],
            "At position 0 the cosine is 1 and the sine 0, and nothing may move.",
        ),
        Mistake(
            "every token stood at position 1",
            [("positions[:, None] * frequencies", "torch.ones_like(positions)[:, None] * frequencies")],
            "Multiply the frequencies by the positions: (T, 1) times (D/2,) gives (T, D/2).",
        ),
        Mistake(
            "the tokens were counted from 0, whatever positions they were given",
            [("positions[:, None] * frequencies", "torch.arange(len(positions))[:, None] * frequencies")],
            "With a cache, one new token comes alone and stands far behind position 0.",
        ),
        Mistake(
            "positions were counted from 1",
            [("positions[:, None] * frequencies", "(positions[:, None] + 1) * frequencies")],
            "Scores do not notice, as distances stay; but the first token is at 0 and is not turned.",
        ),
        Mistake(
            "the frequencies were taken for degrees",
            [("positions[:, None] * frequencies", "torch.deg2rad(positions[:, None] * frequencies)")],
            "The frequencies are in radians, and radians are what torch.cos wants.",
        ),
        Mistake(
            "the angles were computed in bf16",
            [
                (
                    "positions[:, None] * frequencies",
                    "positions[:, None].to(x.dtype) * frequencies.to(x.dtype)",
                )
            ],
            "In bf16, positions 256 and 257 are the same number.",
        ),
        Mistake(
            "the result stayed in fp32",
            [(".to(x.dtype)", "")],
            "Turned queries meet values and matrices in bf16, which would refuse them.",
        ),
        Mistake(
            "the pairs were taken from neighbours, and the result was put together from halves",
            [("x.chunk(2, dim=-1)", "(x[..., 0::2], x[..., 1::2])")],
            "Split and join must be of one kind: here number i of the first half goes with number i of the second.",
        ),
        Mistake(
            "no gradient could pass: no_grad(), .detach() or .data stood in its way",
            [
                (
                    "return (x * angles.cos() + partners * angles.sin()).to(x.dtype)",
                    "return (x * angles.cos() + partners * angles.sin()).to(x.dtype).detach()",
                )
            ],
            "The model is trained through this function, so every step of it must be differentiable.",
        ),
    ],
    hints=(
        "First a table of angles (T, D/2): every position times every frequency. Then turn each pair by its angle.",
        "The first half of the result is first · cos − second · sin, the second half second · cos + first · sin. "
        "Both halves use the same angles.",
        "first, second = x.chunk(2, dim=-1); partners = torch.cat((-second, first), dim=-1); and the angles twice "
        "behind each other, torch.cat((angles, angles), dim=-1).",
    ),
)
