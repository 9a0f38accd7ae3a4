"""What answers mean, and which are none."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic_core import to_json

from minference.clients.anthropic import AnthropicClient
from minference.clients.base import Client, Reply, TokenUsage
from minference.clients.openai import OpenAIClient
from minference.errors import InvalidReply
from minference.profiles import load_profiles
from minference.threads.messages import FinishReason, ToolCall

OPENAI = OpenAIClient(load_profiles()["openai"])
ANTHROPIC = AnthropicClient(load_profiles()["anthropic"])


def completion(message: Any, finish_reason: Any = "stop", **top: Any) -> dict[str, Any]:
    return {"model": "m-1", "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], **top}


def answer(*content: Any, stop_reason: Any = "end_turn", **top: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "model": "m-1", "content": list(content), "stop_reason": stop_reason, **top}


def test_openai_a_full_reply_with_every_count() -> None:
    payload = completion(
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
                {"id": "2", "type": "function", "function": {"name": "now", "arguments": ""}},
            ],
        },
        "tool_calls",
        usage={
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 80, "audio_tokens": 2},
            "completion_tokens_details": {
                "reasoning_tokens": 5,
                "audio_tokens": 1,
                "accepted_prediction_tokens": 3,
                "rejected_prediction_tokens": 4,
            },
        },
    )
    assert OPENAI.from_response(payload) == Reply(
        content="Let me see.",
        model="m-1",
        finish_reason=FinishReason.tool_calls,
        tool_calls=(ToolCall(id="1", name="add", arguments_json='{"a": 1}'), ToolCall(id="2", name="now", arguments_json="{}")),
        usage=TokenUsage(prompt=100, completion=20, cached=80, reasoning=5, audio=3, accepted_prediction=3, rejected_prediction=4),
        reasoning="Hm.",
    )


def test_calls_of_open_models_may_lack_ids_and_have_arguments_that_are_no_text() -> None:
    payload = completion(
        {
            "content": None,
            "tool_calls": [
                {"function": {"name": "add", "arguments": {"a": 1, "b": "ü"}}},
                {"id": "", "function": {"name": "now", "arguments": None}},
                {"id": "own", "function": {"name": "now"}},
            ],
        },
        "tool_calls",
    )
    first, second, third = OPENAI.from_response(payload | {"id": "reply-1"}).tool_calls
    assert [call.arguments_json for call in (first, second, third)] == ['{"a":1,"b":"ü"}', "{}", "{}"]
    assert third.id == "own"
    assert first.id != second.id
    assert OPENAI.from_response(payload | {"id": "reply-1"}).tool_calls[0].id == first.id
    assert OPENAI.from_response(payload | {"id": "reply-2"}).tool_calls[0].id != first.id


@pytest.mark.parametrize("finish_reason", ["function_call", "stop"])
def test_openai_a_call_may_be_written_as_before_there_were_several(finish_reason: str) -> None:
    message = {"content": None, "function_call": {"name": "add", "arguments": '{"a": 1}'}}
    reply = OPENAI.from_response(completion(message, finish_reason, id="reply-1"))
    [call] = reply.tool_calls
    assert (call.name, call.arguments, reply.finish_reason) == ("add", {"a": 1}, FinishReason.tool_calls)
    assert call.id.startswith("call_")


def test_openai_an_old_call_beside_others_or_without_anything_in_it_is_none() -> None:
    old, call = {"name": "add", "arguments": "{}"}, {"id": "1", "function": {"name": "now"}}
    both = OPENAI.from_response(completion({"content": None, "tool_calls": [call], "function_call": old}))
    empty = OPENAI.from_response(completion({"content": "x", "function_call": {"name": "", "arguments": ""}}))
    assert ([call.name for call in both.tool_calls], empty.tool_calls, empty.content) == (["now"], (), "x")


def test_anthropic_a_full_reply_with_cache_tokens_inside_the_prompt() -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "s=="}
    payload = answer(
        thinking,
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "1", "name": "add", "input": {"a": 1}},
        {"type": "tool_use", "id": "2", "name": "now", "input": {}},
        stop_reason="tool_use",
        usage={
            "input_tokens": 10,
            "cache_read_input_tokens": 80,
            "cache_creation_input_tokens": 5,
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 7},
        },
    )
    assert ANTHROPIC.from_response(payload) == Reply(
        content="Let me see.",
        model="m-1",
        finish_reason=FinishReason.tool_calls,
        tool_calls=(ToolCall(id="1", name="add", arguments_json='{"a":1}'), ToolCall(id="2", name="now", arguments_json="{}")),
        usage=TokenUsage(prompt=95, completion=20, cached=80, cache_written=5, reasoning=7),
        reasoning="Hm.",
        reasoning_json='{"client":"anthropic","blocks":[{"type":"thinking","thinking":"Hm.","signature":"s=="}]}',
    )


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("stop", FinishReason.stop),
        ("length", FinishReason.length),
        ("content_filter", FinishReason.content_filter),
        ("function_call", FinishReason.tool_calls),
    ],
)
def test_openai_reasons_to_finish(written: str, means: FinishReason) -> None:
    assert OPENAI.from_response(completion({"content": "x"}, written)).finish_reason is means


def test_openai_a_forced_call_that_finished_with_stop_is_a_call() -> None:
    call = {"id": "1", "function": {"name": "add", "arguments": "{}"}}
    assert OPENAI.from_response(completion({"content": None, "tool_calls": [call]})).finish_reason is FinishReason.tool_calls


def test_openai_a_refusal_is_kept_in_the_models_words() -> None:
    reply = OPENAI.from_response(completion({"content": None, "refusal": "I will not."}))
    assert reply == Reply(content="", model="m-1", finish_reason=FinishReason.refusal, refusal="I will not.")


def test_openrouter_reasoning_blocks_are_kept() -> None:
    message = {"content": "x", "reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}
    reply = OPENAI.from_response(completion(message))
    assert (reply.reasoning, reply.reasoning_json) == (
        "Hm.",
        '{"client":"openai","blocks":[{"type":"reasoning.text","text":"Hm."}]}',
    )


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("end_turn", FinishReason.stop),
        ("stop_sequence", FinishReason.stop),
        ("max_tokens", FinishReason.length),
        ("model_context_window_exceeded", FinishReason.length),
    ],
)
def test_anthropic_reasons_to_stop(written: str, means: FinishReason) -> None:
    assert ANTHROPIC.from_response(answer({"type": "text", "text": "x"}, stop_reason=written)).finish_reason is means


CALLS = (ToolCall(id="1", name="add", arguments_json="{}"),)


@pytest.mark.parametrize(
    ("client", "payload", "kept"),
    [
        (OPENAI, completion({"content": "x"}, "bored"), Reply("x", "m-1", FinishReason.other)),
        (
            OPENAI,
            completion({"content": None, "tool_calls": [{"id": "1", "function": {"name": "add", "arguments": "{}"}}]}, "bored"),
            Reply("", "m-1", FinishReason.other, CALLS),
        ),
        (
            OPENAI,
            completion({"content": None, "refusal": "I will not."}, "bored"),
            Reply("", "m-1", FinishReason.refusal, refusal="I will not."),
        ),
        (ANTHROPIC, answer({"type": "text", "text": "x"}, stop_reason="pause_turn"), Reply("x", "m-1", FinishReason.other)),
        (
            ANTHROPIC,
            answer({"type": "tool_use", "id": "1", "name": "add", "input": {}}, stop_reason="bored"),
            Reply("", "m-1", FinishReason.other, CALLS),
        ),
    ],
)
def test_a_whole_reply_that_ended_for_an_unknown_reason_is_kept_and_the_reason_is_told_in_the_log(
    client: Client, payload: dict[str, Any], kept: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.from_response(payload) == kept
    [told] = caplog.messages
    assert re.search("ended its reply for the reason '(bored|pause_turn)', which is unknown: it is kept", told)


def test_anthropic_a_refusal_is_explained() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "I will not."}
    reply = ANTHROPIC.from_response(answer(stop_reason="refusal", stop_details=details))
    assert reply == Reply(content="", model="m-1", finish_reason=FinishReason.refusal, refusal="I will not.")


def test_anthropic_blocks_that_we_do_not_know_are_kept_as_they_are() -> None:
    search = {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}}
    reply = ANTHROPIC.from_response(answer(search, {"type": "text", "text": "Found."}))
    assert (reply.content, reply.reasoning_json) == (
        "Found.",
        to_json({"client": "anthropic", "blocks": [search, {"type": "text", "text": "Found."}]}).decode(),
    )


@pytest.mark.parametrize(
    ("client", "payload", "found"),
    [
        (OPENAI, {}, "at 'model': field required"),
        (OPENAI, {"model": "m", "choices": []}, r"\[\] at 'choices'"),
        (OPENAI, {"model": "m", "choices": [{"finish_reason": "stop"}]}, "at 'choices.0.message': field required"),
        (OPENAI, completion(None), "None at 'choices.0.message'"),
        (OPENAI, completion({"content": 5}), "5 at 'choices.0.message.content'"),
        (OPENAI, completion({"content": "x"}, None), "None at 'choices.0.finish_reason'"),
        (OPENAI, completion({"function_call": {"name": None, "arguments": "{}"}}, "function_call"), "None at 'name'"),
        (OPENAI, completion({"content": None}, "bored"), "for the reason 'bored', and there is no whole one"),
        (OPENAI, completion({"content": "Half a"}, "error"), "for the reason 'error', and there is no whole one"),
        (OPENAI, completion({"content": "Half a"}, "insufficient_system_resource"), "and there is no whole one"),
        (OPENAI, completion({"tool_calls": [{"id": "1", "function": {"name": "", "arguments": "{}"}}]}), "function.name"),
        (OPENAI, completion({"tool_calls": [{"id": "1", "function": {"name": "a", "arguments": []}}]}), "function.arguments"),
        (ANTHROPIC, {}, "at 'model': field required"),
        (ANTHROPIC, {**answer(), "content": None}, "None at 'content'"),
        (ANTHROPIC, answer({"text": "x"}), "at 'type': field required"),
        (ANTHROPIC, answer({"type": "text", "text": None}), "None at 'text'"),
        (ANTHROPIC, answer({"type": "tool_use", "id": "1", "name": "a", "input": []}), "at 'input"),
        (ANTHROPIC, answer(stop_reason=None), "None at 'stop_reason'"),
        (ANTHROPIC, answer(stop_reason="pause_turn"), "for the reason 'pause_turn', and there is no whole one"),
    ],
)
def test_an_answer_of_another_shape_is_refused_with_what_was_found(client: Client, payload: dict[str, Any], found: str) -> None:
    with pytest.raises(InvalidReply, match=found) as caught:
        client.from_response(payload)
    assert caught.value.retryable is False


@pytest.mark.parametrize("client", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ({"message": "busy", "type": "overloaded_error"}, "overloaded_error", True),
        ({"message": "bad gateway", "code": 502}, "502", True),
        ({"message": "no money", "code": "insufficient_quota", "type": "rate_limit_error"}, "insufficient_quota", False),
        ({"message": "bad request", "code": 400}, "400", False),
        ("just words", None, False),
    ],
)
def test_an_error_inside_a_success_is_one(client: Client, error: object, code: str | None, retryable: bool) -> None:
    with pytest.raises(InvalidReply, match="answered with success and an error inside") as caught:
        client.from_response({"error": error})
    assert (caught.value.status, caught.value.code, caught.value.retryable) == (200, code, retryable)


def said_and_counted(client: Client, usage: object) -> dict[str, Any]:
    """A sound answer whose tokens are counted like that."""
    if client is OPENAI:
        return completion({"content": "x"}, usage=usage)
    return answer({"type": "text", "text": "x"}, usage=usage)


@pytest.mark.parametrize(
    ("client", "usage", "means"),
    [
        (OPENAI, {"prompt_tokens": 5.0, "completion_tokens": 3.0}, TokenUsage(5, 3)),
        (OPENAI, {"prompt_tokens": 5, "total_tokens": 8}, TokenUsage(5, 3)),
        (OPENAI, {"prompt_tokens": 5, "completion_tokens": None, "total_tokens": 8}, TokenUsage(5, 3)),
        (OPENAI, {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": None}, TokenUsage(5, 3)),
        (OPENAI, {}, None),
        (OPENAI, {"completion_tokens": 3}, None),
        (OPENAI, {"prompt_tokens": 5}, None),
        (OPENAI, {"prompt_tokens": 5, "total_tokens": 5}, None),
        (OPENAI, {"prompt_tokens": 5, "completion_tokens": None}, None),
        (ANTHROPIC, {"input_tokens": 5.0, "output_tokens": 3.0, "cache_read_input_tokens": None}, TokenUsage(5, 3)),
        (ANTHROPIC, {}, None),
        (ANTHROPIC, {"input_tokens": None, "output_tokens": 3}, None),
        (ANTHROPIC, {"input_tokens": 5}, None),
    ],
)
def test_what_can_be_read_of_the_count_of_a_reply_is_and_else_it_is_unknown(
    client: Client, usage: object, means: TokenUsage | None, caplog: pytest.LogCaptureFixture
) -> None:
    reply = client.from_response(said_and_counted(client, usage))
    assert (reply.content, reply.usage, caplog.messages) == ("x", means, [])


@pytest.mark.parametrize(
    ("client", "usage", "means", "found"),
    [
        (OPENAI, {"prompt_tokens": -1, "completion_tokens": 1}, None, "usage.prompt_tokens as -1"),
        (OPENAI, {"prompt_tokens": "12", "completion_tokens": 1}, None, "usage.prompt_tokens as '12'"),
        (OPENAI, {"prompt_tokens": True, "completion_tokens": 1}, None, "usage.prompt_tokens as True"),
        (OPENAI, {"prompt_tokens": 1, "completion_tokens": 2**63}, None, "usage.completion_tokens as 9223372036854775808"),
        (OPENAI, {"prompt_tokens": 1, "completion_tokens": 1.5, "total_tokens": 3}, None, "usage.completion_tokens as 1.5"),
        (OPENAI, {"prompt_tokens": float("inf"), "completion_tokens": 1}, None, "usage.prompt_tokens as inf"),
        (OPENAI, [7], None, r"usage as \[7\]"),
        (
            OPENAI,
            {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": -1, "audio_tokens": 2}},
            TokenUsage(5, 3, audio=2),
            "usage.prompt_tokens_details.cached_tokens as -1",
        ),
        (
            OPENAI,
            {"prompt_tokens": 5, "completion_tokens": 3, "completion_tokens_details": "many"},
            TokenUsage(5, 3),
            "usage.completion_tokens_details as 'many'",
        ),
        (ANTHROPIC, {"input_tokens": 1, "output_tokens": 10**30}, None, "usage.output_tokens as 1000"),
        (ANTHROPIC, {"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": -4}, None, "usage.cache_read_input_tokens as -4"),
        (
            ANTHROPIC,
            {"input_tokens": 5, "output_tokens": 3, "output_tokens_details": {"thinking_tokens": "2"}},
            TokenUsage(5, 3),
            "usage.output_tokens_details.thinking_tokens as '2'",
        ),
    ],
)
def test_no_reply_is_lost_for_a_count_that_can_be_none_which_is_told_in_the_log(
    client: Client, usage: object, means: TokenUsage | None, found: str, caplog: pytest.LogCaptureFixture
) -> None:
    reply = client.from_response(said_and_counted(client, usage))
    assert (reply.content, reply.usage) == ("x", means)
    [told] = caplog.messages
    assert re.search(f"{client.name} counts {found}.* which is no number of tokens: it is unknown", told)
