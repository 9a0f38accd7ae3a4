"""What is asked of Anthropic. Whole requests."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from minference.clients.anthropic import AnthropicClient
from minference.errors import ConfigurationError, ImpossibleConfig
from minference.profiles import load_profiles
from minference.threads.config import ResponseFormat
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.clients.threads import ADD, CITY, CITY_STRICT, SCORES, asked, config, conversation, user

ADD_TOOL = {
    "name": "add",
    "description": "Add two numbers.",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "description": "(default: 1)"}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "strict": True,
}
CITY_TOOL = {"name": "city", "description": "A city.", "input_schema": CITY_STRICT, "strict": True}
HELLO = [{"role": "user", "content": [{"type": "text", "text": "Hello?"}]}]
PLAIN = {"model": "some-model", "max_tokens": 100, "messages": HELLO}
MARK = {"cache_control": {"type": "ephemeral"}}


def client() -> AnthropicClient:
    return AnthropicClient(load_profiles()["anthropic"])


def without_cache(thread: ChatThread) -> ChatThread:
    """The thread, whose requests have no marks then."""
    thread.llm_config.use_cache = False
    return thread


def said(role: str, *blocks: dict[str, object]) -> dict[str, object]:
    return {"role": role, "content": list(blocks)}


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def test_a_history_of_all_roles_becomes_alternating_messages() -> None:
    assert client().to_request(without_cache(conversation("anthropic"))) == {
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
    }


def test_the_cache_is_marked_after_tools_and_system_prompt_and_at_the_last_two_things_that_the_user_said() -> None:
    thread = conversation("anthropic")
    marked = client().to_request(thread)
    plain = client().to_request(without_cache(conversation("anthropic")))
    assert marked["tools"] == [{**ADD_TOOL, **MARK}]
    assert marked["system"] == [{**text("Be brief."), **MARK}]
    assert [message["content"][-1].get("cache_control") for message in marked["messages"]] == [
        None,
        None,
        *[MARK["cache_control"], None] * 2,
    ][:5]
    assert "cache_control" not in repr(plain)
    assert repr(marked).replace(", 'cache_control': {'type': 'ephemeral'}", "") == repr(plain)


def test_no_more_marks_than_the_api_takes_and_none_beside_ones_own() -> None:
    assert repr(client().to_request(conversation("anthropic"))).count("cache_control") == 4
    own = asked("anthropic", extra={"cache_control": {"type": "ephemeral", "ttl": "1h"}})
    assert client().to_request(own) == {**PLAIN, "cache_control": {"type": "ephemeral", "ttl": "1h"}}


def test_the_mark_at_the_end_of_one_turn_is_where_the_next_turn_finds_it() -> None:
    thread = asked("anthropic")
    first = client().to_request(thread)
    thread.add_user_message()
    thread.history.append(ChatMessage(role=MessageRole.assistant, content="Hello."))
    thread.new_message = "And now?"
    assert client().to_request(thread)["messages"][0] == first["messages"][0]


def test_sampling_parameters_are_left_out_with_one_warning_per_model(caplog: pytest.LogCaptureFixture) -> None:
    one = client()
    thread = asked("anthropic", use_cache=False, temperature=0.5, seed=7, stop=("END",))
    with caplog.at_level(logging.WARNING, "minference"):
        assert one.to_request(thread) == {**PLAIN, "stop_sequences": ["END"]}
        one.to_request(thread)
    assert [record.getMessage() for record in caplog.records] == [
        "anthropic takes no temperature, it is not sent",
        "anthropic takes no seed, it is not sent",
    ]


def test_an_older_api_version_gets_sampling_parameters() -> None:
    thread = asked("anthropic", use_cache=False, temperature=0.5, top_p=0.9, extra={"anthropic_version": "2023-06-01"})
    assert client().to_request(thread) == {**PLAIN, "temperature": 0.5, "top_p": 0.9, "anthropic_version": "2023-06-01"}


def test_structured_output_asks_for_a_schema() -> None:
    thread = asked("anthropic", ResponseFormat.structured_output, use_cache=False, reasoner=True, reasoning_effort="high")
    thread.forced_output = CITY
    assert client().to_request(thread) == {
        **PLAIN,
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": CITY_STRICT}},
    }


def test_a_forced_tool_is_offered_and_chosen_alone() -> None:
    thread = asked("anthropic", ResponseFormat.tool, use_cache=False)
    thread.tools, thread.forced_output = [ADD], CITY
    assert client().to_request(thread) == {
        **PLAIN,
        "tools": [ADD_TOOL, CITY_TOOL],
        "tool_choice": {"type": "tool", "name": "city", "disable_parallel_tool_use": True},
    }


def test_a_workflow_forces_the_tool_of_its_step() -> None:
    thread = asked("anthropic", ResponseFormat.workflow)
    thread.tools, thread.workflow_step = [ADD, CITY], 1
    assert client().to_request(thread)["tool_choice"] == {"type": "tool", "name": "city", "disable_parallel_tool_use": True}


def test_a_tool_with_free_keys_is_offered_as_it_is_and_not_strict() -> None:
    thread = asked("anthropic", ResponseFormat.tool, use_cache=False)
    thread.forced_output = SCORES
    assert client().to_request(thread)["tools"] == [{"name": "scores", "input_schema": SCORES.json_schema}]


def test_thinking_goes_back_unchanged_before_the_words() -> None:
    thread = asked("anthropic", reasoning_effort="none", use_cache=False)
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
    thread = asked("anthropic", use_cache=False)
    thread.history = [user("Hm?"), message]
    assert client().to_request(thread)["messages"][1] == {"role": "assistant", "content": blocks}
    message.content = "Another."
    assert client().to_request(thread)["messages"][1] == {"role": "assistant", "content": [text("Another."), blocks[3]]}


def test_calls_in_the_history_bring_their_tools_along_when_none_is_offered() -> None:
    thread = asked("anthropic", use_cache=False)
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
    }


def test_an_empty_reply_is_left_out_because_empty_text_is_refused() -> None:
    thread = asked("anthropic", use_cache=False)
    thread.history = [user("Hm?"), ChatMessage(role=MessageRole.assistant)]
    assert client().to_request(thread)["messages"] == [said("user", text("Hm?"), text("Hello?"))]


def test_a_structured_output_with_free_keys_is_asked_for_as_a_tool_call_and_read_as_text() -> None:
    thread = asked("anthropic", ResponseFormat.structured_output, use_cache=False)
    thread.forced_output = SCORES
    scores = {"name": "json_answer", "description": "Gives the answer: scores.", "input_schema": SCORES.json_schema}
    choice = {"type": "tool", "name": "json_answer", "disable_parallel_tool_use": True}
    request = client().to_request(thread)
    assert request == {**PLAIN, "tools": [scores], "tool_choice": choice}
    use = {"type": "tool_use", "id": "t1", "name": "json_answer", "input": {"of": {"a": 1}}}
    payload = {"type": "message", "model": "m", "content": [text("Here:"), use], "stop_reason": "tool_use"}
    reply = client().from_response(payload, request)
    assert (reply.content, reply.tool_calls, reply.finish_reason) == ('{"of":{"a":1}}', (), FinishReason.stop)
    thread.tools = [ADD]
    assert client().to_request(thread) == {**PLAIN, "tools": [ADD_TOOL, scores], "tool_choice": {"type": "any"}}


def test_a_model_that_reasons_is_asked_in_words_for_what_it_cannot_be_held_to() -> None:
    thread = asked("anthropic", ResponseFormat.structured_output, reasoner=True)
    thread.forced_output = CallableTool(name="free", input_schema={"type": "object"})
    request = client().to_request(thread)
    assert (request["system"][0]["text"], request.get("tools")) == (
        'Please follow this JSON schema for your response:\n{"type":"object"}',
        None,
    )


def test_json_mode_is_a_tool_that_takes_any_object() -> None:
    request = client().to_request(asked("anthropic", ResponseFormat.json_object, use_cache=False))
    assert request["tools"] == [{"name": "json_answer", "description": "Gives the answer.", "input_schema": {"type": "object"}}]
    assert request["tool_choice"] == {"type": "tool", "name": "json_answer", "disable_parallel_tool_use": True}


def test_an_answer_is_begun_where_the_profile_says_so_and_joined_again() -> None:
    old = AnthropicClient(load_profiles()["anthropic"].model_copy(update={"prefill": "assistant"}))
    thread = asked("anthropic", ResponseFormat.json_beg, use_cache=False)
    thread.prefill = '{"city": '
    request = old.to_request(thread)
    assert request["messages"][-1] == said("assistant", text('{"city":'))
    payload = {"type": "message", "model": "m", "content": [text('"Rome"}')], "stop_reason": "end_turn"}
    assert old.from_response(payload, request).content == '{"city":"Rome"}'


def test_an_assistant_that_speaks_first_and_a_user_who_says_nothing_are_made_acceptable() -> None:
    thread = asked("anthropic", use_cache=False)
    thread.history = [ChatMessage(role=MessageRole.assistant, content="Welcome!"), user(" \n")]
    thread.new_message = None
    assert client().to_request(thread)["messages"] == [
        said("user", text("(The conversation begins.)")),
        said("assistant", text("Welcome!")),
        said("user", text("(empty)")),
    ]


def test_tools_are_strict_up_to_what_one_request_may_have() -> None:
    thread = asked("anthropic", ResponseFormat.auto_tools)
    schema: dict[str, Any] = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(10)}}
    thread.tools = [CallableTool(name=f"t{number}", input_schema=schema) for number in range(4)]
    assert [tool.get("strict", False) for tool in client().to_request(thread)["tools"]] == [True, True, False, False]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"reasoning_effort": "minimal"},
            "client 'anthropic' cannot do reasoning_effort 'minimal': use 'none', 'low', 'medium', 'high' or 'max', or None",
        ),
        (
            {"response_format": ResponseFormat.tool, "reasoner": True},
            "a tool that it must call: use 'text', 'json_beg', 'structured_output' or 'auto_tools', or reasoner=False",
        ),
        ({"response_format": ResponseFormat.json_object, "reasoner": True}, "cannot do response_format 'json_object'"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_the_config_with_what_can(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ImpossibleConfig, match=says):
        config("anthropic", **fields)


def test_a_field_of_the_request_cannot_be_passed_in_extra() -> None:
    with pytest.raises(ConfigurationError, match=r"llm_config.extra\['system'\] cannot be sent"):
        client().to_request(asked("anthropic", extra={"system": "x"}))
