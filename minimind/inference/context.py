"""What of a conversation still fits into a model's context: when it has grown too long, its old end is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..data.chat_examples import newest_turns
from ..errors import UserError
from ..tokenizer import Tokenizer, render_chat

Message = dict[str, Any]


@dataclass(frozen=True)
class Prompt:
    """What the model is given to read, and what of the conversation is not in it."""

    ids: list[int]
    """Token ids, the header of the answer included."""
    forgotten: int = 0
    """Messages at the old end that were left out."""
    cut: bool = False
    """Whether the newest question lost its beginning."""


def fit(tokenizer: Tokenizer, messages: Sequence[Message], room: int) -> Prompt:
    """Lay out as much of a conversation as fits, for the model to answer.

    The oldest turns go first, as in training (see `newest_turns`); the system message stays. If the newest turn alone
    is too long, its question loses its beginning.

    Args:
        tokenizer: gives the ids.
        messages: as for `render_chat`; the newest come last.
        room: most tokens.

    Raises:
        UserError: if the messages are none, or not even a piece of the question fits.
    """

    def laid_out(messages: Sequence[Message]) -> list[int]:
        return render_chat(tokenizer, messages, add_generation_prompt=True)[0]

    ids = laid_out(messages)
    if len(ids) <= room:
        return Prompt(ids)
    shown = newest_turns(tokenizer, messages, len(ids) - room)
    forgotten = len(messages) - len(shown)
    ids = laid_out(shown)
    if len(ids) <= room:
        return Prompt(ids, forgotten)
    system = shown[0]["role"] == "system"
    question = shown[1 if system else 0 :][:1]  # none, where the system message is all there is
    words = tokenizer.encode(question[0].get("content") or "") if question else []
    while len(ids) > room and words:
        words = words[len(ids) - room :]
        # The first token may be the end of a character, which alone is none.
        content = tokenizer.decode(words).lstrip("\N{REPLACEMENT CHARACTER}")
        shown[1 if system else 0] = {**question[0], "content": content}
        ids = laid_out(shown)
    if not words:
        beside = " beside the system message" if system else ""
        raise UserError(
            f"{room} tokens have no room for a question{beside}; the model's context is too short"
        )
    return Prompt(ids, forgotten, cut=True)
