"""Rows that are conversations: `{"conversations": [{"role": …, "content": …}, …]}`, a message after the other.

The list may be called `messages` too. A message may have `reasoning_content` and `tool_calls`, the row (or the system
message) a list of `tools`; where these are strings, they hold JSON. ShareGPT's `from` and `value` are read as well.
"""

from __future__ import annotations

import json
from typing import Any

from ..tokenizer.chat import message_problem
from .records import KINDS, BadRow, names_of, whole_characters

Message = dict[str, Any]

SHAREGPT = {"human": "user", "gpt": "assistant", "observation": "tool"}
"""Roles by the names that ShareGPT has for them."""
KEPT = ("content", "reasoning_content", "tool_calls")
"""What is read of a message beside its role."""


def conversation(row: dict[str, Any]) -> dict[str, Any]:
    """Check a row of kind `sft`.

    Returns:
        `messages` as `render_chat` takes them, `tools` (a list, or None), and `text`, all that is said in one string.

    Raises:
        BadRow: naming the message.

    Examples:
        >>> conversation({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]})
        ... # doctest: +NORMALIZE_WHITESPACE
        {'text': 'user: Hi\\nassistant: Hello.',
         'messages': [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello.'}],
         'tools': None}
    """
    name = "messages" if "messages" in row and "conversations" not in row else "conversations"
    if name not in row:
        raise BadRow(f"the field 'conversations' is missing; found {names_of(row)}")
    told = row[name]
    if not isinstance(told, list) or not told:
        raise BadRow(f"{name!r} must be a list of messages, found {json.dumps(told)[:40]}")
    messages = [_message(message, number) for number, message in enumerate(told, start=1)]
    tools = _from_json(row.get("tools") or told[0].get("tools"), "tools")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise BadRow("'tools' must be a list of JSON objects")
    _check_order(messages)
    text = "\n".join(map(_as_text, messages)) + (f"\n{_to_json(tools)}" if tools else "")
    return {"text": whole_characters(text, "a message"), "messages": messages, "tools": tools or None}


def _message(told: Any, number: int) -> Message:
    """One message with the names that `render_chat` reads."""
    if isinstance(told, dict) and "role" not in told and "from" in told:
        told = {**told, "role": SHAREGPT.get(str(told["from"]), told["from"]), "content": told.get("value")}
    message = {"role": told.get("role")} if isinstance(told, dict) else {}
    for name in KEPT if message else ():
        if told.get(name) is not None:
            message[name] = (
                _from_json(told[name], f"message {number}: tool_calls")
                if name == "tool_calls"
                else told[name]
            )
    problem = message_problem(message if isinstance(told, dict) else told)
    if problem is None and message["role"] in ("user", "assistant"):
        empty = not (message.get("content") or "").strip() and not message.get("tool_calls")
        problem = "content is empty" if empty else None
    if problem is not None:
        raise BadRow(f"message {number}: {problem}")
    return message


def _from_json(value: Any, where: str) -> Any:
    """What a string of JSON says; anything else as it is, and nothing for an empty string."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except (ValueError, RecursionError):
        raise BadRow(f"{where}: a string here must hold JSON, found {value[:40]!r}") from None


def _check_order(messages: list[Message]) -> None:
    """System first, if at all; then user and assistant take turns, with tools between a call and the answer."""
    before = "start"
    for number, message in enumerate(messages, start=1):
        role = message["role"]
        allowed = {
            "start": ("system", "user"),
            "system": ("user",),
            "user": ("assistant",),
            "assistant": ("user",),
            "call": ("tool",),
            "tool": ("tool", "assistant"),
        }[before]
        if role not in allowed:
            words = {"start": "the first message", "call": "an assistant's tool_calls"}.get(
                before, f"{before!r}"
            )
            after = f"{words} must be" if before == "start" else f"after {words} comes"
            raise BadRow(f"message {number}: {after} {' or '.join(map(repr, allowed))}, found {role!r}")
        before = "call" if message.get("tool_calls") else role
    if before not in ("assistant", "call"):
        raise BadRow(f"the last message must be the assistant's, found {messages[-1]['role']!r}")


def _as_text(message: Message) -> str:
    """What a message says, with who says it."""
    said = [message.get("reasoning_content"), message.get("content")]
    said += map(_to_json, message.get("tool_calls") or ())
    return f"{message['role']}: " + "\n".join(part for part in said if part)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


KINDS["sft"] = conversation
