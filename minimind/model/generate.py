"""Generation: read the prompt once, then add one token at a time, each from the cache and the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import UserError
from .cache import KVCache
from .sampling import choose, penalize_repetition
from .step import Step, can_step

if TYPE_CHECKING:
    from .causal_lm import MiniMind

EOS_TOKEN_ID = 2
PAD_TOKEN_ID = 0


@torch.inference_mode()
def stream(
    model: MiniMind,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    eos_token_id: int | Sequence[int] | None = EOS_TOKEN_ID,
    pad_token_id: int | None = PAD_TOKEN_ID,
    seed: int | None = None,
) -> Iterator[Tensor]:
    """Continue a batch of prompts, one step at a time.

    Args:
        model: the model; it is in eval mode until the last step, then in the mode it had.
        input_ids: prompts `(B, T)`, shorter ones padded on the left.
        attention_mask: `(B, T)`, 0 on padding; None says that there is none.
        max_new_tokens: steps at most. There is no limit but memory: rotary positions need no table.
        temperature: 1 draws as the model says, below 1 is safer, 0 always takes the most likely token.
        top_k: draw from the k most likely ids only.
        top_p: draw from the most likely ids that together reach this probability.
        min_p: draw from ids at least this many times as likely as the most likely one.
        repetition_penalty: above 1 makes ids less likely that the prompt or the answer has.
        eos_token_id: a row ends with it (or one of them); None never ends.
        pad_token_id: fills rows that have ended; None fills with the end token.
        seed: the same seed gives the same text, and PyTorch's own random numbers are left alone. None draws
            from those. The rows of a batch draw one after the other, so where the text is drawn
            (`temperature` above 0) a row of a batch draws other numbers than alone.

    Yields:
        The new ids of each step, `(B,)`. It stops early when every row has ended.

    Raises:
        ValueError: if a prompt is empty, is padded on the right, or a setting is out of range.
    """
    _check(input_ids, attention_mask, max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty)
    if attention_mask is not None and bool(attention_mask.all()):
        attention_mask = None  # Without padding the steps need no mask, and are faster.
    if seed is not None and not 0 <= seed < 2**63:
        raise UserError(f"seed must be between 0 and {2**63 - 1}, got {seed}")
    batch, length = input_ids.shape
    weight = model.lm_head.weight
    generator = None if seed is None else torch.Generator(weight.device).manual_seed(seed)
    ends = _end_ids(eos_token_id, weight.device)  # (number of end ids,)
    fill = pad_token_id if pad_token_id is not None else (int(ends[0]) if ends is not None else 0)
    cache = KVCache(model.config, batch, length + max_new_tokens, weight.dtype, weight.device)
    seen = _seen(input_ids, attention_mask, model.config.vocab_size) if repetition_penalty != 1 else None
    ended = torch.zeros(batch, dtype=torch.bool, device=weight.device)  # (B,)
    if max_new_tokens == 0:
        return
    was_training = model.training
    model.eval()
    try:
        hidden = model(
            input_ids, attention_mask=attention_mask, cache=cache
        ).hidden_states  # (B, T, hidden_size)
        logits = model.lm_head(hidden[:, -1])  # (B, V): only the last token is asked for its next
        step = Step if can_step(model) else _ModuleStep
        next_logits = step(model, cache, attention_mask)
        for steps_left in range(max_new_tokens, 0, -1):
            if seen is not None:
                logits = penalize_repetition(logits, seen, repetition_penalty)
            new = choose(logits, temperature, top_k, top_p, min_p, generator)  # (B,)
            if ends is not None:
                new = new.masked_fill(ended, fill)
                ended = ended | torch.isin(new, ends)
            yield new
            if steps_left == 1 or (ends is not None and bool(ended.all())):
                return
            if seen is not None:
                seen.scatter_(1, new[:, None], True)
            logits = next_logits(new)
    finally:
        model.train(was_training)


def generate(
    model: MiniMind, input_ids: Tensor, attention_mask: Tensor | None = None, **settings: Any
) -> Tensor:
    """Continue a batch of prompts; the settings are those of `stream`.

    Returns:
        Prompt and new ids, `(B, T + steps)`; rows that ended early are filled up.
    """
    new = list(stream(model, input_ids, attention_mask, **settings))
    return torch.cat((input_ids, *(ids[:, None] for ids in new)), dim=1)


class _ModuleStep:
    """What `Step` does, by calling the model: for one that has adapters, hooks or parts of the reader's own."""

    def __init__(self, model: MiniMind, cache: KVCache, attention_mask: Tensor | None) -> None:
        self.model, self.cache, self.attention_mask = model, cache, attention_mask

    def __call__(self, ids: Tensor) -> Tensor:
        if self.attention_mask is not None:
            ones = torch.ones_like(self.attention_mask[:, :1])
            self.attention_mask = torch.cat((self.attention_mask, ones), dim=1)  # (B, S)
        hidden = self.model(ids[:, None], attention_mask=self.attention_mask, cache=self.cache).hidden_states
        return self.model.lm_head(hidden[:, -1])  # (B, V)


def _end_ids(eos_token_id: int | Sequence[int] | None, device: torch.device) -> Tensor | None:
    if eos_token_id is None or eos_token_id == []:
        return None
    return torch.tensor(
        [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id), device=device
    )


def _seen(input_ids: Tensor, attention_mask: Tensor | None, vocab_size: int) -> Tensor:
    """`(B, V)`, True for ids in the prompt. Padding is left out, or rows would depend on their neighbours."""
    counts = torch.zeros(input_ids.shape[0], vocab_size, dtype=torch.long, device=input_ids.device)
    real = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
    return counts.scatter_add_(1, input_ids, real) > 0


def _check(
    input_ids: Tensor,
    attention_mask: Tensor | None,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    repetition_penalty: float,
) -> None:
    if input_ids.dim() != 2:
        raise ValueError(f"input_ids must be (batch, length), got {tuple(input_ids.shape)}")
    if input_ids.numel() == 0:
        raise ValueError("the prompt is empty; give at least one token, such as the start token")
    if attention_mask is not None:
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask must have shape {tuple(input_ids.shape)}, got {tuple(attention_mask.shape)}"
            )
        if not bool(attention_mask[:, -1].all()):
            raise ValueError("prompts must be padded on the left: the last column of attention_mask has a 0")
    settings: list[tuple[str, float | None, float, float]] = [
        ("max_new_tokens", max_new_tokens, 0, float("inf")),
        ("temperature", temperature, 0, float("inf")),
        ("top_k", top_k, 0, float("inf")),
        ("top_p", top_p, 0, 1),
        ("min_p", min_p, 0, 1),
    ]
    for name, value, low, high in settings:
        if value is not None and not low <= value <= high:
            limits = f"between {low} and {high}" if high < float("inf") else f"at least {low}"
            raise UserError(f"{name} must be {limits}, got {value}")
    if not 0.1 <= repetition_penalty <= 10:
        raise UserError(f"repetition_penalty must be between 0.1 and 10, got {repetition_penalty}")
