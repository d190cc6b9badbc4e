"""Two rules for two kinds of parameters, behind one small class.

A weight matrix turns vectors into vectors: what matters is in which directions it stretches. Muon
orthogonalises each update, so every direction is learned at the same speed. Embeddings are tables of rows and
norms are lists of gains; there AdamW's step per number fits.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import nn

from ..settings import TrainingSettings
from .checkpoint import HasState
from .muon import Muon

REFERENCE_RATE, REFERENCE_WIDTH = 0.005, 128
"""Learning rate that was tuned at this width; a matrix that is twice as wide gets half of it."""


class Updates(HasState, Protocol):
    """What the training loop asks of a rule that changes the weights."""

    @property
    def rate(self) -> float:
        """The learning rate of the step that is being made."""

    def set_rate(self, share: float) -> None: ...
    def step(self) -> None: ...
    def zero_grad(self) -> None: ...


class Optimizer:
    """Muon or AdamW for the weight matrices, AdamW for everything else.

    Args:
        model: the model whose parameters are updated.
        matrices: rule for the weight matrices, "muon" or "adamw".
        learning_rate: peak rate of the weight matrices.
        embedding_learning_rate: peak rate of embeddings, norms and biases.
        weight_decay: decoupled decay of the weight matrices; nothing else decays.

    Papers:
        Jordan 2024, Muon, https://kellerjordan.github.io/posts/muon/ · Liu et al. 2025 (its step scaled to
        AdamW's), https://arxiv.org/abs/2502.16982 · Loshchilov and Hutter 2019, AdamW,
        https://arxiv.org/abs/1711.05101
    """

    def __init__(
        self,
        model: nn.Module,
        matrices: str,
        learning_rate: float,
        embedding_learning_rate: float,
        weight_decay: float = 0.0,
    ) -> None:
        self.peak, self.rate = learning_rate, learning_rate
        matrix_parameters, other_parameters = split_parameters(model)
        adamw: dict[str, Any] = {"betas": (0.9, 0.95), "eps": 1e-8}
        self.parts: list[torch.optim.Optimizer] = []
        if matrix_parameters and matrices == "muon":
            self.parts.append(Muon(matrix_parameters, lr=learning_rate, weight_decay=weight_decay))
        elif matrix_parameters:
            self.parts.append(
                torch.optim.AdamW(matrix_parameters, lr=learning_rate, weight_decay=weight_decay, **adamw)
            )
        if other_parameters:
            self.parts.append(
                torch.optim.AdamW(other_parameters, lr=embedding_learning_rate, weight_decay=0.0, **adamw)
            )
        for part in self.parts:
            for group in part.param_groups:
                group["peak"] = group["lr"]

    def set_rate(self, share: float) -> None:
        """Set each learning rate to this share of its peak; the schedule calls it before every step."""
        self.rate = self.peak * share
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = group["peak"] * share

    def step(self) -> None:
        """Move the parameters by one update."""
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Moments and settings of each part, for a checkpoint."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        for part, part_state in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(part_state)


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weight matrices on the one side; embeddings, output layer, norms and biases on the other.

    The output layer is a table of rows too (one a token, often the embedding itself), so it goes with the
    embedding.
    """
    tables = {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) or (name.endswith("lm_head") and hasattr(module, "weight"))
    }
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        (matrices if parameter.ndim == 2 and id(parameter) not in tables else others).append(parameter)
    return matrices, others


def optimizer_for(model: nn.Module, settings: TrainingSettings) -> Optimizer:
    """The rule and the learning rates that the settings name, or the usual ones."""
    rate = settings.learning_rate or settings.rate_share * default_learning_rate(model)
    embedding_rate = settings.embedding_learning_rate or rate * (2 if settings.optimizer == "muon" else 1)
    return Optimizer(model, settings.optimizer, rate, embedding_rate, settings.weight_decay)


def default_learning_rate(model: nn.Module) -> float:
    """Wider matrices get smaller steps, so that what they give changes by about as much."""
    width = getattr(getattr(model, "config", None), "hidden_size", REFERENCE_WIDTH)
    return REFERENCE_RATE * REFERENCE_WIDTH / max(width, REFERENCE_WIDTH)
