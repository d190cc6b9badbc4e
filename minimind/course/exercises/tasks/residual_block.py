"""The residual stream: every layer adds to it, none replaces it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..examples import gradients_at, numbers
from ..task import Mistake, Property, Task


def residual_block(x: Tensor, sublayers: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """Let each layer read the stream and add its output to it, one after the other.

    Args:
        x: the stream as it comes in, (…, D), which stays as it is.
        sublayers: the layers, first to last; each takes (…, D) and gives (…, D).

    Returns:
        (…, D) in the dtype of x: the stream after the last layer.
    """
    stream = x
    for sublayer in sublayers:
        stream = stream + sublayer(stream)
    return stream


def zeros(x: Tensor) -> Tensor:
    """A layer that says nothing."""
    return 0 * x


def ones(x: Tensor) -> Tensor:
    """A layer that gives ones, whatever it reads."""
    return torch.ones_like(x)


def double(x: Tensor) -> Tensor:
    """A layer that gives twice what it reads."""
    return 2 * x


def square(x: Tensor) -> Tensor:
    """A layer that gives the square of each number."""
    return x * x


def mean_of_tokens(x: Tensor) -> Tensor:
    """A layer that gives every token the mean of all tokens of its row."""
    return x.mean(dim=-2, keepdim=True).expand_as(x)


X = torch.tensor([1.0, 3.0])
TASK = Task(
    name="residual_block",
    module="residual_connections",
    minutes=5,
    solution=residual_block,
    properties=[
        Property("Without layers the stream comes out as it came in", [{"x": X, "sublayers": []}]),
        Property(
            "A layer adds its output to the stream",
            [
                {"x": X, "sublayers": [zeros]},
                {"x": X, "sublayers": [ones]},
                {"x": X, "sublayers": [double]},
            ],
        ),
        Property(
            "The next layer reads what the one before has added",
            [{"x": X, "sublayers": [ones, double]}, {"x": X, "sublayers": [double, ones]}],
        ),
        Property(
            "Three layers, two tokens",
            [{"x": torch.tensor([[1.0, 3.0], [0.0, -2.0]]), "sublayers": [ones, square, double]}],
        ),
        Property(
            "A layer gets the whole stream, all rows and tokens: it may mix them",
            [{"x": numbers(2, 3, 2), "sublayers": [mean_of_tokens, square]}],
        ),
        Property("bf16 goes in, bf16 comes out", [{"x": X.bfloat16(), "sublayers": [ones]}]),
        Property(
            "The gradient has a straight road: past layers that give zeros it arrives unchanged",
            [{"x": X, "sublayers": [zeros, zeros]}, {"x": X, "sublayers": [square, double]}],
            gradients_at("x"),
            "the gradient of y₁ + 2·y₂ at x",
            tolerance=1e-3,
        ),
    ],
    mistakes=[
        Mistake(
            "nothing were added: each layer's output replaces the stream",
            [("stream = stream + sublayer(stream)", "stream = sublayer(stream)")],
            "Let a layer give zeros: the stream must pass it as it was.",
        ),
        Mistake(
            "all layers read the first x, side by side",
            [("stream + sublayer(stream)", "stream + sublayer(x)")],
            "A layer reads the stream as it is when its turn comes, with all that was added before.",
        ),
        Mistake(
            "each layer's output were added to the first x, and what was added before is lost",
            [("stream + sublayer(stream)", "x + sublayer(stream)")],
            "The sum grows: add to the stream, not to where it began.",
        ),
        Mistake(
            "stream and output were averaged",
            [("stream + sublayer(stream)", "(stream + sublayer(stream)) / 2")],
            "Then x is halved at every layer: after ten, a thousandth of it is left.",
        ),
        Mistake(
            "the last layer alone were added",
            [("in sublayers:", "in sublayers[-1:]:")],
            "Every layer adds its output, when its turn comes.",
        ),
        Mistake(
            "the function returned within the loop, after the first layer",
            [("    return stream", "        return stream")],
            "Look at how far return is indented.",
        ),
        Mistake(
            "x were added once more at the end",
            [("return stream", "return x + stream")],
            "The stream began as x, so x is in it already.",
        ),
        Mistake(
            "the layers came in reverse order",
            [("in sublayers:", "in reversed(sublayers):")],
            "The first of the list reads x, the last one writes last.",
        ),
        Mistake(
            "x were changed in place, as `stream += …` does",
            [("stream = stream + sublayer(stream)", "stream += sublayer(stream)")],
            "At first stream and x are the same tensor: += writes into the x of whoever called you.",
        ),
        Mistake(
            "the straight road of the gradient were cut by detach()",
            [("stream + sublayer(stream)", "stream.detach() + sublayer(stream)")],
            "The addition hands the gradient on whole, past the layer. That is what it is there for.",
        ),
        Mistake(
            "no gradient could pass: no_grad(), .detach() or .data stood in its way",
            [("return stream", "return stream.detach()")],
            "The model is trained through this function, so every step of it must be differentiable.",
        ),
        Mistake(
            "the stream were changed in place, by +=",
            [
                ("stream = x\n", "stream = x.clone()\n"),
                ("stream = stream + sublayer(stream)", "stream += sublayer(stream)"),
            ],
            "A layer may need what it has read for its gradient. So make a new tensor.",
        ),
    ],
    hints=(
        "Keep one tensor, the stream. It begins as x, and each layer changes it once.",
        "A loop over the layers: call the layer with the stream of now, and add what comes out to it.",
        "Inside the loop: stream = stream + sublayer(stream). Return the stream after the loop.",
    ),
)
