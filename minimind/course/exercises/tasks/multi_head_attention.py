"""Multi-head attention: the vector cut into parts, each with an attention of its own."""

import torch
from torch import Tensor

from ..examples import gradients_at, moved_by_the_last_token, numbers
from ..solved import causal_mask, scaled_dot_product_attention
from ..task import Mistake, Property, Task


def multi_head_attention(
    x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, w_o: Tensor, num_heads: int
) -> Tensor:
    """Let each token take from itself and from those before it, with several heads side by side.

    Head h works on numbers h * D / H to (h + 1) * D / H - 1 of each query, key and value.

    Args:
        x: (B, T, D), one vector a token.
        w_q: (D, D), as in nn.Linear: row i makes number i of a token's query.
        w_k: (D, D), for the keys.
        w_v: (D, D), for the values.
        w_o: (D, D), mixes the heads' results, laid side by side again.
        num_heads: H, divides D.

    Returns:
        (B, T, D).
    """
    batch, length, width = x.shape
    q, k, v = (x @ weight.T for weight in (w_q, w_k, w_v))  # (B, T, D) each
    q, k, v = (y.view(batch, length, num_heads, -1).transpose(1, 2) for y in (q, k, v))  # (B, H, T, D / H)
    heads = scaled_dot_product_attention(q, k, v, causal_mask(length, length))  # (B, H, T, D / H)
    merged = heads.transpose(1, 2).reshape(batch, length, width)
    return merged @ w_o.T


def _weights(width: int) -> dict[str, Tensor]:
    return {f"w_{name}": numbers(width, width, seed=seed) / 2 for seed, name in enumerate("qkvo", start=1)}


