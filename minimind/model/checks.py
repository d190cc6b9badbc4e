"""What a forward is given, held against the shapes and ids that it can read."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import ModelConfig
from .cache import KVCache

IGNORE = -100
"""A label that is not asked for, as in Hugging Face."""


def check_inputs(
    config: ModelConfig,
    input_ids: Tensor,
    labels: Tensor | None,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    document_ids: Tensor | None,
    cache: KVCache | None,
) -> None:
    """Refuse what does not fit; the arguments are those of `MiniMind.forward`.

    Raises:
        ValueError: naming the argument, what was expected and what was given.
    """
    if input_ids.dim() != 2 or input_ids.numel() == 0:
        raise ValueError(f"input_ids must be (batch, length), none of them 0, got {tuple(input_ids.shape)}")
    batch, length = input_ids.shape
    keys = length + (cache.length if cache is not None else 0)
    expected = {
        "labels": (labels, (batch, length)),
        "attention_mask": (attention_mask, (batch, keys)),
        "document_ids": (document_ids, (batch, length)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    if position_ids is not None and tuple(position_ids.shape) not in {(batch, length), (1, length)}:
        raise ValueError(f"position_ids must have shape {(batch, length)}, got {tuple(position_ids.shape)}")
    if document_ids is not None and cache is not None:
        raise ValueError("document_ids are for whole rows; a cache continues one document a row")
    if input_ids.device.type != "cpu" or torch.compiler.is_compiling():
        return  # Looking at the values would make a GPU wait; its own check stops it, less politely.
    _check_ids("input_ids", input_ids, config.vocab_size)
    if labels is not None:
        _check_ids("labels", labels[labels != IGNORE], config.vocab_size)


def _check_ids(name: str, ids: Tensor, vocab_size: int) -> None:
    if ids.numel() == 0:
        return
    smallest, largest = (int(value) for value in torch.aminmax(ids))
    if smallest < 0 or largest >= vocab_size:
        wrong = smallest if smallest < 0 else largest
        raise ValueError(f"{name} has the id {wrong}; the vocabulary has ids 0 to {vocab_size - 1}")
