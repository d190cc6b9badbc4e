"""Pre-norm: a layer reads the normalized stream and adds to the stream itself."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..examples import gradients_at
from ..task import Mistake, Property, Task
from .rms_norm import rms_norm


def pre_norm(x: Tensor, sublayer: Callable[[Tensor], Tensor], weight: Tensor, eps: float = 1e-6) -> Tensor:
    """Let a layer read the normalized stream, and add what it gives to the stream itself.

    Args:
        x: the stream, (…, D).
        sublayer: a layer such as attention; takes (…, D) and gives (…, D).
        weight: (D,), the norm's factors.
        eps: of the norm, added to the mean square.

    Returns:
        (…, D), the stream with the layer's output added. The stream itself is never normalized.
    """
    branch = sublayer(rms_norm(x, weight, eps))
    return x + branch


def zeros(x: Tensor) -> Tensor:
    """A layer that says nothing."""
    return 0 * x


def double(x: Tensor) -> Tensor:
    """A layer that gives twice what it reads."""
    return 2 * x


def square(x: Tensor) -> Tensor:
    """A layer that gives the square of each number."""
    return x * x


ONES = torch.ones(2)
TASK = Task(
    name="pre_norm",
    module="normalization",
    minutes=5,
    solution=pre_norm,
    properties=[
        Property(
            "A layer that gives zeros leaves the stream as it is",
            [{"x": torch.tensor([3.0, 4.0]), "sublayer": zeros, "weight": ONES}],
        ),
        Property(
            "The layer reads the normalized stream: however long x is, it gets the same length",
            [
                {"x": torch.tensor([5.0, 5.0]), "sublayer": double, "weight": ONES},
                {"x": torch.tensor([100.0, 100.0]), "sublayer": double, "weight": ONES},
            ],
        ),
        Property(
            "The layer's output is added as it comes, long or short",
            [
                {"x": torch.tensor([2.0, -2.0]), "sublayer": square, "weight": torch.tensor([1.0, 3.0])},
                {"x": torch.tensor([[1.0, 7.0], [5.0, 5.0]]), "sublayer": square, "weight": ONES},
                {
                    "x": torch.tensor([[3.0, 4.0], [30.0, 40.0], [0.0, 1.0]]),
                    "sublayer": square,
                    "weight": ONES,
                },
            ],
        ),
        Property(
            "The norm gets its eps",
            [{"x": torch.tensor([0.5, 0.5]), "sublayer": double, "weight": ONES, "eps": 0.75}],
        ),
        Property(
            "The gradient has a straight road: past a layer that gives zeros it arrives unchanged",
            [
                {"x": torch.tensor([3.0, 4.0]), "sublayer": zeros, "weight": ONES},
                {"x": torch.tensor([3.0, 4.0]), "sublayer": square, "weight": ONES},
            ],
            gradients_at("x", "weight"),
            "the gradient of y₁ + 2·y₂ at x and at the weight",
            tolerance=1e-3,
        ),
    ],
    mistakes=[
        Mistake(
            "the sum were normalized, not what the layer reads: that is post-norm",
            [
                ("branch = sublayer(rms_norm(x, weight, eps))", "branch = sublayer(x)"),
                ("return x + branch", "return rms_norm(x + branch, weight, eps)"),
            ],
            "The transformer of 2017 did that. Then every layer divides the stream, and x arrives nowhere as it was.",
        ),
        Mistake(
            "the residual connection were left out",
            [("return x + branch", "return branch")],
            "The layer only adds to the stream. What it does not touch must stay.",
        ),
        Mistake(
            "the normalized stream were kept, and the layer's output added to that",
            [("return x + branch", "return rms_norm(x, weight, eps) + branch")],
            "Only the branch is normalized. If you write x = rms_norm(x), the x that you add to is gone.",
        ),
        Mistake(
            "the norm stood after the layer, inside the branch",
            [("sublayer(rms_norm(x, weight, eps))", "rms_norm(sublayer(x), weight, eps)")],
            "Then every layer writes with the same length, however little it has to say.",
        ),
        Mistake(
            "the layer read x itself, and nothing were normalized",
            [("sublayer(rms_norm(x, weight, eps))", "sublayer(x)")],
            "The stream grows with depth. Without the norm, late layers read longer vectors than early ones.",
        ),
        Mistake(
            "the layer's output were normalized too, before it is added",
            [
                (
                    "sublayer(rms_norm(x, weight, eps))",
                    "rms_norm(sublayer(rms_norm(x, weight, eps)), weight, eps)",
                )
            ],
            "Some models have this second norm (Gemma 2, with weights of its own). Pre-norm has the first alone.",
        ),
        Mistake(
            "the sum were normalized once more",
            [("return x + branch", "return rms_norm(x + branch, weight, eps)")],
            "The stream goes on as it is. Its only norm is the last one, before the output layer.",
        ),
        Mistake(
            "x were added twice, the first time inside the branch",
            [("eps))", "eps)) + x")],
            "One addition for each layer: a stream that doubles each time overflows in a deep model.",
        ),
        Mistake(
            "the norm's weight were left out",
            [("rms_norm(x, weight, eps)", "rms_norm(x, x.new_ones(x.shape[-1]), eps)")],
            "The weight belongs to this norm: each layer chooses what it reads more loudly.",
        ),
        Mistake(
            "eps were not handed on to the norm",
            [("rms_norm(x, weight, eps)", "rms_norm(x, weight)")],
            "A model's config names its eps; with another one, small vectors come out with another length.",
        ),
        Mistake(
            "x were changed in place, as `x += branch` does",
            [("return x + branch", "return x.add_(branch)")],
            "Whoever else holds this tensor finds other numbers in it. Write x + branch.",
        ),
        Mistake(
            "the straight road of the gradient were cut by detach()",
            [("return x + branch", "return x.detach() + branch")],
            "The addition hands the gradient on whole, past the layer. That is what it is there for.",
        ),
        Mistake(
            "no gradient could pass: no_grad(), .detach() or .data stood in its way",
            [("return x + branch", "return (x + branch).detach()")],
            "The model is trained through this function, so every step of it must be differentiable.",
        ),
    ],
    hints=(
        "Draw two roads from x: one goes straight on, one passes the norm and then the layer. They meet in a sum.",
        "rms_norm(x, weight, eps) is there to be called. Its result is what the layer reads, and nothing else "
        "reads it.",
        "branch = sublayer(rms_norm(x, weight, eps)). Then add it to the x that you were given.",
    ),
)
