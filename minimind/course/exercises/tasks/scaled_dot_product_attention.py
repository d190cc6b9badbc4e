"""Attention as its formula says it."""

import math

import torch
from torch import Tensor

from ..examples import gradients_at, numbers
from ..task import Mistake, Property, Task


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Give each query an average of the values, weighted by how well their keys fit it.

    softmax(q kᵀ / √D) v, with the softmax over the keys.

    Args:
        q: queries (…, T, D).
        k: keys (…, S, D).
        v: values (…, S, D).
        mask: (T, S) or (…, T, S), True where a query may look at a key; None lets all look at all.

    Returns:
        (…, T, D) in the dtype of v. The weights of each query sum to 1.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (…, T, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=-1)
    return weights @ v


LOWER = torch.ones(3, 3, dtype=torch.bool).tril()
TASK = Task(
    name="scaled_dot_product_attention",
    module="attention",
    minutes=15,
    solution=scaled_dot_product_attention,
    properties=[
        Property(
            "With one key there is nothing to choose, and every query gets its value",
            [
                {
                    "q": torch.tensor([[1.0, 2.0]]),
                    "k": torch.tensor([[3.0, 4.0]]),
                    "v": torch.tensor([[5.0, 7.0]]),
                },
                {
                    "q": torch.tensor([[1.0, 2.0], [0.0, 1.0]]),
                    "k": torch.tensor([[3.0, 4.0]]),
                    "v": torch.tensor([[5.0, 7.0]]),
                },
            ],
        ),
        Property(
            "Keys that fit equally well give the plain mean of their values",
            [
                {
                    "q": torch.zeros(1, 2),
                    "k": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
                    "v": torch.tensor([[0.0, 3.0], [3.0, 0.0], [6.0, 3.0]]),
                }
            ],
        ),
        Property(
            "The scores are divided by √D before the softmax",
            [
                {
                    "q": torch.tensor([[2.0, 0.0, 0.0, 0.0]]),
                    "k": torch.eye(4)[:3],
                    "v": torch.eye(4)[:3],
                }
            ],
        ),
        Property(
            "The weights of each query sum to 1 over the keys, so equal values come out as they are",
            [
                {
                    "q": torch.tensor([[1.0, 0.0], [-1.0, 2.0]]),
                    "k": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
                    "v": torch.ones(3, 2),
                }
            ],
        ),
        Property(
            "A query takes nothing from a key that it may not look at",
            [
                {
                    "q": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
                    "k": torch.tensor([[1.0, 0.0], [2.0, 1.0]]),
                    "v": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
                    "mask": LOWER[:2, :2],
                },
                {
                    "q": torch.tensor([[1.0, -1.0]]),
                    "k": torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 1.0]]),
                    "v": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
                    "mask": torch.tensor([[True, False, True]]),
                },
            ],
        ),
        Property(
            "Heads and samples are worked on side by side",
            [
                {"q": numbers(2, 1, 2), "k": numbers(2, 3, 2, seed=1), "v": numbers(2, 3, 2, seed=2)},
                {
                    "q": numbers(2, 2, 3, 4),
                    "k": numbers(2, 2, 3, 4, seed=1),
                    "v": numbers(2, 2, 3, 4, seed=2),
                    "mask": LOWER,
                },
            ],
        ),
        Property(
            "bf16 goes in, bf16 comes out",
            [
                {
                    "q": torch.zeros(1, 2).bfloat16(),
                    "k": torch.tensor([[1.0, 0.0], [0.0, 1.0]]).bfloat16(),
                    "v": torch.tensor([[1.0, 2.0], [3.0, 6.0]]).bfloat16(),
                }
            ],
        ),
        Property(
            "Each sample may have a mask of its own",
            [
                {
                    "q": numbers(2, 2, 2),
                    "k": numbers(2, 2, 2, seed=1),
                    "v": numbers(2, 2, 2, seed=2),
                    "mask": torch.tensor([[[True, False], [True, True]], [[False, True], [True, False]]]),
                }
            ],
        ),
        Property(
            "Scores of any size give no NaN, and a hidden key stays hidden however well it fits",
            [
                {"q": torch.tensor([[200.0, 0.0]]), "k": 200 * torch.eye(2), "v": torch.eye(2)},
                {
                    "q": torch.tensor([[200.0, 0.0]]),
                    "k": torch.tensor([[200.0, 0.0], [-200.0, 0.0]]),
                    "v": torch.eye(2),
                    "mask": torch.tensor([[False, True]]),
                },
            ],
        ),
        Property(
            "The gradient flows back to queries, keys and values",
            [{"q": numbers(2, 2), "k": numbers(3, 2, seed=1), "v": numbers(3, 2, seed=2)}],
            gradients_at("q", "k", "v"),
            "the gradient of y₁ + 2·y₂ + 3·y₃ + … at q, k and v",
            tolerance=1e-3,
        ),
    ],
    mistakes=[
        Mistake(
            "the division by √D were left out",
            [(" / math.sqrt(q.shape[-1])", "")],
            "A sum of D products of numbers of size 1 has size √D; so large scores make softmax pick one key.",
        ),
        Mistake(
            "the scores were divided by D, not by its root",
            [("math.sqrt(q.shape[-1])", "q.shape[-1]")],
            "The variance of a sum of D products grows as D, its size as √D.",
        ),
        Mistake(
            "the scores were divided by the root of the number of keys",
            [("math.sqrt(q.shape[-1])", "math.sqrt(k.shape[-2])")],
            "D is the length of a query: the last dimension, over which the products are summed.",
        ),
        Mistake(
            "√D divided the weights, after the softmax",
            [
                (" / math.sqrt(q.shape[-1])", ""),
                ("scores.softmax(dim=-1)", "scores.softmax(dim=-1) / math.sqrt(q.shape[-1])"),
            ],
            "Then the weights of a query sum to 1 / √D, and the softmax is as sharp as before.",
        ),
        Mistake(
            "the softmax ran over the queries, not over the keys",
            [("dim=-1", "dim=-2")],
            "Each query shares out one unit of weight among its keys: the last dimension of (…, T, S).",
        ),
        Mistake(
            "the softmax were left out",
            [("weights = scores.softmax(dim=-1)", "weights = scores")],
            "Raw scores may be negative and sum to anything; an average needs weights that sum to 1.",
        ),
        Mistake(
            "the mask were applied after the softmax, and the rest did not sum to 1 any more",
            [
                ('scores = scores.masked_fill(~mask, float("-inf"))', "pass"),
                (
                    "return weights @ v",
                    "return (weights if mask is None else weights.masked_fill(~mask, 0.0)) @ v",
                ),
            ],
            "Mask the scores: then the softmax shares out all the weight among the keys that are left.",
        ),
        Mistake(
            "the mask were read the wrong way round",
            [("~mask", "mask")],
            "Here True means: may look. So what is not True gets -inf.",
        ),
        Mistake(
            "forbidden scores were set to 0, not to -inf",
            [('float("-inf")', "0.0")],
            "A score of 0 weighs exp(0) = 1, like any other; only exp(-inf) is 0.",
        ),
        Mistake(
            "the mask were ignored",
            [("if mask is not None:", "if False:")],
            "Without it every token sees its own future.",
        ),
        Mistake(
            "the keys were averaged, not the values",
            [("return weights @ v", "return weights @ k")],
            "The key decides how much a token gives; the value is what it gives.",
        ),
        Mistake(
            "the transpose exchanged the first two dimensions of k",
            [("k.transpose(-2, -1)", "k.transpose(0, 1)")],
            "With samples or heads in front, tokens and numbers are the last two: count from the end.",
        ),
        Mistake(
            "the result stayed in fp32",
            [("return weights @ v", "return weights.float() @ v.float()")],
            "The output projection comes next, its matrix is in bf16, and it would refuse fp32.",
        ),
        Mistake(
            "the mask were added to the scores, as 1 where a query may look and 0 where not",
            [('scores.masked_fill(~mask, float("-inf"))', "scores + mask")],
            "A difference of 1 makes a weight e times as large; it forbids nothing. Only -inf does.",
        ),
        Mistake(
            "no gradient could pass: no_grad(), .detach() or .data stood in its way",
            [("return weights @ v", "return (weights @ v).detach()")],
            "The model is trained through this function, so every step of it must be differentiable.",
        ),
        Mistake(
            "the softmax were written out, as exp over its sum, without subtracting the largest score",
            [
                (
                    "weights = scores.softmax(dim=-1)",
                    "weights = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)",
                )
            ],
            "Already exp(100) is too large for fp32. Subtract the largest score first: softmax stays the same.",
        ),
        Mistake(
            "a hidden key got the score −10,000 and not −∞",
            [('float("-inf")', "-1e4")],
            "A visible key can score less than that, and then the hidden one wins.",
        ),
    ],
    hints=(
        "Four steps: the scores of every query with every key, the mask, the softmax, the average of the values.",
        "q @ k.transpose(-2, -1) has shape (…, T, S). Divide it by √D, D = q.shape[-1]. The softmax runs over S.",
        'scores.masked_fill(~mask, float("-inf")), if there is a mask; then scores.softmax(dim=-1) @ v.',
    ),
)
