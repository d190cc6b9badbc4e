"""Small arguments for the cases of the exercises: short numbers, always the same, and the weights of a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

TINY: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "intermediate_size": 6,
    "vocab_size": 10,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
}
"""A model's shape, small enough to print its vectors."""


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Numbers of this shape from -2.0 to 2.0, with one decimal; the same seed gives the same numbers."""
    return torch.randint(-20, 21, shape, generator=torch.Generator().manual_seed(seed)) / 10


def layer_weights(
    config: dict[str, Any], seed: int = 0, qk_norm: bool = True, zeros: str = ""
) -> dict[str, Tensor]:
    """Weights of one layer, by their names in a Hugging Face checkpoint.

    Args:
        config: the shape, as in `TINY`.
        seed: for the numbers.
        qk_norm: with the weights of the norms of queries and keys.
        zeros: a matrix that is all zeros, such as `self_attn.o_proj`; more than one with spaces between.
    """
    width, hidden, head_dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query_width, key_width = (config[f"num_{name}_heads"] * head_dim for name in ("attention", "key_value"))
    shapes: dict[str, tuple[int, ...]] = {
        "input_layernorm": (width,),
        "self_attn.q_proj": (query_width, width),
        "self_attn.k_proj": (key_width, width),
        "self_attn.v_proj": (key_width, width),
        "self_attn.o_proj": (width, query_width),
        "post_attention_layernorm": (width,),
        "mlp.gate_proj": (hidden, width),
        "mlp.up_proj": (hidden, width),
        "mlp.down_proj": (width, hidden),
    }
    if qk_norm:
        shapes |= {"self_attn.q_norm": (head_dim,), "self_attn.k_norm": (head_dim,)}
    weights = {}
    for index, (name, shape) in enumerate(shapes.items()):
        drawn = numbers(*shape, seed=100 * seed + index) / 4  # small, so that no softmax is all or nothing
        drawn = 1 + drawn if len(shape) == 1 else drawn  # a norm's weight lies around 1
        weights[f"{name}.weight"] = torch.zeros(shape) if name in zeros.split() else drawn
    return weights


def model_weights(
    config: dict[str, Any], seed: int = 0, qk_norm: bool = True, tied: bool = True
) -> dict[str, Tensor]:
    """Weights of a whole model, by their names in a Hugging Face checkpoint.

    Args:
        config: the shape, as in `TINY`.
        seed: for the numbers.
        qk_norm: with the weights of the norms of queries and keys.
        tied: without a matrix of the output layer.
    """
    vocabulary, width = config["vocab_size"], config["hidden_size"]
    weights = {"model.embed_tokens.weight": numbers(vocabulary, width, seed=seed) / 2}
    for index in range(config["num_hidden_layers"]):
        layer = layer_weights(config, seed + index + 1, qk_norm)
        weights |= {f"model.layers.{index}.{name}": weight for name, weight in layer.items()}
    weights["model.norm.weight"] = 1 + numbers(width, seed=seed + 90) / 4
    if not tied:
        weights["lm_head.weight"] = numbers(vocabulary, width, seed=seed + 91) / 2
    return weights


def gradients_at(*names: str) -> Callable[..., dict[str, Any]]:
    """What to observe of a function that must be trained through: the gradient at these arguments.

    It is that of y₁ + 2·y₂ + 3·y₃ + … over all numbers that the function gives. An argument may be a dictionary
    of tensors. Where no gradient arrives, it says "none".
    """

    def observe(function: Callable[..., Tensor], **case: Any) -> dict[str, Any]:
        leaves: dict[str, Tensor] = {}

        def leaf(name: str, value: Tensor) -> Tensor:
            leaves[name] = value.clone().requires_grad_()
            return leaves[name]

        for name in names:
            if isinstance(case[name], dict):
                case[name] = {key: leaf(key, value) for key, value in case[name].items()}
            else:
                case[name] = leaf(name, case[name])
        y = function(**case)
        if y.requires_grad:
            (y.flatten() * torch.arange(1.0, y.numel() + 1)).sum().backward()
        return {name: "none" if value.grad is None else value.grad for name, value in leaves.items()}

    return observe


def moved_by_the_last_token(function: Callable[..., Tensor], x: Tensor, **rest: Any) -> Tensor:
    """How much the outputs (B, T - 1, D) of the tokens before the last move when the last one changes."""
    changed = x.clone()
    changed[:, -1] += torch.arange(x.shape[-1])
    return function(x=changed, **rest)[:, :-1] - function(x=x, **rest)[:, :-1]
