"""SwiGLU: the layer that thinks about one token at a time, with a gate for every feature."""

from torch import Tensor, nn
from torch.nn import functional as F

from ..config import ModelConfig


class FeedForward(nn.Module):
    """`down(silu(gate(x)) * up(x))`: wide features, each with its gate, added up to the token's new numbers.

    No token sees another here. SiLU is the bend: without it, gate times up would still be more than one matrix;
    without the gate too, up and down would collapse into one.

    Args:
        config: `hidden_size` E and `intermediate_size` are used.

    Shapes:
        x `(…, E)` to `(…, E)`.

    References:
        Shazeer, GLU Variants Improve Transformer, 2020, https://arxiv.org/abs/2002.05202
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.silu(self.gate_proj(x))  # (…, intermediate_size), unbounded above, never below -0.28
        return self.down_proj(gate * self.up_proj(x))  # (…, E)
