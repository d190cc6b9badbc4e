"""RMSNorm: a vector divided by its own size."""

import torch
from torch import Tensor

from ..examples import gradients_at, numbers
from ..task import Mistake, Property, Task


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """Divide each vector by its root mean square, then scale each number by its weight.

    y = x / sqrt(mean(x²) + eps) * weight, over the last dimension.

    Args:
        x: vectors (…, D), in fp32 or bf16.
        weight: (D,), one factor for each number of a vector.
        eps: added to the mean square, so that a vector of zeros divides by more than zero.

    Returns:
        (…, D) in the dtype of x. In between all is fp32: bf16 would round squares, mean and root to 8 bits each.
    """
    x32 = x.float()
    mean_square = x32.pow(2).mean(dim=-1, keepdim=True)
    normalized = x32 * torch.rsqrt(mean_square + eps)
    return (normalized * weight).to(x.dtype)


ONES = torch.ones(4)
TASK = Task(
    name="rms_norm",
    module="normalization",
    minutes=10,
    solution=rms_norm,
    properties=[
        Property(
            "A vector comes out with root mean square 1, and its direction stays",
            [
                {"x": torch.tensor([3.0, 4.0]), "weight": torch.ones(2)},
                {"x": torch.tensor([10.0, 11.0, 12.0, 13.0]), "weight": ONES},
            ],
        ),
        Property(
            "The weight scales each number by its own factor",
            [{"x": torch.tensor([3.0, 4.0]), "weight": torch.tensor([1.0, 10.0])}],
        ),
        Property(
            "Each vector is divided by its own size, whatever its neighbours are",
            [
                {"x": torch.tensor([[1.0, 1.0], [100.0, 0.0]]), "weight": torch.ones(2)},
                {
                    "x": torch.tensor([[[3.0, 4.0], [0.3, 0.4]], [[1.0, 0.0], [0.0, 5.0]]]),
                    "weight": torch.ones(2),
                },
            ],
        ),
        Property(
            "A vector of zeros stays zeros, and no NaN appears",
            [{"x": torch.zeros(4), "weight": ONES}],
        ),
        Property(
            "eps is added to the mean square, inside the root",
            [
                {"x": torch.tensor([0.1, -0.1]), "weight": torch.ones(2), "eps": 0.03},
                {"x": torch.tensor([1e-3, -1e-3]), "weight": torch.ones(2)},
            ],
        ),
        Property(
            "bf16 goes in, bf16 comes out, and all in between is fp32",
            [
                {
                    "x": torch.tensor([0.5, 6.0, 2.0, 6.5, 4.75, 3.25, 3.25, 1.0]).bfloat16(),
                    "weight": torch.tensor([0.875, 0.5, 1.25, 1.25, 1.25, 0.75, 1.0, 0.875]),
                }
            ],
        ),
        Property(
            "It does not matter how many vectors there are, and how they lie in memory",
            [{"x": numbers(2, 3, 4).transpose(0, 1), "weight": ONES}],
        ),
        Property(
            "The gradient flows back to x and to the weight",
            [{"x": torch.tensor([1.0, -2.0, 3.0, 0.5]), "weight": ONES}],
            gradients_at("x", "weight"),
            "the gradient of y₁ + 2·y₂ + 3·y₃ + … at x and weight",
            tolerance=1e-3,
        ),
    ],
    mistakes=[
        Mistake(
            "eps were left out",
            [("mean_square + eps", "mean_square")],
            "Ask what 0 / 0 is: a vector of zeros needs something to be divided by.",
        ),
        Mistake(
            "the mean ran over all numbers of the batch, not over each vector",
            [(".mean(dim=-1, keepdim=True)", ".mean()")],
            "Average over dim=-1, the vector of one token; no other token has a part in it.",
        ),
        Mistake(
            "the mean ran over the first dimension: over tokens, number by number",
            [("dim=-1", "dim=0")],
            "That is closer to BatchNorm. RMSNorm looks at one vector at a time: the last dimension.",
        ),
        Mistake(
            "the mean were taken of the numbers, not of their squares",
            [("x32.pow(2).mean(dim=-1, keepdim=True)", "x32.mean(dim=-1, keepdim=True).pow(2)")],
            "Square first, then average: (+1 and −1) have mean 0 but are not small.",
        ),
        Mistake(
            "the squares were summed, not averaged",
            [(".mean(dim=-1", ".sum(dim=-1")],
            "That is the length of the vector. Then wider models would get smaller numbers.",
        ),
        Mistake(
            "the root were left out, so x is divided by its mean square",
            [("torch.rsqrt(mean_square + eps)", "1 / (mean_square + eps)")],
            "Double x: its size doubles, its mean square grows four times.",
        ),
        Mistake(
            "eps were added after the root",
            [("torch.rsqrt(mean_square + eps)", "1 / (mean_square.sqrt() + eps)")],
            "Look at a vector as small as √eps: the two places give different sizes.",
        ),
        Mistake(
            "the mean were subtracted first: that is LayerNorm",
            [("x32 = x.float()", "x32 = x.float() - x.float().mean(dim=-1, keepdim=True)")],
            "RMSNorm keeps the mean. What it drops is the length alone.",
        ),
        Mistake(
            "the weight were left out",
            [("(normalized * weight)", "normalized")],
            "The weight is a parameter that the model trains: one factor for each number.",
        ),
        Mistake(
            "the factor were 1 + weight, as in Gemma",
            [("(normalized * weight)", "(normalized * (1 + weight))")],
            "There the stored weight starts at 0; here, as in Llama and Qwen3, it starts at 1.",
        ),
        Mistake(
            "the result stayed in fp32",
            [(".to(x.dtype)", "")],
            "The next layer's matrix is in bf16 too, and would refuse it.",
        ),
        Mistake(
            "everything were computed in bf16",
            [("x32 = x.float()", "x32 = x")],
            "In bf16 squares, mean and root are each rounded to 8 bits, and the errors add up.",
        ),
        Mistake(
            "the gradient were cut off by detach() or no_grad()",
            [("x32 = x.float()", "x32 = x.detach().float()")],
            "Training needs the derivative of the division too.",
        ),
        Mistake(
            "no gradient could pass: no_grad(), .detach() or .data stood in its way",
            [
                (
                    "return (normalized * weight).to(x.dtype)",
                    "return (normalized * weight).to(x.dtype).detach()",
                )
            ],
            "The model is trained through this function, so every step of it must be differentiable.",
        ),
    ],
    hints=(
        "Three steps: the mean of the squares of each vector, its inverse root, and the weight.",
        "Turn x to fp32 first. Keep the last dimension when you average (keepdim=True): (…, 1) divides (…, D).",
        "mean_square = x.float().pow(2).mean(dim=-1, keepdim=True); torch.rsqrt is 1 / sqrt; last, .to(x.dtype).",
    ),
)
