"""Conversations as tokens: the ChatML layout, and which tokens of it are trained on.

One message becomes

    <|im_start|>role
    content<|im_end|>

and a line end. Each message is encoded by itself and the special tokens are put in by id. So the loss mask
follows from structure, and a user who types `<|im_end|>` has typed ten letters, not ended a message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import UserError
from .chat_template import TOOLS_INTRODUCTION, TOOLS_RULE
from .tokenizer import Tokenizer

Message = dict[str, Any]

ROLES = ("system", "user", "assistant", "tool")


def render_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]] | None = None,
    add_generation_prompt: bool = False,
) -> tuple[list[int], list[int]]:
    """Turn a conversation into ids and a loss mask.

    The mask is 1 on what the assistant writes and on the `<|im_end|>` that ends it: the model must learn to
    stop. It is 0 on everything else, the header `<|im_start|>assistant` included: whoever runs the model
    writes that.

    White space around a content is dropped. A content that began with a line end would fuse with the one of
    the header, and training would see other tokens than generation does.

    Args:
        tokenizer: gives the ids, of the special tokens too.
        messages: dicts with `role` (system, user, assistant or tool) and `content`; an assistant's may have
            `reasoning_content`, written inside `<think>`, and `tool_calls`.
        tools: JSON descriptions of functions, listed in the system message.
        add_generation_prompt: end with the header of an assistant's message, for the model to go on.

    Returns:
        ids and mask, two lists of the same length.

    Raises:
        UserError: if the messages are not of this form; says which one.
    """
    ids: list[int] = []
    mask: list[int] = []

    def add(tokens: list[int], trained: bool = False) -> None:
        ids.extend(tokens)
        mask.extend([int(trained)] * len(tokens))

    for role, body in _turns(messages, tools):
        trained = role == "assistant"
        add([tokenizer.bos_token_id, *tokenizer.encode(f"{role}\n")])
        add([*tokenizer.encode(body), tokenizer.eos_token_id], trained)
        add(tokenizer.encode("\n"))
    if add_generation_prompt:
        add([tokenizer.bos_token_id, *tokenizer.encode("assistant\n")])
    return ids, mask


def _turns(messages: Sequence[Message], tools: Sequence[dict[str, Any]] | None) -> Iterator[tuple[str, str]]:
    """The role in the header and the text below it, for each message."""
    _check(messages, tools)
    tools_text = ""
    if tools:
        tools_text = TOOLS_INTRODUCTION + "\n".join(map(_to_json, tools)) + TOOLS_RULE
        if not messages or messages[0]["role"] != "system":
            yield "system", tools_text
            tools_text = ""
    for index, message in enumerate(messages):
        role = message["role"]
        content = (message.get("content") or "").strip()
        if role == "tool":
            yield "user", f"<tool_response>\n{content}\n</tool_response>"
        elif role == "assistant":
            yield role, _assistant_text(message, content)
        elif index == 0 and tools_text:
            yield role, f"{content}\n\n{tools_text}" if content else tools_text
        else:
            yield role, content


def _assistant_text(message: Message, content: str) -> str:
    reasoning = message.get("reasoning_content")
    thought = f"<think>\n{reasoning.strip()}\n</think>\n\n" if reasoning else ""
    parts = [content] if content else []
    for call in message.get("tool_calls") or ():
        call = call.get("function") or call
        arguments = call["arguments"]
        if not isinstance(arguments, str):
            arguments = _to_json(arguments)
        name = _to_json(call["name"])
        parts.append(f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>')
    return thought + "\n".join(parts)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _check(messages: Any, tools: Any) -> None:
    if not isinstance(messages, list | tuple):
        raise UserError(f"messages must be a list, found {type(messages).__name__}")
    if not messages:
        raise UserError("messages is empty; a conversation has at least one message")
    objects = isinstance(tools, list | tuple) and all(isinstance(tool, dict) for tool in tools)
    if tools is not None and not objects:
        raise UserError("tools must be a list of JSON objects")
    for number, message in enumerate(messages, start=1):
        problem = message_problem(message)
        if problem:
            raise UserError(f"message {number}: {problem}")


def message_problem(message: Any) -> str | None:
    """Say what is wrong with a message, or None."""
    if not isinstance(message, dict):
        return f"expected an object with role and content, found {type(message).__name__}"
    role = message.get("role")
    if role not in ROLES:
        return f"role must be one of {', '.join(ROLES)}, found {role!r}"
    calls = message.get("tool_calls")
    if message.get("content") is None and not (role == "assistant" and calls):
        return "content is missing"
    for field in ("content", "reasoning_content"):
        if not isinstance(message.get(field) or "", str):
            return f"{field} must be a string, found {type(message[field]).__name__}"
    if not isinstance(calls or [], list | tuple):
        return f"tool_calls must be a list, found {type(calls).__name__}"
    for call in calls or ():
        call = (call.get("function") or call) if isinstance(call, dict) else {}
        if not (isinstance(call, dict) and isinstance(call.get("name"), str) and "arguments" in call):
            return "each of tool_calls must have name and arguments"
    return None
