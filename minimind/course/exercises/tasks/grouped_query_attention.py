"""Grouped-query attention: several query heads share one key and value head."""

import torch
from torch import Tensor

from ..examples import gradients_at, numbers
from ..solved import scaled_dot_product_attention
from ..task import Mistake, Property, Task


def grouped_query_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attend with fewer key and value heads than query heads: each serves a group of neighbours.

    Query head h uses key and value head h // (H / K).

    Args:
        q: queries (B, H, T, D).
        k: keys (B, K, S, D), H a multiple of K.
        v: values (B, K, S, D).
        mask: (T, S), True where a query may look at a key; None lets all look at all.

    Returns:
        (B, H, T, D).
    """
    group = q.shape[1] // k.shape[1]  # query heads for each key head
    k = k.repeat_interleave(group, dim=1)  # (B, H, S, D)
    v = v.repeat_interleave(group, dim=1)
    return scaled_dot_product_attention(q, k, v, mask)


KEYS = "k = k.repeat_interleave(group, dim=1)"
VALUES = "v = v.repeat_interleave(group, dim=1)"
LOWER = torch.ones(3, 3, dtype=torch.bool).tril()
TASK = Task(
    name="grouped_query_attention",
    module="attention",
    minutes=10,
    solution=grouped_query_attention,
    properties=[
        Property(
            "With one key head, all query heads look at it",
            [
                {
                    "q": torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]),
                    "k": torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]]),
                    "v": torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]]),
                }
            ],
        ),
        Property(
            "Neighbouring query heads share a head: 0 and 1 take values from head 0, 2 and 3 from head 1",
            [
                {
                    "q": torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]], [[0.0, 1.0]]]]),
                    "k": torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]),
                    "v": torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]),
                },
            ],
        ),
        Property(
            "Keys are shared in the same way",
            [
                {
                    "q": torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]], [[0.0, 1.0]]]]),
                    "k": torch.tensor([[[[2.0, 0.0], [0.0, 2.0]], [[-2.0, 1.0], [4.0, 0.0]]]]),
                    "v": torch.eye(2).expand(1, 2, 2, 2).clone(),
                },
            ],
        ),
        Property(
            "With as many key heads as query heads, each has its own",
            [{"q": numbers(1, 2, 1, 2), "k": numbers(1, 2, 2, 2, seed=1), "v": numbers(1, 2, 2, 2, seed=2)}],
        ),
        Property(
            "A query takes nothing from a key that it may not look at",
            [
                {
                    "q": numbers(1, 2, 2, 2, seed=3),
                    "k": numbers(1, 1, 2, 2, seed=4),
                    "v": numbers(1, 1, 2, 2, seed=5),
                    "mask": LOWER[:2, :2],
                }
            ],
        ),
        Property(
            "Several rows, and more keys than queries",
            [
                {
                    "q": numbers(2, 6, 3, 4),
                    "k": numbers(2, 2, 3, 4, seed=1),
                    "v": numbers(2, 2, 3, 4, seed=2),
                },
                {
                    "q": numbers(2, 4, 2, 4),
                    "k": numbers(2, 2, 3, 4, seed=1),
                    "v": numbers(2, 2, 3, 4, seed=2),
                    "mask": LOWER[1:],
                },
            ],
        ),
        Property(
            "It does not matter how the numbers lie in memory: heads often come from a transpose",
            [
                {
                    "q": numbers(1, 3, 4, 2).transpose(1, 2),
                    "k": numbers(1, 3, 2, 2, seed=1).transpose(1, 2),
                    "v": numbers(1, 3, 2, 2, seed=2).transpose(1, 2),
                }
            ],
        ),
        Property(
            "Scores of any size give no NaN, and a hidden key stays hidden however well it fits",
            [
                {
                    "q": torch.tensor([[[[200.0, 0.0]], [[0.0, 200.0]]]]),
                    "k": torch.tensor([[[[200.0, 0.0], [-200.0, 0.0]]]]),
                    "v": torch.eye(2)[None, None],
                    "mask": torch.tensor([[False, True]]),
                }
            ],
        ),
        Property(
            "The gradient flows back to queries, keys and values",
            [{"q": numbers(1, 2, 2, 2), "k": numbers(1, 1, 2, 2, seed=1), "v": numbers(1, 1, 2, 2, seed=2)}],
            gradients_at("q", "k", "v"),
            "the gradient of y₁ + 2·y₂ + 3·y₃ + … at q, k and v",
            tolerance=1e-3,
        ),
    ],
    mistakes=[
        Mistake(
            "query head h used key head h % K: repeat instead of repeat_interleave",
            [(KEYS, "k = k.repeat(1, group, 1, 1)"), (VALUES, "v = v.repeat(1, group, 1, 1)")],
            "With repeat the order is 0, 1, 0, 1; the groups are neighbours, 0, 0, 1, 1, and weights are trained so.",
        ),
        Mistake(
            "the keys were repeated in one order and the values in the other",
            [(VALUES, "v = v.repeat(1, group, 1, 1)")],
            "A weight found with one head's key must meet the same head's value.",
        ),
        Mistake(
            "the keys and values of all heads were averaged",
            [(KEYS, "k = k.mean(dim=1, keepdim=True)"), (VALUES, "v = v.mean(dim=1, keepdim=True)")],
            "No head is mixed with another here; each is used by several queries as it is.",
        ),
        Mistake(
            "all query heads used the first key head",
            [(KEYS, "k = k[:, :1]"), (VALUES, "v = v[:, :1]")],
            "That is right for K = 1 alone (multi-query attention).",
        ),
        Mistake(
            "the tokens were repeated, not the heads",
            [(KEYS, KEYS.replace("dim=1", "dim=2")), (VALUES, VALUES.replace("dim=1", "dim=2"))],
            "The heads are dimension 1 of (B, K, S, D). With K = 1 the doubled keys even give the right numbers.",
        ),
        Mistake(
            "the values were made from the keys",
            [(VALUES, "v = k")],
            "A line copied and not changed to the end?",
        ),
        Mistake(
            "the division by √D were left out",
            [("scaled_dot_product_attention(q,", "scaled_dot_product_attention(q * q.shape[-1] ** 0.5,")],
            "The scores of a group are divided as always: by the root of a head's width.",
        ),
        Mistake(
            "the mask were ignored",
            [("(q, k, v, mask)", "(q, k, v)")],
            "Hand it on: it is the same for all heads.",
        ),
        Mistake(
            "no gradient could pass: no_grad(), .detach() or .data stood in its way",
            [
                (
                    "return scaled_dot_product_attention(q, k, v, mask)",
                    "return scaled_dot_product_attention(q, k, v, mask).detach()",
                )
            ],
            "The model is trained through this function, so every step of it must be differentiable.",
        ),
    ],
    hints=(
        "Once every query head has a key head of its own, this is the attention that you know.",
        "Each of the K heads serves H / K query heads that are neighbours. Repeat it that often, along dimension 1.",
        "k.repeat_interleave(H // K, dim=1), v likewise; then scaled_dot_product_attention(q, k, v, mask).",
    ),
)
