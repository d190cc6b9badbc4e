"""LoRA: the matrix stays as it is, and a correction of low rank is learned beside it.

What fine-tuning adds to a matrix W is another matrix of the same size. LoRA learns it as a product, B A, through a
waist of `rank` numbers: at width 512 and rank 8, that is 8,192 numbers in place of 262,144. Everything else is
frozen, so an adapter is a small file, and one model can wear many.
"""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..errors import UserError


class LoRALinear(nn.Linear):
    """`y = W x + scale * B(A(dropout(x)))`, where W belongs to the layer whose place it takes.

    Args:
        base: the layer; its weight `(out, in)` is taken over, not copied, and keeps its name.
        rank: r, the rows of A `(r, in)` and the columns of B `(out, r)`.
        alpha: scale is alpha / r, so that another rank does not ask for another learning rate.
        dropout: share of the numbers that A does not see while training.
        rank_stabilized: scale is alpha / sqrt(r): with alpha / r, high ranks learn too slowly.

    Raises:
        UserError: if the rank is more than the matrix can have, or a number is out of range.

    References:
        Hu et al., LoRA, 2021, https://arxiv.org/abs/2106.09685
        Kalajdzievski, A Rank Stabilization Scaling Factor, 2023, https://arxiv.org/abs/2312.03732

    Examples:
        >>> layer = LoRALinear(nn.Linear(64, 32, bias=False), rank=4, alpha=8)
        >>> {name: tuple(weight.shape) for name, weight in layer.named_parameters()}
        {'weight': (32, 64), 'lora_A.weight': (4, 64), 'lora_B.weight': (32, 4)}
    """

    def __init__(
        self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0, rank_stabilized: bool = False
    ) -> None:
        inputs, outputs = base.in_features, base.out_features
        if not 1 <= rank <= min(inputs, outputs):
            most = min(inputs, outputs)
            raise UserError(f"LoRA's rank in a {outputs} x {inputs} matrix must be 1 to {most}, got {rank}")
        if not 0 < alpha < math.inf:
            raise UserError(f"LoRA's alpha must be above 0, got {alpha}")
        if not 0 <= dropout < 1:
            raise UserError(f"LoRA's dropout must be at least 0 and below 1, got {dropout}")
        super().__init__(inputs, outputs, bias=base.bias is not None, device="meta")  # no memory: W is there
        self.weight, self.bias = base.weight, base.bias
        self.rank, self.alpha, self.rank_stabilized = rank, alpha, rank_stabilized
        self.scale = alpha / math.sqrt(rank) if rank_stabilized else alpha / rank
        self.dropout = nn.Dropout(dropout)
        where, dtype = base.weight.device, base.weight.dtype
        self.lora_A = nn.Linear(inputs, rank, bias=False, device=where, dtype=dtype)
        self.lora_B = nn.Linear(rank, outputs, bias=False, device=where, dtype=dtype)
        # With B at zero the model starts as it was. A must not be zero too: each one's gradient is a product with
        # the other one, so both would stay at zero.
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))  # within 1 / sqrt(inputs), as in PEFT
        nn.init.zeros_(self.lora_B.weight)
        self.train(base.training)  # a model that writes has no dropout, and its new layers have none

    def forward(self, x: Tensor) -> Tensor:
        """`(…, in)` to `(…, out)`."""
        low = self.lora_A(self.dropout(x))  # (…, r)
        return super().forward(x) + self.lora_B(self.scale * low)  # scaled where it is narrow

    def merged_weight(self) -> Tensor:
        """`W + scale * B A`, one matrix that does what the layer does: `(out, in)`."""
        return self.weight + self.scale * (self.lora_B.weight @ self.lora_A.weight)


def apply_lora(
    model: nn.Module,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    target_modules: Sequence[str] | None = None,
    rank_stabilized: bool = False,
) -> None:
    """Give linear layers adapters, in place, and freeze all other parameters; the model's output does not change.

    Args:
        model: without adapters, or with merged ones.
        rank: see `LoRALinear`, as for `alpha`, `dropout` and `rank_stabilized`.
        target_modules: the ends of the layers' names, such as `q_proj`; None means all linear layers but the output
            layer.

    Raises:
        UserError: if the model has adapters, a target is none of its layers, or a number is out of range.
    """
    if lora_layers(model):
        raise UserError("the model has adapters already: merge_lora or remove_lora comes first")
    linears = adaptable(model)
    for target in target_modules or ():
        if not any(ends_with(name, target) for name in linears):
            known = ", ".join(sorted({name.rpartition(".")[2] for name in linears}))
            raise UserError(f"LoRA's target {target!r} is no linear layer of the model; there are {known}")
    chosen = [n for n in linears if target_modules is None or any(ends_with(n, t) for t in target_modules)]
    if not chosen:
        raise UserError("LoRA needs at least one linear layer to adapt")
    # All are made before one is put in place: a mistake leaves the model as it was.
    put_in_place(model, {n: LoRALinear(linears[n], rank, alpha, dropout, rank_stabilized) for n in chosen})


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The adapted layers by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def adaptable(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers that can have adapters, by name: all but the output layer, which is a table of tokens."""
    linears = {name: module for name, module in model.named_modules() if type(module) is nn.Linear}
    return {name: linear for name, linear in linears.items() if not ends_with(name, "lm_head")}


def ends_with(name: str, target: str) -> bool:
    """Whether a layer's name is the target, or ends with it after a dot."""
    return f".{name}".endswith(f".{target}")


def put_in_place(model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Put the layers in their places. Where there are adapters they alone learn; else everything does."""
    for name, layer in layers.items():
        model.set_submodule(name, layer)
    adapted = lora_layers(model).values()
    model.requires_grad_(not adapted)
    for layer in adapted:
        layer.lora_A.requires_grad_()
        layer.lora_B.requires_grad_()
