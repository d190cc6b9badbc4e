"""Rows that are conversations: what is read of them, and what is refused, with the message's number."""

import json

import pytest

from minimind.data import read_records
from minimind.errors import UserError

USER, REPLY = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"name": "add", "arguments": {"a": 1}}]}
TOOL = {"role": "tool", "content": "3"}
SYSTEM = {"role": "system", "content": "Be brief."}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path, **options):
    return list(read_records(path, "sft", **options))


@pytest.mark.parametrize(
    "messages",
    [[USER, REPLY], [SYSTEM, USER, REPLY, USER, REPLY], [USER, CALL, TOOL, TOOL, REPLY], [USER, CALL]],
)
@pytest.mark.parametrize("name", ["conversations", "messages"])
def test_messages_arrive_as_they_are(tmp_path, messages, name):
    (record,) = read(write(tmp_path / "a.jsonl", {name: messages, "source": "book"}))
    assert record.fields == {"messages": messages, "tools": None}


def test_reasoning_tools_and_calls_arrive_and_may_be_strings_of_json(tmp_path):
    thought = {**REPLY, "reasoning_content": "A greeting."}
    tools = [{"name": "add"}]
    rows = [
        {"conversations": [USER, thought], "tools": tools},
        {"conversations": [USER, thought], "tools": json.dumps(tools)},
        {"conversations": [{**SYSTEM, "tools": json.dumps(tools)}, USER, thought]},
        {"conversations": [USER, {**CALL, "tool_calls": json.dumps(CALL["tool_calls"])}]},
    ]
    records = read(write(tmp_path / "a.jsonl", *rows))
    assert [record.fields["tools"] for record in records] == [tools, tools, tools, None]
    assert records[0].fields["messages"][1]["reasoning_content"] == "A greeting."
    assert records[3].fields["messages"][1]["tool_calls"] == CALL["tool_calls"]


def test_sharegpt_is_read(tmp_path):
    told = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello."},
    ]
    (record,) = read(write(tmp_path / "a.jsonl", {"conversations": told}))
    assert record.fields["messages"] == [SYSTEM, USER, REPLY]


def test_all_that_is_said_tells_conversations_apart(tmp_path):
    rows = [
        [USER, REPLY],
        [USER, {**REPLY, "content": "Hi."}],
        [{**USER, "content": "Ho"}, REPLY],
        [USER, CALL],
    ]
    records = read(write(tmp_path / "a.jsonl", *({"messages": row} for row in rows)))
    assert len({record.text for record in records}) == 4


BAD = {
    "no list": ({"text": "Hi"}, "the field 'conversations' is missing; found 'text'"),
    "a text": ({"conversations": "Hi"}, "'conversations' must be a list of messages, found \"Hi\""),
    "nothing said": ({"messages": []}, r"'messages' must be a list of messages, found \[\]"),
    "a string": ({"messages": ["Hi"]}, "message 1: expected an object with role and content, found str"),
    "another role": ({"messages": [{"role": "poet", "content": "O"}]}, "message 1: role must be one of"),
    "no role": ({"messages": [{"content": "O"}]}, "message 1: role must be one of .* found None"),
    "assistant first": ({"messages": [REPLY]}, "message 1: the first message must be 'system' or 'user'"),
    "user twice": ({"messages": [USER, USER, REPLY]}, "message 2: after 'user' comes 'assistant', found 'user'"),
    "a late system": ({"messages": [USER, SYSTEM, REPLY]}, "message 2: after 'user' comes 'assistant', found 'sys"),
    "no call": ({"messages": [USER, REPLY, TOOL, REPLY]}, "message 3: after 'assistant' comes 'user', found 'tool'"),
    "no result": ({"messages": [USER, CALL, USER]}, "message 3: after an assistant's tool_calls comes 'tool'"),
    "no answer": ({"messages": [USER]}, "the last message must be the assistant's, found 'user'"),
    "only a system": ({"messages": [SYSTEM]}, "the last message must be the assistant's, found 'system'"),
    "an empty answer": ({"messages": [USER, {**REPLY, "content": " \n"}]}, "message 2: content is empty"),
    "no content": ({"messages": [USER, {"role": "assistant"}]}, "message 2: content is missing"),
    "a number": ({"messages": [USER, {**REPLY, "content": 3}]}, "message 2: content must be a string, found int"),
    "a list": ({"messages": [USER, {**REPLY, "content": ["Hi"]}]}, "message 2: content must be a string, found list"),
    "calls": ({"messages": [USER, {**REPLY, "tool_calls": "x"}]}, "message 2: tool_calls: a string here must hold"),
    "tools": ({"messages": [USER, REPLY], "tools": "add"}, "tools: a string here must hold JSON"),
    "a tool": ({"messages": [USER, REPLY], "tools": [3]}, "'tools' must be a list of JSON objects"),
    "half a character": ({"messages": [USER, {**REPLY, "content": "\ud83d"}]}, r"a message has half a character"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_conversation_is_named_by_file_line_and_message(tmp_path, kind):
    row, message = BAD[kind]
    good = {"messages": [USER, REPLY]}
    path = write(tmp_path / "a.jsonl", good, row, good)
    with pytest.raises(UserError, match=rf"1 bad row: .*a\.jsonl:2: {message}.*--skip-bad-rows") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert [record.line for record in read(path, skip_bad_rows=True)] == [1, 3]


def test_a_plain_text_is_no_conversation(tmp_path):
    (tmp_path / "a.txt").write_text("Hi")
    with pytest.raises(
        UserError, match=r"a\.txt: is a document to pretrain on; rows of kind 'sft' are in \.jsonl"
    ):
        read(tmp_path / "a.txt")


def test_a_sender_that_is_no_string_is_a_bad_row(tmp_path):
    path = write(tmp_path / "a.jsonl", {"conversations": [{"from": ["human"], "value": "Hi"}]})
    with pytest.raises(UserError, match=r"a\.jsonl:1: message 1: role must be one of"):
        read(path)
