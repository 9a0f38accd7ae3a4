"""What is asked of Anthropic. Whole requests."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from minference.clients.anthropic import AnthropicClient
from minference.clients.profiles import load_profiles
from minference.errors import ConfigurationError
from minference.threads.config import ResponseFormat
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool
from tests.clients.threads import ADD, CITY, CITY_STRICT, SCORES, asked, conversation, user

ADD_TOOL = {
    "name": "add",
    "description": "Add two numbers.",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "description": "{default: 1}"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "strict": True,
}
CITY_TOOL = {"name": "city", "description": "A city.", "input_schema": CITY_STRICT, "strict": True}
HELLO = [{"role": "user", "content": [{"type": "text", "text": "Hello?"}]}]
PLAIN = {"model": "some-model", "max_tokens": 100, "messages": HELLO}
CACHED = {"cache_control": {"type": "ephemeral"}}


def client() -> AnthropicClient:
    return AnthropicClient(load_profiles()["anthropic"])


def said(role: str, *blocks: dict[str, object]) -> dict[str, object]:
    return {"role": role, "content": list(blocks)}


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def test_a_history_of_all_roles_becomes_alternating_messages() -> None:
    assert client().to_request(conversation("anthropic")) == {
        "model": "some-model",
        "max_tokens": 100,
        "system": [text("Be brief.")],
        "messages": [
            said("user", text("What is 1 + 2, and x + 1?")),
            said(
                "assistant",
                text("Let me see."),
                {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1, "b": 2}},
                {"type": "tool_use", "id": "call_2", "name": "add", "input": {"a": "x"}},
            ),
            said(
                "user",
                {"type": "tool_result", "tool_use_id": "call_1", "content": "3"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": "a is no number", "is_error": True},
            ),
            said("assistant", text("3, and there is no x.")),
            said("user", text("And 3 + 4?")),
        ],
        "tools": [ADD_TOOL],
        **CACHED,
    }


def test_cache_marks_are_off_when_the_cache_is_off() -> None:
    assert client().to_request(asked("anthropic")) == {**PLAIN, **CACHED}
    assert client().to_request(asked("anthropic", use_cache=False)) == PLAIN


def test_sampling_parameters_are_left_out_with_one_warning_per_model(caplog: pytest.LogCaptureFixture) -> None:
    one = client()
    thread = asked("anthropic", temperature=0.5, seed=7, stop=("END",))
    with caplog.at_level(logging.WARNING, "minference"):
        assert one.to_request(thread) == {**PLAIN, "stop_sequences": ["END"], **CACHED}
        one.to_request(thread)
    assert [record.getMessage() for record in caplog.records] == [
        "anthropic takes no temperature, it is not sent",
        "anthropic takes no seed, it is not sent",
    ]


def test_an_older_api_version_gets_sampling_parameters() -> None:
    thread = asked("anthropic", temperature=0.5, top_p=0.9, extra={"anthropic_version": "2023-06-01"})
    assert client().to_request(thread) == {**PLAIN, "temperature": 0.5, "top_p": 0.9, **CACHED, "anthropic_version": "2023-06-01"}


def test_structured_output_asks_for_a_schema() -> None:
    thread = asked("anthropic", ResponseFormat.structured_output, reasoner=True, reasoning_effort="high")
    thread.forced_output = CITY
    assert client().to_request(thread) == {
        **PLAIN,
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": CITY_STRICT}},
        **CACHED,
    }


def test_a_forced_tool_is_offered_and_chosen_alone() -> None:
    thread = asked("anthropic", ResponseFormat.tool)
    thread.tools, thread.forced_output = [ADD], CITY
    assert client().to_request(thread) == {
        **PLAIN,
        "tools": [ADD_TOOL, CITY_TOOL],
        "tool_choice": {"type": "tool", "name": "city", "disable_parallel_tool_use": True},
        **CACHED,
    }


def test_a_workflow_forces_the_tool_of_its_step() -> None:
    thread = asked("anthropic", ResponseFormat.workflow)
    thread.tools, thread.workflow_step = [ADD, CITY], 1
    assert client().to_request(thread)["tool_choice"] == {"type": "tool", "name": "city", "disable_parallel_tool_use": True}


def test_a_tool_with_free_keys_is_offered_as_it_is_and_not_strict() -> None:
    thread = asked("anthropic", ResponseFormat.tool)
    thread.forced_output = SCORES
    assert client().to_request(thread)["tools"] == [{"name": "scores", "input_schema": SCORES.json_schema}]


def test_thinking_goes_back_unchanged_before_the_words() -> None:
    thread = asked("anthropic", reasoning_effort="none")
    thinking = '[{"type":"thinking","thinking":"Well","signature":"abc=="},{"type":"redacted_thinking","data":"xyz"}]'
    thread.history = [user("Hm?"), ChatMessage(role=MessageRole.assistant, content="Hm.", reasoning_json=thinking)]
    request = client().to_request(thread)
    assert request["thinking"] == {"type": "disabled"}
    assert request["messages"][1] == said(
        "assistant",
        {"type": "thinking", "thinking": "Well", "signature": "abc=="},
        {"type": "redacted_thinking", "data": "xyz"},
        text("Hm."),
    )


def test_thinking_of_another_provider_is_not_sent() -> None:
    thread = asked("anthropic")
    foreign = '[{"type":"reasoning.text","text":"Well"}]'
    thread.history = [user("Hm?"), ChatMessage(role=MessageRole.assistant, content="Hm.", reasoning_json=foreign)]
    assert client().to_request(thread)["messages"][1] == said("assistant", text("Hm."))


def test_thoughts_between_the_words_keep_their_place_until_the_message_is_edited() -> None:
    blocks = [
        {"type": "thinking", "thinking": "A", "signature": "1"},
        text("First."),
        {"type": "thinking", "thinking": "B", "signature": "2"},
        {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}},
    ]
    payload = {"type": "message", "model": "m", "content": blocks, "stop_reason": "tool_use"}
    reply = client().from_response(payload)
    message = ChatMessage(
        role=MessageRole.assistant, content=reply.content, tool_calls=reply.tool_calls, reasoning_json=reply.reasoning_json
    )
    thread = asked("anthropic")
    thread.history = [user("Hm?"), message]
    assert client().to_request(thread)["messages"][1] == {"role": "assistant", "content": blocks}
    message.content = "Another."
    assert client().to_request(thread)["messages"][1] == {"role": "assistant", "content": [text("Another."), blocks[3]]}


def test_calls_in_the_history_bring_their_tools_along_when_none_is_offered() -> None:
    thread = asked("anthropic")
    calls = (ToolCall(id="functions.city:0", name="city", arguments_json="not JSON"),)
    thread.forced_output = CITY
    thread.history = [user("Which?"), ChatMessage(role=MessageRole.assistant, tool_calls=calls)]
    assert client().to_request(thread) == {
        **PLAIN,
        "messages": [
            said("user", text("Which?")),
            said(
                "assistant",
                {"type": "tool_use", "id": "functions_city_0", "name": "city", "input": {"invalid_arguments": "not JSON"}},
            ),
            said("user", {"type": "tool_result", "tool_use_id": "functions_city_0", "content": "Received."}, text("Hello?")),
        ],
        "tools": [CITY_TOOL],
        "tool_choice": {"type": "none"},
        **CACHED,
    }


def test_an_empty_reply_is_left_out_because_empty_text_is_refused() -> None:
    thread = asked("anthropic")
    thread.history = [user("Hm?"), ChatMessage(role=MessageRole.assistant)]
    assert client().to_request(thread)["messages"] == [said("user", text("Hm?"), text("Hello?"))]


def test_a_structured_output_with_free_keys_is_asked_for_as_a_tool_call() -> None:
    thread = asked("anthropic", ResponseFormat.structured_output)
    thread.forced_output = SCORES
    scores = {"name": "scores", "input_schema": SCORES.json_schema}
    choice = {"type": "tool", "name": "scores", "disable_parallel_tool_use": True}
    assert client().to_request(thread) == {**PLAIN, "tools": [scores], "tool_choice": choice, **CACHED}
    thread.tools = [ADD]
    assert client().to_request(thread) == {**PLAIN, "tools": [ADD_TOOL, scores], "tool_choice": {"type": "any"}, **CACHED}


def _with_output(output: CallableTool | StructuredTool, **fields: Any) -> ChatThread:
    thread = asked("anthropic", ResponseFormat.structured_output, **fields)
    thread.forced_output = output
    return thread


FREE = CallableTool(name="free", input_schema={"type": "object"})


@pytest.mark.parametrize(
    ("thread", "says"),
    [
        (asked("anthropic", ResponseFormat.json_object), "has no JSON mode: use 'structured_output', 'tool' or 'json_beg'"),
        (asked("anthropic", reasoning_effort="minimal"), "use 'none', 'low', 'medium', 'high' or 'max'"),
        (asked("anthropic", ResponseFormat.tool, reasoner=True), "cannot reason before a forced tool"),
        (asked("anthropic", extra={"system": "x"}), r"llm_config.extra\['system'\] cannot be sent"),
        (_with_output(FREE), "close its objects, or use a StructuredTool"),
        (_with_output(SCORES, reasoner=True), "reasoner=False"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(thread: ChatThread, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        client().to_request(thread)
