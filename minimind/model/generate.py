"""Generation: a model says which token comes next; choose one, append it, ask again.

`generate_uncached` is the whole idea, and reads the text anew for each token. `stream` gives the same ids from a
cache: it reads the prompt once, then one token at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..sampling import Sampling
from .cache import KVCache
from .fast.step import CausalLM, one_token_step
from .sampling import choose, penalize_repetition

EndIds = int | Sequence[int] | None


@torch.inference_mode()
def generate_uncached(model: CausalLM, ids: Tensor, sampling: Sampling) -> Tensor:
    """Continue prompts `(B, T)` in the plainest way; the tests hold the cached way to it.

    The model is in eval mode. Nothing ends a text here, and no repetition is punished.
    """
    generator = None if sampling.seed is None else torch.Generator(ids.device).manual_seed(sampling.seed)
    for _ in range(sampling.max_new_tokens):
        logits = model(ids).logits[:, -1]  # (B, V): only the last token is asked for its next
        new = choose(logits, sampling, generator)  # (B,)
        ids = torch.cat((ids, new[:, None]), dim=1)  # (B, T + 1)
    return ids


@torch.inference_mode()
def stream(
    model: CausalLM,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    sampling: Sampling | None = None,
    *,
    eos_token_id: EndIds | Literal["model"] = "model",
    pad_token_id: int | Literal["model"] | None = "model",
    **settings: Any,
) -> Iterator[Tensor]:
    """Continue a batch of prompts, one step at a time.

    Args:
        model: the model; it is in eval mode until the last step, then in the mode it had.
        input_ids: prompts `(B, T)`, shorter ones padded on the left.
        attention_mask: `(B, T)`, 0 on padding; None says that there is none.
        sampling: how tokens are chosen, and how many. The rows of a batch draw one after the other, so where the
            text is drawn (`temperature` above 0) a row of a batch draws other numbers than alone.
        eos_token_id: a row ends with it (or one of them); None never ends. Default: what the model's
            `generation_config` says.
        pad_token_id: fills rows that have ended; None fills with the end token. Default: the model's, too.
        settings: fields of `Sampling` by name, in place of those of `sampling`.

    Yields:
        The new ids of each step, `(B,)`. It stops early when every row has ended.

    Raises:
        ValueError: if a prompt is empty, is padded on the right, or a setting is out of range.
    """
    sampling = replace(sampling or Sampling(), **settings)
    check_prompts(input_ids, attention_mask)
    if sampling.max_new_tokens == 0:
        return
    if attention_mask is not None and bool(attention_mask.all()):
        attention_mask = None  # Without padding the steps need no mask, and are faster.
    batch, length = input_ids.shape
    weight = model.model.embed_tokens.weight
    generator = None if sampling.seed is None else torch.Generator(weight.device).manual_seed(sampling.seed)
    # What ends a row, and what fills it then.
    if eos_token_id == "model":
        eos_token_id = model.generation_config.get("eos_token_id")
    if pad_token_id == "model":
        pad_token_id = model.generation_config.get("pad_token_id")
    ends = _end_ids(eos_token_id, weight.device)  # (number of end ids,)
    fill = pad_token_id if pad_token_id is not None else (int(ends[0]) if ends is not None else 0)
    ended = torch.zeros(batch, dtype=torch.bool, device=weight.device)  # (B,)
    # What has been said, where saying it again is punished.
    penalty = sampling.repetition_penalty
    seen = _seen(input_ids, attention_mask, model.config.vocab_size) if penalty != 1 else None
    # Memory for the prompt and all that may be written.
    cache = KVCache(model.config, batch, length + sampling.max_new_tokens, weight.dtype, weight.device)
    was_training = model.training
    model.train(False)
    try:
        hidden = model(input_ids, attention_mask=attention_mask, cache=cache).hidden_states  # (B, T, E)
        logits = model.lm_head(hidden[:, -1])  # (B, V): only the last token is asked for its next
        next_logits = one_token_step(model, cache, attention_mask)
        for steps_left in range(sampling.max_new_tokens, 0, -1):
            if seen is not None:
                logits = penalize_repetition(logits, seen, penalty)
            new = choose(logits, sampling, generator)  # (B,)
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
    model: CausalLM, input_ids: Tensor, attention_mask: Tensor | None = None, **settings: Any
) -> Tensor:
    """Continue a batch of prompts; the settings are those of `stream`.

    Returns:
        Prompt and new ids, `(B, T + steps)`; rows that ended early are filled up.
    """
    new = list(stream(model, input_ids, attention_mask, **settings))
    return torch.cat((input_ids, *(ids[:, None] for ids in new)), dim=1)


def _end_ids(eos_token_id: EndIds, device: torch.device) -> Tensor | None:
    if eos_token_id is None or eos_token_id == []:
        return None
    ends = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
    return torch.tensor(ends, device=device)


def _seen(input_ids: Tensor, attention_mask: Tensor | None, vocab_size: int) -> Tensor:
    """`(B, V)`, True for ids in the prompt. Padding is left out, or rows would depend on their neighbours."""
    counts = torch.zeros(input_ids.shape[0], vocab_size, dtype=torch.long, device=input_ids.device)
    real = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
    return counts.scatter_add_(1, input_ids, real) > 0


def check_prompts(input_ids: Tensor, attention_mask: Tensor | None) -> None:
    """Refuse prompts that cannot be continued."""
    if input_ids.dim() != 2:
        raise ValueError(f"input_ids must be (batch, length), got {tuple(input_ids.shape)}")
    if input_ids.numel() == 0:
        raise ValueError("the prompt is empty; give at least one token, such as the start token")
    if attention_mask is None:
        return
    if attention_mask.shape != input_ids.shape:
        raise ValueError(
            f"attention_mask must have shape {tuple(input_ids.shape)}, got {tuple(attention_mask.shape)}"
        )
    if not bool(attention_mask[:, -1].all()):
        raise ValueError("prompts must be padded on the left: the last column of attention_mask has a 0")
