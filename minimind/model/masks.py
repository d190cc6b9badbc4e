"""Who may look at whom: causal order, left padding, borders of packed documents; and what a forward may be given.

B: rows of the batch. T: new tokens, which look (queries). S: tokens that can be seen (keys); with a cache S > T.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..config import ModelConfig
from .cache import KVCache

IGNORE = -100
"""A label that is not asked for, as in Hugging Face."""


def causal_mask(queries: int, keys: int, device: torch.device | str = "cpu") -> Tensor:
    """`(T, S)`, True where a query may look: itself and before. The T queries are the last of the S keys."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(diagonal=keys - queries)


class Borders:
    """The borders of one forward, made once: positions, masks and the labels that count all come from here.

    Args:
        queries: number of new tokens T.
        keys: number of tokens S that can be seen, cached ones included.
        device: where the tensors are made.
        document_ids: `(B, T)`, which document a token belongs to, -1 on padding; it sees its own document only.
        attention_mask: `(B, S)`, 0 on padding, which no other token sees.
    """

    def __init__(
        self,
        queries: int,
        keys: int,
        device: torch.device | str = "cpu",
        document_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> None:
        self.queries, self.keys, self.device = queries, keys, device
        self.documents = None if document_ids is None else _numbered(document_ids)  # (B, T)
        self.real = None if attention_mask is None else attention_mask.bool()  # (B, S)
        self.made: dict[str, Tensor] = {}
        """What has been made of the borders, the mask or what a kernel reads in its place, for the next layer."""

    @property
    def only_causal(self) -> bool:
        """Whether the order is all there is: whole rows, or one new token, which may see everything."""
        return self.documents is None and self.real is None and self.queries in (1, self.keys)

    def mask(self) -> Tensor:
        """`(B or 1, 1, T, S)`, True where a query may look at a key; the same for all heads and layers."""
        if "mask" not in self.made:
            self.made["mask"] = self._look()[:, None]
        return self.made["mask"]

    def _look(self) -> Tensor:
        """`(B or 1, T, S)`: the causal order, without what is in another document, without padding."""
        look = causal_mask(self.queries, self.keys, self.device)[None]  # (1, T, S)
        if self.documents is not None:
            look = look & (self.documents[:, :, None] == self.documents[:, None, :])  # (B, T, S)
        if self.real is not None:
            # Padding still sees itself: a softmax over nothing would be NaN, and NaN spreads.
            itself = torch.eye(self.keys, dtype=torch.bool, device=self.device)[-self.queries :]  # (T, S)
            look = (look & self.real[:, None, :]) | itself  # (B, T, S)
        return look

    def positions(self) -> Tensor:
        """Where each new token stands in its text, `(B or 1, T)`: documents begin at 0, padding is not counted."""
        if self.documents is not None:
            index = torch.arange(self.queries, device=self.device)  # (T,)
            changes = self.documents[:, 1:] != self.documents[:, :-1]  # (B, T-1)
            starts = pad(changes, (1, 0))  # (B, T), True where a document starts
            return index - (starts * index).cummax(dim=1).values  # distance to the latest start
        if self.real is not None:
            return (self.real.long().cumsum(dim=1) - 1).clamp(min=0)[:, -self.queries :]
        return torch.arange(self.keys - self.queries, self.keys, device=self.device)[None]

    def foreseen(self) -> Tensor:
        """`(B or 1, T-1)`, True where a token has its next one to foresee: in its own document, and not in padding.

        `attention_mask` pads on the left, so what follows a real token is real.
        """
        next_ones = torch.ones(1, self.queries - 1, dtype=torch.bool, device=self.device)
        if self.documents is not None:
            here, after = self.documents[:, :-1], self.documents[:, 1:]
            next_ones = next_ones & (here == after) & (after >= 0)
        if self.real is not None:
            next_ones = next_ones & self.real[:, -self.queries : -1]  # padding foresees nothing
        return next_ones


def _numbered(document_ids: Tensor) -> Tensor:
    """Number the documents of each row `(B, T)` in their order, -1 on padding: an id that comes twice is two."""
    border = document_ids[:, 1:] != document_ids[:, :-1]  # (B, T-1)
    return pad(border.cumsum(dim=1), (1, 0)).masked_fill(document_ids < 0, -1)


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
    B, T = input_ids.shape
    S = T + (cache.length if cache is not None else 0)
    expected = {
        "labels": (labels, (B, T)),
        "attention_mask": (attention_mask, (B, S)),
        "document_ids": (document_ids, (B, T)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    if position_ids is not None and tuple(position_ids.shape) not in {(B, T), (1, T)}:
        raise ValueError(f"position_ids must have shape {(B, T)}, got {tuple(position_ids.shape)}")
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
