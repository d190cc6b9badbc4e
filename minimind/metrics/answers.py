"""Answers: what a model says when it is asked, many questions at a time, always with its likeliest token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from ..errors import UserError
from ..progress import progress
from ..tokenizer import render_chat
from ..tokenizer.chat import Message

ROWS_A_BATCH = 128


class Reply(NamedTuple):
    """What a model answered."""

    text: str
    """Without special tokens."""
    ended: bool
    """Whether the model ended it by itself; if not, it was cut off."""


def answer(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Sequence[Message]],
    max_new_tokens: int = 48,
    show_progress: bool = False,
) -> list[Reply]:
    """Let a model answer conversations, greedily: the same model gives the same answers each time.

    Prompts of like length are answered together. Shorter ones are padded on the left, and get what they get alone, up
    to rounding.

    Args:
        model: a `MiniMind`; each end token that its `generation_config` names ends an answer.
        tokenizer: the model's.
        conversations: lists of messages as `render_chat` takes them; somebody else than the assistant has the last
            word.
        max_new_tokens: after this many an answer is cut off.
        show_progress: draw a bar on a terminal.

    Returns:
        One reply a conversation, in their order.

    Raises:
        UserError: if messages are not of this form.
    """
    prompts = [_prompt(tokenizer, messages) for messages in conversations]
    named = model.generation_config.get("eos_token_id", tokenizer.eos_token_id)
    ends = {named} if isinstance(named, int) else set(named)
    replies: dict[int, Reply] = {}
    batches: Iterable[list[int]] = _batches_by_length(prompts)
    if show_progress:
        batches = progress(batches, "answering, questions", len(prompts), len)
    for batch in batches:
        for index, ids in zip(
            batch, _continue(model, [prompts[i] for i in batch], ends, max_new_tokens), strict=True
        ):
            length = next((place for place, id in enumerate(ids) if id in ends), len(ids))
            replies[index] = Reply(
                tokenizer.decode(ids[:length], skip_special_tokens=True), ended=length < len(ids)
            )
    return [replies[index] for index in range(len(prompts))]


def _prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """A conversation up to where the assistant begins to speak."""
    ids, _ = render_chat(tokenizer, messages, add_generation_prompt=True)
    if messages[-1]["role"] == "assistant":
        raise UserError("the assistant has the last word already; a question to answer ends with the user's")
    return ids


def _batches_by_length(prompts: list[list[int]]) -> Iterator[list[int]]:
    """Numbers of prompts that are answered together, the longest first."""
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    for start in range(0, len(order), ROWS_A_BATCH):
        yield order[start : start + ROWS_A_BATCH]


def _continue(model: Any, prompts: list[list[int]], ends: set[int], max_new_tokens: int) -> list[list[int]]:
    """The new ids of each prompt; after an end stands filling."""
    width = max(map(len, prompts))
    input_ids = torch.zeros(len(prompts), width, dtype=torch.long)  # (B, T)
    attention_mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(prompts):
        input_ids[row, width - len(ids) :] = torch.tensor(ids)
        attention_mask[row, width - len(ids) :] = 1
    device = next(model.parameters()).device
    steps = model.stream(
        input_ids.to(device),
        attention_mask.to(device),
        max_new_tokens=max_new_tokens,
        temperature=0,
        eos_token_id=sorted(ends),
    )
    return torch.stack(list(steps), dim=1).tolist()  # (B, steps)
