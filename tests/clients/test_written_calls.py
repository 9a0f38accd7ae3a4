"""Calls that a model writes as text: found where tools were offered, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from minference.clients.openai import OpenAIClient
from minference.clients.written_calls import Written, find_written_calls
from minference.profiles import load_profiles
from minference.threads.config import ResponseFormat
from minference.threads.messages import FinishReason
from tests.clients.threads import ADD, CITY, asked

TAGGED = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
CALL: Written = ("add", '{"a": 1}')


@pytest.mark.parametrize(
    ("text", "left", "calls"),
    [
        (TAGGED, "", [CALL]),
        (f"Let me see.\n{TAGGED}\n{TAGGED} Wait.", "Let me see.\nWait.", [CALL, CALL]),
        ('<tool_call>{"name": "add", "arguments": {"a": 1}}', "", [CALL]),
        ('[TOOL_REQUEST]{"name": "add", "arguments": {"a": 1}}[END_TOOL_REQUEST]', "", [CALL]),
        ('```json\n{"name": "add", "arguments": {"a": 1}}\n```', "", [CALL]),
        (
            'I call:\n```\n[{"name": "add", "parameters": {"a": 1}}, {"name": "add", "arguments": {}}]\n```',
            "I call:",
            [CALL, ("add", "{}")],
        ),
        ('{"name": "add", "parameters": {"a": "ü"}}', "", [("add", '{"a": "ü"}')]),
        ('<tool_call>{"name": "other", "arguments": {}}</tool_call>', "", [("other", "{}")]),
        ('<tool_call>{"name": "add", "arguments": {"a": 1,}}</tool_call>', "", [("add", '{"a": 1,}')]),
        ('<tool_call>{"name": "add"}</tool_call>', "", [("add", "{}")]),
        ('<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call>', "", [CALL]),
    ],
)
def test_calls_are_taken_out_of_the_text_in_their_order(text: str, left: str, calls: list[Written]) -> None:
    assert find_written_calls(text, {"add"}) == (left, calls)


@pytest.mark.parametrize(
    "text",
    [
        "2",
        '{"a": 1}',
        '{"name": "other", "arguments": {}}',
        '{"name": "add", "arguments": {}, "why": "because"}',
        '{"name": "add", "arguments": "words"}',
        '```json\n{"name": "other", "arguments": {}}\n```',
        '```python\nprint({"name": "add", "arguments": {}})\n```',
        'An example: {"name": "add", "arguments": {}}',
        "<tool_call>not even a name</tool_call>",
        "[1, 2]",
        "[]",
    ],
)
def test_what_only_looks_like_a_call_stays_text(text: str) -> None:
    assert find_written_calls(text, {"add"}) == (text, [])


def completion(text: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "model": "m", "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}


def client(name: str) -> OpenAIClient:
    return OpenAIClient(load_profiles()[name])


def test_a_written_call_becomes_one_of_the_reply_if_tools_were_offered() -> None:
    thread = asked("vllm", ResponseFormat.auto_tools)
    thread.tools = [ADD]
    request = client("vllm").to_request(thread)
    reply = client("vllm").from_response(completion(f"Let me see.\n{TAGGED}\n{TAGGED}"), request)
    assert (reply.content, reply.finish_reason) == ("Let me see.", FinishReason.tool_calls)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("add", {"a": 1})] * 2
    assert len({call.id for call in reply.tool_calls}) == 2
    assert client("vllm").from_response(completion(f"Let me see.\n{TAGGED}\n{TAGGED}"), request) == reply


def test_without_tools_on_offer_the_same_text_is_text() -> None:
    request = client("vllm").to_request(asked("vllm"))
    reply = client("vllm").from_response(completion(TAGGED), request)
    assert (reply.content, reply.tool_calls, reply.finish_reason) == (TAGGED, (), FinishReason.stop)


def test_an_answer_that_was_to_be_a_call_is_found_in_words_too() -> None:
    mine = OpenAIClient(load_profiles()["vllm"].model_copy(update={"json_schema": False}))
    thread = asked("vllm", ResponseFormat.structured_output)
    thread.forced_output = CITY
    written = '<tool_call>{"name": "json_answer", "arguments": {"name": "Rome"}}</tool_call>'
    reply = mine.from_response(completion(written), mine.to_request(thread))
    assert (reply.content, reply.tool_calls, reply.finish_reason) == ('{"name": "Rome"}', (), FinishReason.stop)


def test_models_of_openai_write_no_calls_as_text() -> None:
    thread = asked("openai", ResponseFormat.auto_tools)
    thread.tools = [ADD]
    reply = client("openai").from_response(completion(TAGGED), client("openai").to_request(thread))
    assert (reply.content, reply.tool_calls) == (TAGGED, ())
