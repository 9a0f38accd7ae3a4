"""Streaming gives text as it comes, and then the answer that would have come without streaming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from minference.clients.anthropic_replies import AnswerStream, read_answer
from minference.clients.base import Client, Response, TextDelta, TokenUsage
from minference.clients.catalog import create_client
from minference.clients.openai_replies import CompletionStream, read_completion
from minference.errors import InvalidReply
from minference.testing import Answer, Called, ProviderServer
from tests.clients.threads import asked

RICH = Answer(text="Let me see.", reasoning="Two numbers.", calls=(Called("add", {"a": 1, "b": [2, "x"]}), Called("now", {})))


@pytest.mark.parametrize("answer", [Answer("A plain answer."), RICH, Answer(""), Answer("cut", finish=None)])
async def test_a_streamed_reply_is_the_reply(client: Client, provider_server: ProviderServer, answer: Answer) -> None:
    provider_server.answer = lambda body: answer
    request = client.to_request(asked(client.name))
    items = [item async for item in client.stream(request, timeout=30)]
    streamed = items[-1]
    assert isinstance(streamed, Response)
    assert "".join(item.text for item in items if isinstance(item, TextDelta)) == answer.text
    whole = await client.send(provider_server.requests[0].body | {"stream": False}, timeout=30)
    ours, theirs = client.from_response(streamed.payload), client.from_response(whole.payload)
    assert (ours.content, ours.reasoning, ours.finish_reason) == (theirs.content, theirs.reasoning, theirs.finish_reason)
    assert [(call.name, call.arguments) for call in ours.tool_calls] == [(call.name, call.arguments) for call in theirs.tool_calls]
    assert (ours.usage is None, provider_server.requests[0].answered) == (False, True)


async def test_a_reply_that_is_no_longer_wanted_closes_its_stream(client: Client, provider_server: ProviderServer) -> None:
    request = client.to_request(asked(client.name))
    stream = client.stream(request, timeout=30)
    assert isinstance(stream, AsyncGenerator)
    async with aclosing(stream) as items:
        assert await anext(items) == TextDelta("You sai")
    response = await client.send(request, timeout=30)
    assert client.from_response(response.payload).content == "You said: Hello?"


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **top: Any) -> dict[str, Any]:
    return {"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **top}


def part(id: str | None, name: str | None, arguments: str, **index: int) -> dict[str, Any]:
    return chunk({"tool_calls": [{"id": id, "function": {"name": name, "arguments": arguments}, **index}]})


@pytest.mark.parametrize(
    "parts",
    [
        [
            part("a", "add", "", index=0),
            part(None, None, '{"x":', index=0),
            part("b", "now", "{}", index=1),
            part(None, None, "1}", index=0),
        ],
        [part("a", "add", '{"x":'), part(None, None, "1}"), part("b", "now", "{}")],
        [part("a", "add", '{"x":1}', index=0), part("b", "now", "{}", index=0)],
        [part("a", "add", '{"x":', index=0), part("a", "add", "1}", index=0), part("b", "no", "{", index=1), part("b", "w", "}", index=1)],
    ],
    ids=["by index", "by id alone", "new id under an old index", "with the name in each part, or in pieces"],
)
def test_parts_of_tool_calls_find_their_call(parts: list[dict[str, Any]]) -> None:
    stream = CompletionStream("openai")
    for each in [*parts, chunk({}, "tool_calls")]:
        stream.add(each)
    reply = read_completion("openai", stream.payload())
    assert [(call.id, call.name, call.arguments_json) for call in reply.tool_calls] == [("a", "add", '{"x":1}'), ("b", "now", "{}")]


def test_a_letter_that_a_stream_cut_in_two_is_one_again() -> None:
    stream = CompletionStream("openai")
    for each in (
        chunk({"content": "a\ud83d"}),
        chunk({"content": "\ude00b\ude00"}),
        part("1", "f", '"\ud83d'),
        part(None, None, '\ude00"'),
    ):
        stream.add(each)
    stream.add(chunk({}, "stop"))
    reply = read_completion("openai", stream.payload())
    assert (reply.content, reply.tool_calls[0].arguments_json) == ("a\U0001f600b\ude00", '"\U0001f600"')
    answer = AnswerStream("anthropic")
    answer.add({"type": "message_start", "message": {"model": "m", "content": []}})
    answer.add({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    answer.add({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "1", "name": "f", "input": {}}})
    for half in ("\ud83d", "\ude00"):
        answer.add({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": half}})
    for piece in ('{"a": "\ud83d', '\ude00"}'):
        answer.add({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": piece}})
    answer.add({"type": "message_delta", "delta": {"stop_reason": "tool_use"}})
    reply = read_answer("anthropic", answer.payload())
    assert (reply.content, reply.tool_calls[0].arguments) == ("\U0001f600", {"a": "\U0001f600"})


def test_reasoning_blocks_grow_by_index() -> None:
    stream = CompletionStream("openrouter")
    stream.add(chunk({"reasoning_details": [{"type": "reasoning.text", "text": "We", "index": 0}]}))
    stream.add(chunk({"reasoning_details": [{"type": "reasoning.text", "text": "ll", "signature": "s", "index": 0}]}))
    stream.add(chunk({"content": "x"}, "stop"))
    assert stream.payload()["choices"][0]["message"]["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Well", "index": 0, "signature": "s"}
    ]


@pytest.mark.parametrize(
    "bad", [[], "x", {"choices": {"0": 1}}, {"choices": [5]}, {"choices": [{"delta": {"content": 5}}]}, {"choices": 5}]
)
def test_openai_a_chunk_of_another_shape_is_refused(bad: object) -> None:
    stream = CompletionStream("openai")
    stream.add(chunk({"content": "x"}))
    with pytest.raises(InvalidReply, match="no chunk of a completion"):
        stream.add(bad)


@pytest.mark.parametrize(
    "bad",
    [
        [],
        "x",
        {},
        {"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "message_start", "message": "x"},
        {"type": "message_delta", "delta": "end"},
        {"type": "content_block_start", "index": 0, "content_block": "text"},
    ],
)
def test_anthropic_an_event_of_another_shape_is_refused(bad: object) -> None:
    with pytest.raises(InvalidReply, match="no event of a message"):
        AnswerStream("anthropic").add(bad)


def test_openai_two_calls_of_one_chunk_are_two_though_nothing_tells_them_apart() -> None:
    stream = CompletionStream("openai")
    stream.add(chunk({"tool_calls": [{"function": {"name": name, "arguments": '{"a": 1}'}} for name in ("add", "add", "now")]}))
    stream.add(chunk({}, "tool_calls"))
    calls = read_completion("openai", stream.payload()).tool_calls
    assert [(call.name, call.arguments_json) for call in calls] == [("add", '{"a": 1}'), ("add", '{"a": 1}'), ("now", '{"a": 1}')]
    assert len({call.id for call in calls}) == 3


def test_openai_a_streamed_call_may_be_written_as_before_there_were_several() -> None:
    stream = CompletionStream("openai")
    for part in (
        chunk({"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"a":'}}),
        chunk({"function_call": {"arguments": " 1}"}}),
        chunk({"function_call": None}, "function_call"),
    ):
        stream.add(part)
    reply = read_completion("openai", stream.payload())
    [call] = reply.tool_calls
    assert (call.name, call.arguments, reply.finish_reason.value) == ("add", {"a": 1}, "tool_calls")


@pytest.mark.parametrize(
    ("began", "ended", "means"),
    [
        (None, {"input_tokens": 5, "output_tokens": 3.0}, TokenUsage(5, 3)),
        ({"input_tokens": 5, "output_tokens": 1}, {"input_tokens": None, "output_tokens": 3}, TokenUsage(5, 3)),
        ({"input_tokens": 5, "output_tokens": 1}, None, TokenUsage(5, 1)),
        ({}, {}, None),
        ("[]", {"output_tokens": 3}, None),
        ({"input_tokens": 5}, "many", None),
    ],
)
def test_anthropic_no_streamed_reply_is_lost_for_how_it_is_counted(began: object, ended: object, means: TokenUsage | None) -> None:
    stream = AnswerStream("anthropic")
    for event in (
        {"type": "message_start", "message": {"model": "m", "usage": began}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "x"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": ended},
    ):
        stream.add(event)
    reply = read_answer("anthropic", stream.payload())
    assert (reply.content, reply.usage) == ("x", means)


def test_anthropic_blocks_that_are_in_no_order_are_refused() -> None:
    stream = AnswerStream("anthropic")
    stream.add({"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 5, "output_tokens": None}}})
    for index in (0, "1"):
        stream.add({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
    with pytest.raises(InvalidReply, match="cannot be understood") as caught:
        stream.payload()
    assert isinstance(caught.value.__cause__, TypeError)
    assert caught.value.usage == TokenUsage(5, 0)


def test_anthropic_half_of_a_surrogate_pair_is_kept_with_thoughts_and_arguments() -> None:
    stream = AnswerStream("anthropic")
    for event in (
        {"type": "message_start", "message": {"model": "m", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "x\ud800y", "signature": "s"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "1", "name": "add", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a": "\ud800"}'}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ):
        stream.add(event)
    reply = read_answer("anthropic", stream.payload())
    assert (reply.reasoning, reply.tool_calls[0].arguments) == ("x\ud800y", {"a": "\ud800"})
    assert "x\\ud800y" in (reply.reasoning_json or "")


def test_anthropic_arguments_that_were_cut_off_stay_text() -> None:
    stream = AnswerStream("anthropic")
    for event in (
        {"type": "message_start", "message": {"model": "m", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "1", "name": "add", "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a": '}},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 9}},
    ):
        stream.add(event)
    assert stream.payload() == {
        "model": "m",
        "content": [{"type": "tool_use", "id": "1", "name": "add", "input": '{"a": '}],
        "usage": {"input_tokens": 1, "output_tokens": 9},
        "stop_reason": "max_tokens",
    }


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_one_client_serves_several_event_loops(provider_server: ProviderServer, name: str) -> None:
    client = create_client(name)

    async def ask() -> str:
        response = await client.send(client.to_request(asked(name)), timeout=30)
        await client.aclose()
        return client.from_response(response.payload).content

    assert [asyncio.run(ask()) for _ in range(2)] == ["You said: Hello?"] * 2
