"""The causal mask: who may look at whom."""

import torch
from torch import Tensor

from ..task import Mistake, Property, Task


def causal_mask(queries: int, keys: int) -> Tensor:
    """Say which keys each query may look at: itself and what came before.

    Args:
        queries: number of new tokens T. They are the last T of the keys: the others are in the cache.
        keys: number of tokens S that there are in all, at least T.

    Returns:
        (T, S), True where a query may look.
    """
    first = keys - queries
    positions = torch.arange(keys)
    return positions[None, :] <= positions[first:, None]


TASK = Task(
    name="causal_mask",
    module="attention",
    minutes=5,
    solution=causal_mask,
    properties=[
        Property("One token may look at itself", [{"queries": 1, "keys": 1}]),
        Property(
            "A token looks at itself and at those before it",
            [{"queries": 2, "keys": 2}, {"queries": 4, "keys": 4}],
        ),
        Property(
            "A new token looks at all tokens of the cache",
            [{"queries": 1, "keys": 4}, {"queries": 2, "keys": 5}, {"queries": 3, "keys": 12}],
        ),
    ],
    mistakes=[
        Mistake(
            "the comparison were the wrong way round: each token saw itself and what follows",
            [("<=", ">=")],
            "A token must not see the one it is asked to predict.",
        ),
        Mistake(
            "tokens could not look at themselves",
            [("<=", "<")],
            "The first token would look at nothing, and a softmax over nothing is NaN.",
        ),
        Mistake(
            "the border were one token too late, so each token saw the next one",
            [("positions[first:, None]", "positions[first:, None] + 1")],
            "Then the answer stands in the input: training loss falls to zero, and the model has learned to copy.",
        ),
        Mistake(
            "the new tokens were the first of the keys, not the last",
            [("positions[first:, None]", "positions[:queries, None]")],
            "With a cache, query 0 is token S - T: shift the diagonal by that much.",
        ),
        Mistake(
            "all tokens looked at all",
            [
                (
                    "positions[None, :] <= positions[first:, None]",
                    "torch.ones(queries, keys, dtype=torch.bool)",
                )
            ],
            "Then nothing is causal: every token sees its own future.",
        ),
        Mistake(
            "allowed and forbidden had changed places",
            [
                (
                    "positions[None, :] <= positions[first:, None]",
                    "positions[None, :] > positions[first:, None]",
                )
            ],
            "Here True means: may look. Some libraries mean the opposite.",
        ),
        Mistake(
            "queries stood in the columns and keys in the rows",
            [
                (
                    "positions[None, :] <= positions[first:, None]",
                    "positions[:, None] <= positions[None, first:]",
                )
            ],
            "The scores are (T, S), a row for each query, and the mask lies on top of them.",
        ),
        Mistake(
            "the tokens of the cache had no column",
            [("positions[None, :] <=", "positions[None, first:] <=")],
            "The mask is (T, S): there is a key for every token, also for those that were read before.",
        ),
        Mistake(
            "the mask held 0 and -inf, to be added to the scores",
            [
                (
                    "return positions[None, :] <= positions[first:, None]",
                    "return torch.zeros(queries, keys).masked_fill(positions[None, :] > positions[first:, None], "
                    'float("-inf"))',
                )
            ],
            "Some code masks like that, but here the mask is of type bool: True where a query may look.",
        ),
        Mistake(
            "the mask held the numbers 1 and 0, not True and False",
            [
                (
                    "return positions[None, :] <= positions[first:, None]",
                    "return (positions[None, :] <= positions[first:, None]).float()",
                )
            ],
            "What reads the mask turns it round with ~ and picks by it: both need the type bool.",
        ),
    ],
    hints=(
        "Number the tokens. A query may look at a key if the key's number is not larger than its own.",
        "The keys have the numbers 0 to S - 1, the queries the last T of them: S - T to S - 1.",
        "With positions = torch.arange(keys), compare positions[None, :], the keys (1, S), with "
        "positions[keys - queries :, None], the queries (T, 1).",
    ),
)
