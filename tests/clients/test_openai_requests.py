"""What is asked of a server that speaks Chat Completions. Whole requests."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_core import to_json

from minference.clients.openai import OpenAIClient
from minference.errors import ConfigurationError, ReservedToolName
from minference.profiles import Profile, load_profiles
from minference.threads.config import ResponseFormat
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, SystemPrompt, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.clients.threads import ADD, ADD_STRICT, CITY, CITY_STRICT, SCORES, asked, config, conversation, user

ADD_TOOL = {"type": "function", "function": {"name": "add", "description": "Add two numbers.", "parameters": ADD_STRICT, "strict": True}}
CITY_TOOL = {"type": "function", "function": {"name": "city", "description": "A city.", "parameters": CITY_STRICT, "strict": True}}
HELLO = [{"role": "user", "content": "Hello?"}]


def client(name: str = "openai") -> OpenAIClient:
    return OpenAIClient(load_profiles()[name])


def profile(**fields: Any) -> OpenAIClient:
    return OpenAIClient(Profile(name="mine", dialect="openai", base_url="http://127.0.0.1:1/v1", **fields))


def test_a_history_of_all_roles_becomes_messages() -> None:
    assert client().to_request(conversation("openai")) == {
        "model": "some-model",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is 1 + 2, and x + 1?"},
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}},
                    {"id": "call_2", "type": "function", "function": {"name": "add", "arguments": '{"a": "x"}'}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "3"},
            {"role": "tool", "tool_call_id": "call_2", "content": "Error: a is no number"},
            {"role": "assistant", "content": "3, and there is no x."},
            {"role": "user", "content": "And 3 + 4?"},
        ],
        "max_completion_tokens": 100,
        "tools": [ADD_TOOL],
    }


def test_parameters_are_sent_only_if_they_are_set() -> None:
    thread = asked("openai", temperature=0.5, top_p=0.9, seed=7, stop=("END",), reasoning_effort="low", extra={"user": "u1", "top_p": 0.8})
    assert client().to_request(thread) == {
        "model": "some-model",
        "messages": HELLO,
        "max_completion_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.8,
        "seed": 7,
        "stop": ["END"],
        "reasoning_effort": "low",
        "user": "u1",
    }
    assert client().to_request(asked("openai")) == {"model": "some-model", "messages": HELLO, "max_completion_tokens": 100}


def test_structured_output_asks_for_a_strict_schema() -> None:
    thread = asked("openai", ResponseFormat.structured_output)
    thread.forced_output = CITY
    assert client().to_request(thread) == {
        "model": "some-model",
        "messages": HELLO,
        "max_completion_tokens": 100,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "city", "description": "A city.", "schema": CITY_STRICT, "strict": True},
        },
    }


def test_a_schema_with_free_keys_is_sent_as_it_is_and_not_strict() -> None:
    thread = asked("openai", ResponseFormat.structured_output)
    thread.forced_output = SCORES
    assert client().to_request(thread)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "scores", "schema": SCORES.json_schema, "strict": False},
    }


def test_a_forced_tool_is_offered_and_chosen() -> None:
    thread = asked("openai", ResponseFormat.tool)
    thread.tools, thread.forced_output = [ADD], CITY
    assert client().to_request(thread) == {
        "model": "some-model",
        "messages": HELLO,
        "max_completion_tokens": 100,
        "tools": [ADD_TOOL, CITY_TOOL],
        "tool_choice": {"type": "function", "function": {"name": "city"}},
    }


@pytest.mark.parametrize(("step", "name"), [(None, "add"), (0, "add"), (1, "city")])
def test_a_workflow_forces_the_tool_of_its_step(step: int | None, name: str) -> None:
    thread = asked("openai", ResponseFormat.workflow)
    thread.tools, thread.workflow_step = [ADD, CITY], step
    request = client().to_request(thread)
    assert request["tools"] == [ADD_TOOL, CITY_TOOL]
    assert request["tool_choice"] == {"type": "function", "function": {"name": name}}


def test_json_mode_asks_for_json_in_words_too_and_leaves_the_thread_alone() -> None:
    thread = asked("openai", ResponseFormat.json_object)
    thread.history, thread.new_message = [user("Hello?")], None
    assert client().to_request(thread) == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "Hello?\n\nPlease provide your response in JSON format."}],
        "max_completion_tokens": 100,
        "response_format": {"type": "json_object"},
    }
    assert [message.content for message in thread.history] == ["Hello?"]


def test_an_answer_is_begun_for_the_model_only_where_the_server_can_go_on_with_it() -> None:
    asks = {"role": "user", "content": "Hello?\n\nPlease provide your response in JSON format."}
    begins = {"role": "assistant", "content": "Here's the valid JSON object response:```json"}
    thread = asked("vllm", ResponseFormat.json_beg)
    assert client("openai").to_request(thread)["messages"] == [asks]
    assert profile(prefill="assistant").to_request(thread)["messages"] == [asks, begins]
    assert client("vllm").to_request(thread) == {
        "model": "some-model",
        "messages": [asks, begins],
        "max_tokens": 100,
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def test_without_history_only_what_follows_the_last_question_is_sent() -> None:
    thread = conversation("openai")
    thread.use_history = False
    assert [message["role"] for message in client().to_request(thread)["messages"]] == ["system", "user"]
    thread.new_message = None
    assert [message["role"] for message in client().to_request(thread)["messages"]] == [
        "system", "user", "assistant", "tool", "tool", "assistant"
    ]  # fmt: skip


def test_the_schema_is_written_into_the_system_prompt_if_the_thread_wants_it() -> None:
    thread = asked("openai", ResponseFormat.json_object)
    thread.forced_output, thread.use_schema_instruction = CITY, True
    schema = '{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}'
    instruction = f"Please follow this JSON schema for your response:\n{schema}"
    assert client().to_request(thread)["messages"][0] == {"role": "system", "content": instruction}
    thread.system_prompt = SystemPrompt(content="Be brief.")
    assert client().to_request(thread)["messages"][0] == {"role": "system", "content": f"Be brief.\n\n{instruction}"}


def test_a_call_that_never_got_a_result_gets_one_in_the_request() -> None:
    calls = (ToolCall(id="c1", name="city", arguments_json="{}"), ToolCall(id="c2", name="add", arguments_json="{}"))
    thread = asked("openai")
    thread.tools, thread.forced_output = [ADD], CITY
    thread.history = [user("Which city?"), ChatMessage(role=MessageRole.assistant, tool_calls=calls)]
    assert client().to_request(thread)["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "city", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "add", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Received."},
        {"role": "tool", "tool_call_id": "c2", "content": "This call was not run: the conversation went on without it."},
        {"role": "user", "content": "Hello?"},
    ]


def test_openrouter_gets_effort_and_reasoning_blocks_in_its_own_fields() -> None:
    thread = asked("openrouter", reasoning_effort="high")
    thread.history = [
        user("Hm?"),
        ChatMessage(role=MessageRole.assistant, content="Hm.", reasoning_json='[{"type":"reasoning.text","text":"Well","signature":"s"}]'),
        user("Hm?"),
        ChatMessage(role=MessageRole.assistant, content="Hm!", reasoning_json='[{"type":"thinking","thinking":"of another provider"}]'),
    ]
    request = client("openrouter").to_request(thread)
    assert request["reasoning"] == {"effort": "high"}
    assert request["messages"][1] == {
        "role": "assistant",
        "content": "Hm.",
        "reasoning_details": [{"type": "reasoning.text", "text": "Well", "signature": "s"}],
    }
    assert request["messages"][3] == {"role": "assistant", "content": "Hm!"}


@pytest.mark.parametrize(
    ("thread", "says"),
    [
        (asked("openai", ResponseFormat.structured_output), "needs thread.forced_output"),
        (asked("openai", ResponseFormat.tool), "needs thread.forced_output"),
        (asked("openai", ResponseFormat.auto_tools), "or use 'text'"),
        (asked("openai", ResponseFormat.workflow), "the workflow has 0 steps and 0 are done"),
        (asked("openai", extra={"messages": []}), r"llm_config.extra\['messages'\] cannot be sent"),
        (ChatThread(llm_config=config("openai")), "set new_message, or call"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_way_out(thread: ChatThread, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        client().to_request(thread)


@pytest.mark.parametrize(
    ("fields", "thread", "says"),
    [
        (
            {"tools": False},
            asked("mine", ResponseFormat.tool),
            "takes no tools: use 'text', 'json_beg', 'json_object' or 'structured_output'",
        ),
        ({"reasoning": "unsupported"}, asked("mine", reasoning_effort="low"), "let nobody choose: use None"),
        ({"efforts": ["low"]}, asked("mine", reasoning_effort="high"), "use 'low', or None"),
    ],
)
def test_what_a_server_cannot_do_is_refused_with_what_it_can(fields: dict[str, Any], thread: ChatThread, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        profile(**fields).to_request(thread)


ANSWER = {"type": "function", "function": {"name": "json_answer"}}


@pytest.mark.parametrize("response_format", [ResponseFormat.structured_output, ResponseFormat.json_object])
def test_a_server_without_schemas_or_json_mode_is_made_to_call_a_tool_whose_arguments_are_the_answer(
    response_format: ResponseFormat,
) -> None:
    thread = asked("mine", response_format)
    thread.forced_output = CITY
    mine = profile(json_schema=False, json_object=False)
    request = mine.to_request(thread)
    assert (request["tool_choice"], "response_format" in request) == (ANSWER, False)
    call = {"id": "c1", "type": "function", "function": {"name": "json_answer", "arguments": '{"name": "Rome"}'}}
    payload = {"model": "m", "choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "stop"}]}
    reply = mine.from_response(payload, request)
    assert (reply.content, reply.tool_calls, reply.finish_reason) == ('{"name": "Rome"}', (), FinishReason.stop)
    thread.tools = [ADD]
    assert mine.to_request(thread)["tool_choice"] == "required"


def test_a_server_with_nothing_of_all_that_is_told_the_schema() -> None:
    thread = asked("mine", ResponseFormat.structured_output)
    thread.forced_output = CITY
    request = profile(json_schema=False, tools=False).to_request(thread)
    assert request["messages"][0]["content"].endswith(to_json(CITY.json_schema).decode())
    assert request.keys() == {"model", "messages", "max_tokens"}


def test_the_name_of_the_made_up_tool_is_reserved() -> None:
    thread = asked("openai")
    thread.tools = [CallableTool(name="json_answer", input_schema={"type": "object"})]
    with pytest.raises(ReservedToolName, match="'json_answer'"):
        client().to_request(thread)


def test_what_is_begun_is_joined_to_the_reply_once() -> None:
    thread = asked("vllm", ResponseFormat.json_beg)
    thread.prefill = '{"a": '
    vllm = client("vllm")
    request = vllm.to_request(thread)
    for written in ("1}", '{"a": 1}'):
        payload = {"model": "m", "choices": [{"message": {"content": written}, "finish_reason": "stop"}]}
        assert vllm.from_response(payload, request).content == '{"a": 1}'


def test_ids_of_calls_are_made_acceptable_each_for_itself() -> None:
    long = "chatcmpl-tool-" + "f" * 32
    calls = tuple(ToolCall(id=each, name="add", arguments_json="{}") for each in (long, "same", "same"))
    results = [ChatMessage(role=MessageRole.tool, content=str(n), tool_call_id=call.id) for n, call in enumerate(calls)]
    thread = asked("openai")
    thread.history = [user("?"), ChatMessage(role=MessageRole.assistant, tool_calls=calls), *results]
    _, said, *answers, _ = client().to_request(thread)["messages"]
    ids = [call["id"] for call in said["tool_calls"]]
    assert ids == [answer["tool_call_id"] for answer in answers]
    assert ids[1:] == ["same", "same_2"]
    assert len(ids[0]) <= 40


def test_a_result_without_a_call_is_told_in_words() -> None:
    thread = asked("openai")
    thread.history = [user("?"), ChatMessage(role=MessageRole.tool, content="3", tool_call_id="gone", tool_name="add")]
    assert client().to_request(thread)["messages"][1] == {"role": "user", "content": "Result of add: 3"}


def test_litellm_gets_thinking_blocks_back_and_no_others() -> None:
    lite = client("litellm")
    block = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    reply = lite.from_response(
        {"model": "m", "choices": [{"message": {"content": "x", "thinking_blocks": [block]}, "finish_reason": "stop"}]}
    )
    said = ChatMessage(role=MessageRole.assistant, content="x", reasoning_json=reply.reasoning_json)
    thread = asked("litellm")
    thread.history = [user("?"), said]
    assert lite.to_request(thread)["messages"][1] == {"role": "assistant", "content": "x", "thinking_blocks": [block]}
    assert client("openrouter").to_request(thread)["messages"][1] == {"role": "assistant", "content": "x"}
