"""SwiGLU: a feed-forward layer with a gate for every feature."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..examples import gradients_at, numbers
from ..task import Mistake, Property, Task


def swiglu(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """Compute wide features, let each through as far as its gate is open, and add them up.

    y = down(silu(gate(x)) * up(x)), with silu(z) = z * sigmoid(z); each token by itself.

    Args:
        x: vectors (…, D).
        w_gate: (F, D), as in nn.Linear: row i makes the gate of feature i.
        w_up: (F, D), row i makes feature i.
        w_down: (D, F), from features to the numbers of the vector.

    Returns:
        (…, D) in the dtype of x.
    """
    gate = F.silu(x @ w_gate.T)  # (…, F)
    up = x @ w_up.T
    return (gate * up) @ w_down.T


def _one(x: float, gate: float, up: float, down: float) -> dict[str, Tensor]:
    values = {"w_gate": gate, "w_up": up, "w_down": down}
    return {"x": torch.tensor([x])} | {name: torch.tensor([[value]]) for name, value in values.items()}


TASK = Task(
    name="swiglu",
    module="feed_forward",
    minutes=8,
    solution=swiglu,
    properties=[
        Property("One feature: SiLU of its gate, times up, times down", [_one(2.0, 1.0, 3.0, 0.5)]),
        Property("A gate at 0 lets nothing through, however large up is", [_one(1.0, 0.0, 5.0, 1.0)]),
        Property(
            "A negative gate lets a little through, with the sign turned",
            [_one(1.0, -1.0, 1.0, 1.0), _one(-1.0, 1.0, 3.0, 1.0)],
        ),
        Property(
            "Every feature has its own gate, and down adds the features up",
            [
                {
                    "x": torch.tensor([1.0, 2.0]),
                    "w_gate": torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]]),
                    "w_up": torch.tensor([[1.0, 1.0], [2.0, 0.0], [0.0, 1.0]]),
                    "w_down": torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]]),
                }
            ],
        ),
        Property(
            "Each token is worked on by itself",
            [
                {
                    "x": numbers(1, 2, 2),
                    "w_gate": numbers(3, 2, seed=1),
                    "w_up": numbers(3, 2, seed=2),
                    "w_down": numbers(2, 3, seed=3),
                },
                {
                    "x": numbers(2, 3, 4),
                    "w_gate": numbers(6, 4, seed=1),
                    "w_up": numbers(6, 4, seed=2),
                    "w_down": numbers(4, 6, seed=3),
                },
            ],
        ),
        Property("A wide open gate gives no NaN", [_one(200.0, 1.0, 1.0, 1.0), _one(-200.0, 1.0, 1.0, 1.0)]),
        Property(
            "bf16 goes in, bf16 comes out",
            [{name: value.bfloat16() for name, value in _one(2.0, 1.0, 3.0, 0.5).items()}],
        ),
        Property(
            "The gradient flows back to x and to all matrices",
            [
                {
                    "x": numbers(2, 2),
                    "w_gate": numbers(3, 2, seed=1),
                    "w_up": numbers(3, 2, seed=2),
                    "w_down": numbers(2, 3, seed=3),
                }
            ],
            gradients_at("x", "w_gate", "w_up", "w_down"),
            "the gradient of y₁ + 2·y₂ + 3·y₃ + … at x, w_gate, w_up and w_down",
            tolerance=1e-3,
        ),
    ],
    mistakes=[
        Mistake(
            "gate and up had changed places",
            [("x @ w_gate.T", "x @ w_up.T"), ("up = x @ w_up.T", "up = x @ w_gate.T")],
            "SiLU belongs on the gate. Trained weights give nonsense with the two exchanged.",
        ),
        Mistake(
            "the gate were a sigmoid: that is GLU",
            [("F.silu(x @ w_gate.T)", "(x @ w_gate.T).sigmoid()")],
            "SiLU multiplies the sigmoid by its own input: unbounded above, and never below -0.28.",
        ),
        Mistake(
            "the gate were a ReLU: that is ReGLU",
            [("F.silu", "F.relu")],
            "Look at a negative gate: ReLU closes it, SiLU lets a little through.",
        ),
        Mistake(
            "the gate were a GELU: that is GEGLU",
            [("F.silu", "F.gelu")],
            "The curves look alike, but at -1 SiLU gives -0.27 and GELU -0.16.",
        ),
        Mistake(
            "the product of gate and up went through SiLU",
            [("F.silu(x @ w_gate.T)", "x @ w_gate.T"), ("(gate * up)", "F.silu(gate * up)")],
            "SiLU first, then the product: up itself passes no activation.",
        ),
        Mistake(
            "up went through SiLU as well",
            [("up = x @ w_up.T", "up = F.silu(x @ w_up.T)")],
            "Only the gate is activated; up may be as negative as it likes.",
        ),
        Mistake(
            "the activation were left out",
            [("F.silu(x @ w_gate.T)", "x @ w_gate.T")],
            "Then the layer is a product of two linear maps, and a gate is never closed for a range of inputs.",
        ),
        Mistake(
            "gate and up were added, not multiplied",
            [("gate * up", "gate + up")],
            "A gate multiplies: at 0 it closes its feature.",
        ),
        Mistake(
            "up were left out",
            [("(gate * up)", "gate")],
            "That is the two-matrix layer with SiLU; SwiGLU has a third matrix.",
        ),
        Mistake(
            "down were left out",
            [("(gate * up) @ w_down.T", "gate * up")],
            "The F features must become D numbers again, to be added to the stream.",
        ),
        Mistake(
            "the matrices were not transposed",
            [("w_gate.T", "w_gate"), ("w_up.T", "w_up"), ("w_down.T", "w_down")],
            "As in nn.Linear, a matrix is (numbers out, numbers in): multiply by w.T.",
        ),
        Mistake(
            "no gradient could pass: no_grad(), .detach() or .data stood in its way",
            [("return (gate * up) @ w_down.T", "return ((gate * up) @ w_down.T).detach()")],
            "The model is trained through this function, so every step of it must be differentiable.",
        ),
    ],
    hints=(
        "Two projections from D to F, an activation on one of them, their product, and a projection back to D.",
        "A projection is x @ w.T. SiLU goes on the gate alone; F.silu is in torch.nn.functional.",
        "gate = F.silu(x @ w_gate.T); up = x @ w_up.T; multiply them number by number, then @ w_down.T.",
    ),
)