ONE = torch.eye(4)
PLAIN = {"w_q": ONE, "w_k": ONE, "w_v": ONE, "w_o": ONE}
TASK = Task(
    name="multi_head_attention",
    module="attention",
    minutes=25,
    core=False,
    solution=multi_head_attention,
    properties=[
        Property(
            "One token alone gets its own value, through w_v and w_o",
            [
                {
                    "x": torch.tensor([[[1.0, 2.0]]]),
                    "w_q": torch.eye(2),
                    "w_k": torch.eye(2),
                    "w_v": torch.tensor([[1.0, 1.0], [0.0, 1.0]]),
                    "w_o": torch.tensor([[1.0, 0.0], [3.0, 1.0]]),
                    "num_heads": 1,
                }
            ],
        ),
        Property(
            "A token looks at itself and at those before it",
            [
                {
                    "x": torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]),
                    **{name: torch.eye(2) for name in PLAIN},
                    "num_heads": 1,
                }
            ],
        ),
        Property(
            "Each head compares its own part of the vectors, and averages that part",
            [
                {
                    "x": torch.tensor([[[1.0, 0.0, 0.0, 2.0], [0.0, 1.0, 0.0, 1.0]]]),
                    **PLAIN,
                    "num_heads": 2,
                },
                {"x": numbers(1, 3, 4), **PLAIN, "num_heads": 2},
                {"x": numbers(1, 2, 4), **PLAIN, "num_heads": 4},
            ],
        ),
        Property(
            "A later token changes nothing for those before it",
            [{"x": numbers(1, 3, 4), **_weights(4), "num_heads": 2}],
            moved_by_the_last_token,
            "by how much the earlier tokens' outputs move when the last token changes",
        ),
        Property(
            "The scores are divided by the root of the head's width D / H",
            [
                {
                    "x": torch.tensor([[[2.0, 0.0, 0.0, 0.0], [4.0, 0.0, 0.0, 0.0]]]),
                    **PLAIN,
                    "num_heads": 2,
                }
            ],
        ),
        Property(
            "Any matrices, several rows: the heads go back to their places, and w_o mixes them",
            [
                {"x": numbers(1, 2, 4), **_weights(4), "num_heads": 2},
                {"x": numbers(2, 3, 4), **_weights(4), "num_heads": 2},
                {"x": numbers(2, 5, 8), **_weights(8), "num_heads": 4},
            ],
        ),
        Property(
            "The gradient flows back to x and to all matrices",
            [{"x": numbers(1, 2, 4), **_weights(4), "num_heads": 2}],
            gradients_at("x", "w_q", "w_k", "w_v", "w_o"),
            "the gradient of y₁ + 2·y₂ + 3·y₃ + … at x, w_q, w_k, w_v and w_o",
            tolerance=1e-3,
        ),
    ],
    mistakes=[
        Mistake(
            "the vectors were cut by view(B, H, T, D / H), without a transpose",
            [("view(batch, length, num_heads, -1).transpose(1, 2)", "view(batch, num_heads, length, -1)")],
            "A view keeps the order in memory, so a head gets pieces of other tokens: view with T first, "
            "then transpose.",
        ),
        Mistake(
            "neighbouring numbers went to different heads: view(B, T, D / H, H)",
            [
                (
                    "view(batch, length, num_heads, -1).transpose(1, 2)",
                    "view(batch, length, -1, num_heads).permute(0, 3, 1, 2)",
                )
            ],
            "A head is a run of D / H neighbours, so H stands before D / H in the view.",
        ),
        Mistake(
            "the heads were not moved in front of the tokens",
            [
                (".transpose(1, 2) for y", " for y"),
                ("heads.transpose(1, 2).reshape", "heads.reshape"),
            ],
            "Attention works on the last two dimensions: with (B, T, H, D / H), a token's heads look at each other.",
        ),
        Mistake(
            "the heads were merged without transposing back",
            [("heads.transpose(1, 2).reshape", "heads.reshape")],
            "From (B, H, T, D / H) go to (B, T, H, D / H) first: a token's heads must lie side by side.",
        ),
        Mistake(
            "the scores were divided by the root of the model's width",
            [("scaled_dot_product_attention(q,", "scaled_dot_product_attention(q / num_heads**0.5,")],
            "A score is a sum over the D / H numbers of one head, so that is the width that counts.",
        ),
        Mistake(
            "there were no causal mask",
            [("(q, k, v, causal_mask(length, length))", "(q, k, v)")],
            "Then a token reads the ones that it is asked to predict.",
        ),
        Mistake(
            "there were one head only, as wide as the model",
            [("length, num_heads, -1", "length, 1, -1")],
            "It has as many parameters, but each token gets one pattern of weights where H heads give it H.",
        ),
        Mistake(
            "the output projection were left out",
            [("return merged @ w_o.T", "return merged")],
            "Without w_o no head's result reaches the numbers of another head.",
        ),
        Mistake(
            "w_q, w_k and w_v were not transposed: x @ w",
            [("x @ weight.T", "x @ weight")],
            "A matrix of nn.Linear is kept as (out, in), and the layer computes x @ w.T.",
        ),
        Mistake(
            "w_o were not transposed",
            [("merged @ w_o.T", "merged @ w_o")],
            "It is kept as (out, in), like the other three.",
        ),
        Mistake(
            "the values were made with w_k",
            [("(w_q, w_k, w_v)", "(w_q, w_k, w_k)")],
            "Key and value have a matrix each: what a token is found by, and what it gives.",
        ),
        Mistake(
            "no gradient could pass: no_grad(), .detach() or .data stood in its way",
            [("return merged @ w_o.T", "return (merged @ w_o.T).detach()")],
            "The model is trained through this function, so every step of it must be differentiable.",
        ),
    ],
    hints=(
        "Project, cut into heads, attend, lay the heads side by side again, project once more.",
        "A projection is x @ w.T. Cut with view(B, T, H, D / H), and bring H before T with transpose(1, 2).",
        "heads = scaled_dot_product_attention(q, k, v, causal_mask(T, T)); then heads.transpose(1, 2)"
        ".reshape(B, T, D) @ w_o.T.",
    ),
)
