"""LayerNorm: a vector centred on its mean and divided by its standard deviation."""

import torch
from torch import Tensor

from ..examples import gradients_at, numbers
from ..task import Mistake, Property, Task


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Centre each vector on its mean, divide it by its standard deviation, then scale and shift each number.

    y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias, over the last dimension.

    Args:
        x: vectors (…, D), in fp32 or bf16.
        weight: (D,), one factor for each number of a vector.
        bias: (D,), what is added to each number at the end.
        eps: added to the variance, the mean of the D squared distances from the mean, so that a vector whose
            numbers are all alike divides by more than zero.

    Returns:
        (…, D) in the dtype of x. Mean and variance are taken in fp32.
    """
    x32 = x.float()
    centred = x32 - x32.mean(dim=-1, keepdim=True)
    variance = centred.pow(2).mean(dim=-1, keepdim=True)
    normalized = centred * torch.rsqrt(variance + eps)
    return (normalized * weight + bias).to(x.dtype)


TWO = {"weight": torch.ones(2), "bias": torch.zeros(2)}
FOUR = {"weight": torch.ones(4), "bias": torch.zeros(4)}
TASK = Task(
    name="layer_norm",
    module="normalization",
    minutes=10,
    solution=layer_norm,
    core=False,
    properties=[
        Property(
            "A vector comes out with mean 0 and standard deviation 1",
            [
                {"x": torch.tensor([3.0, 7.0]), **TWO},
                {"x": torch.tensor([0.0, 0.0, 4.0, 8.0]), **FOUR},
            ],
        ),
        Property(
            "Adding the same number to the whole vector changes nothing",
            [{"x": torch.tensor([103.0, 107.0]), **TWO}],
        ),
        Property(
            "The weight scales each number by its own factor, and then the bias is added",
            [
                {
                    "x": torch.tensor([3.0, 7.0]),
                    "weight": torch.tensor([1.0, 10.0]),
                    "bias": torch.tensor([0.5, 2.0]),
                }
            ],
        ),
        Property(
            "Each vector is normalized alone, whatever its neighbours are",
            [
                {"x": torch.tensor([[1.0, 3.0], [100.0, 0.0]]), **TWO},
                {"x": torch.tensor([[[30.0, 40.0], [3.0, 8.0]], [[10.0, 0.0], [0.0, 50.0]]]), **TWO},
            ],
        ),
        Property(
            "A vector whose numbers are all alike becomes the bias, and no NaN appears",
            [{"x": torch.tensor([5.0, 5.0]), "weight": torch.ones(2), "bias": torch.tensor([0.0, 2.0])}],
        ),
        Property(
            "eps is added to the variance, inside the root",
            [
                {"x": torch.tensor([0.1, -0.1]), **TWO, "eps": 0.03},
                {"x": torch.tensor([1e-3, -1e-3]), **TWO},
            ],
        ),
        Property(
            "bf16 goes in, bf16 comes out, and mean and variance are taken in fp32",
            [{"x": torch.tensor([100.0, 101.0, 101.0, 101.0]).bfloat16(), **FOUR}],
        ),
        Property(
            "It does not matter how many vectors there are, and how they lie in memory",
            [{"x": numbers(2, 3, 4).transpose(0, 1), **FOUR}],
        ),
        Property(
            "Numbers that are large and near each other keep their differences",
            [{"x": torch.tensor([10000.0, 10001.0, 10002.0, 10003.0]), **FOUR}],
        ),
        Property(
            "The gradient flows back to x, to the weight and to the bias",
            [{"x": torch.tensor([1.0, -2.0, 3.0, 0.5]), **FOUR}],
            gradients_at("x", "weight", "bias"),
            "the gradient of y₁ + 2·y₂ + 3·y₃ + … at x, weight and bias",
            tolerance=1e-3,
        ),
    ],
    mistakes=[
        Mistake(
            "the variance were divided by D − 1, not by D",
            [("centred.pow(2).mean(dim=-1, keepdim=True)", "x32.var(dim=-1, keepdim=True)")],
            "By default torch.var takes its numbers for a sample of more; here the D numbers are all there are.",
        ),
        Mistake(
            "the mean were not subtracted: that is RMSNorm with a bias",
            [("centred = x32 - x32.mean(dim=-1, keepdim=True)", "centred = x32")],
            "Add 100 to the whole vector: LayerNorm's output must not move.",
        ),
        Mistake(
            "the mean were subtracted for the variance only, and x itself were divided",
            [("normalized = centred *", "normalized = x32 *")],
            "The numbers that are divided are the centred ones.",
        ),
        Mistake(
            "mean and variance ran over the first dimension: over tokens, number by number",
            [
                ("x32.mean(dim=-1, keepdim=True)", "x32.mean(dim=0, keepdim=True)"),
                ("centred.pow(2).mean(dim=-1, keepdim=True)", "centred.pow(2).mean(dim=0, keepdim=True)"),
            ],
            "That is BatchNorm's direction. LayerNorm looks at one vector at a time: the last dimension.",
        ),
        Mistake(
            "mean and variance ran over all numbers of the batch",
            [
                ("x32.mean(dim=-1, keepdim=True)", "x32.mean()"),
                ("centred.pow(2).mean(dim=-1, keepdim=True)", "centred.pow(2).mean()"),
            ],
            "Average over dim=-1, the vector of one token; no other token has a part in it.",
        ),
        Mistake(
            "eps were left out",
            [("torch.rsqrt(variance + eps)", "torch.rsqrt(variance)")],
            "Numbers that are all alike have variance 0, and 0 / 0 is NaN.",
        ),
        Mistake(
            "eps were added after the root, to the standard deviation",
            [("torch.rsqrt(variance + eps)", "1 / (variance.sqrt() + eps)")],
            "Look at a vector as small as √eps: the two places give different sizes.",
        ),
        Mistake(
            "the root were left out, so the vector is divided by its variance",
            [("torch.rsqrt(variance + eps)", "1 / (variance + eps)")],
            "Double x: its spread doubles, its variance grows four times.",
        ),
        Mistake(
            "the weight were left out",
            [("(normalized * weight + bias)", "(normalized + bias)")],
            "The weight is a parameter that the model trains: one factor for each number.",
        ),
        Mistake(
            "the bias were left out",
            [("(normalized * weight + bias)", "(normalized * weight)")],
            "The bias is the second parameter; RMSNorm has none, LayerNorm does.",
        ),
        Mistake(
            "the bias were added before the weight, which then scales it too",
            [("(normalized * weight + bias)", "((normalized + bias) * weight)")],
            "First the factor, then the shift: a vector whose numbers are all alike must become the bias.",
        ),
        Mistake(
            "the result stayed in fp32",
            [(".to(x.dtype)", "")],
            "The next layer's matrix is in bf16 too, and would refuse it.",
        ),
        Mistake(
            "mean and variance were taken in bf16",
            [("x32 = x.float()", "x32 = x")],
            "Near 100, bf16 has only every half: the mean 100.75 is rounded before it is subtracted.",
        ),
        Mistake(
            "no gradient could pass: no_grad(), .detach() or .data stood in its way",
            [
                (
                    "return (normalized * weight + bias).to(x.dtype)",
                    "return (normalized * weight + bias).to(x.dtype).detach()",
                )
            ],
            "The model is trained through this function, so every step of it must be differentiable.",
        ),
        Mistake(
            "the variance were the mean of the squares minus the square of the mean",
            [
                (
                    "variance = centred.pow(2).mean(dim=-1, keepdim=True)",
                    "variance = x32.pow(2).mean(dim=-1, keepdim=True) - x32.mean(dim=-1, keepdim=True).pow(2)",
                )
            ],
            "On paper it is the same. In fp32 two large numbers are subtracted, and their last digits are lost.",
        ),
    ],
    hints=(
        "Four steps: subtract the vector's mean, take the mean square of what is left, divide by its root, "
        "then weight and bias.",
        "Turn x to fp32 first. Average over the last dimension with keepdim=True: (…, 1) fits (…, D).",
        "centred = x32 - x32.mean(dim=-1, keepdim=True); the variance is centred.pow(2).mean(dim=-1, "
        "keepdim=True); torch.rsqrt(variance + eps) is 1 / sqrt; last, .to(x.dtype).",
    ),
)
