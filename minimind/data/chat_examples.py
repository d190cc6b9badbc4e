"""Conversations as examples: which tokens are learned, and what is cut where one is longer than a row.

What the assistant says is learned, with the token that ends it; all else is read. That follows from structure (see
`render_chat`), so a conversation that spells the template's tokens cannot move the mask.

A conversation that is too long loses its *old* end: the question that the last answer is about, that answer and its end
stay. So no model learns to go on for ever from answers that were cut. Which turns go is decided by `newest_turns`, in
training and in a chat alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..tokenizer import Tokenizer, render_chat
from .records import Record
from .rows import IGNORE, Columns

COUNTED = ("conversations", "truncated", "answers_without_end", "dropped")
"""What is counted on the way."""


class Talk(Protocol):
    """Something with messages, such as a conversation of the world."""

    @property
    def messages(self) -> list[dict[str, Any]]: ...


class Fitted(NamedTuple):
    """A conversation that fits a row."""

    ids: list[int]
    mask: list[int]
    """1 on what is learned."""
    truncated: bool
    """Whether something was cut."""
    without_end: bool
    """Whether the last answer has lost its end, because it is longer than a row by itself."""


def chat_examples(
    tokenizer: Tokenizer, conversations: Iterable[Record | Talk], row_length: int, counts: Counter[str]
) -> Iterator[Columns]:
    """Conversations as `pack_rows` takes them: `input_ids` and `labels`, no longer than a row.

    Args:
        tokenizer: gives the ids.
        conversations: records of kind `sft`, or conversations of the world.
        row_length: tokens of a row.
        counts: is told of `conversations` that were read, how many of them were `truncated`, how many
            `answers_without_end` there are, and how many were `dropped` because nothing was left to learn from;
            what is dropped counts as nothing else.
    """
    counts.update(dict.fromkeys(COUNTED, 0))
    for item in conversations:
        fields = fields_of(item)
        ids, mask, truncated, without_end = fit_to_row(
            tokenizer, fields["messages"], fields.get("tools"), row_length
        )
        counts["conversations"] += 1
        if not any(mask[1:]):  # The first token of a row is never asked for: nothing stands before it.
            counts["dropped"] += 1
            continue
        counts["truncated"] += truncated
        counts["answers_without_end"] += without_end
        input_ids = np.array(ids)
        yield {"input_ids": input_ids, "labels": np.where(np.array(mask, dtype=bool), input_ids, IGNORE)}


def fields_of(conversation: Record | Talk) -> Mapping[str, Any]:
    """Its `messages`, and `tools` where it has any."""
    return conversation.fields if isinstance(conversation, Record) else {"messages": conversation.messages}


def fit_to_row(
    tokenizer: Tokenizer,
    messages: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]] | None,
    row_length: int,
) -> Fitted:
    """Render a conversation, and cut it from its old end until it fits.

    First the oldest turns go; the system message stays. Then the system message goes, with the tools that it tells of,
    and then the oldest tokens of what is asked last: a message of which the beginning is cut is read, and not learned.
    An answer that is longer than a row by itself keeps its beginning, behind half a row of what stands before it, and
    loses its end.

    Where the tools have to go and the last turn calls one of them, nothing is left: to learn that call would be to
    learn to call what nobody has told of.
    """
    ids, mask = render_chat(tokenizer, messages, tools)
    if len(ids) <= row_length:
        return Fitted(ids, mask, False, False)
    kept = newest_turns(tokenizer, messages, len(ids) - row_length)
    ids, mask = render_chat(tokenizer, kept, tools)
    if len(ids) <= row_length:
        return Fitted(ids, mask, True, False)
    last = kept[1:] if kept[0]["role"] == "system" else kept
    if tools and any(message.get("tool_calls") for message in last):
        return Fitted([], [], True, False)
    ids, mask = render_chat(tokenizer, last)
    end = len(mask) - mask[::-1].index(1)  # behind the token that ends the last answer
    answer = end - 1
    while answer and mask[answer - 1]:
        answer -= 1
    without_end = end - answer > row_length - 1  # One token must stand before the answer's first.
    start = max(0, answer - row_length // 2 if without_end else end - row_length)
    if start and mask[start - 1]:  # The cut goes through a call of a tool.
        rest = mask.index(0, start)
        mask[start:rest] = [0] * (rest - start)
    cut = slice(start, start + row_length)
    return Fitted(ids[cut], mask[cut], True, without_end)


def newest_turns(
    tokenizer: Tokenizer, messages: Sequence[dict[str, Any]], excess: int
) -> list[dict[str, Any]]:
    """Leave out the oldest turns of a conversation that is too long: each as a whole, and no more than must go.

    A turn is a user's message with all that follows it, up to the next one. The system message stays, and so does the
    newest turn, however long it is.

    Args:
        tokenizer: gives the ids, which are counted.
        messages: as for `render_chat`; the newest come last.
        excess: tokens that are too many.

    Returns:
        The messages that are left.
    """
    system = list(messages[:1]) if messages[0]["role"] == "system" else []
    rest = messages[len(system) :]
    first = 0
    for start in (number for number, message in enumerate(rest) if number and message["role"] == "user"):
        if excess <= 0:
            break
        # Each message is encoded by itself, so lengths can be added up.
        excess -= sum(len(render_chat(tokenizer, [message])[0]) for message in rest[first:start])
        first = start
    return [*system, *rest[first:]]
