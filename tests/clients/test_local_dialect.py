"""What the embedded model is told instead of tools and schemas, and what its words mean. No model runs here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minference.clients.local import LocalClient
from minference.clients.local_dialect import lower, raise_answer
from minference.errors import ConfigurationError
from minference.threads.config import ResponseFormat
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.clients.threads import ADD, ADD_STRICT, CITY, CITY_STRICT, asked, config, conversation, user

COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}
ADD_TOLD = {"type": "function", "function": {"name": "add", "description": "Add two numbers.", "parameters": ADD_STRICT}}
BEGUN = '<tool_call>\n{"name": "add", "arguments":'
CALL = ToolCall(id="call_1", name="add", arguments_json='{"a": 1, "b": 2}')


def local_request(thread: ChatThread) -> dict[str, Any]:
    return LocalClient(find=lambda _name: None).to_request(thread)


def adding(response_format: ResponseFormat = ResponseFormat.auto_tools, *more: ChatMessage, **fields: Any) -> ChatThread:
    history = [user("What is 1 + 2?"), *more]
    return ChatThread(llm_config=config("local", response_format, **fields), history=history, tools=[ADD], forced_output=ADD)


def after_result(response_format: ResponseFormat = ResponseFormat.auto_tools) -> ChatThread:
    reply = ChatMessage(role=MessageRole.assistant, tool_calls=(CALL,))
    return adding(response_format, reply, ChatMessage(role=MessageRole.tool, content="3", tool_call_id="call_1", tool_name="add"))


def answer(content: object, finish_reason: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {
        "id": "chatcmpl-abc",
        "object": "chat.completion",
        "model": "some.gguf",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }


def rules(request: dict[str, Any]) -> list[str]:
    lines: list[str] = request["grammar"].split("\n")
    return lines


def json_rule(name: str, schema: dict[str, Any]) -> str:
    return f"{name}: %json {json.dumps({**schema, 'x-guidance': COMPACT})}"


@pytest.mark.parametrize(
    ("thread", "choice"),
    [
        (adding(ResponseFormat.auto_tools), "required"),
        (adding(ResponseFormat.text), "auto"),
        (adding(ResponseFormat.tool), {"type": "function", "function": {"name": "add"}}),
        (after_result(ResponseFormat.auto_tools), "none"),
        (after_result(ResponseFormat.text), "none"),
        (adding(ResponseFormat.auto_tools, extra={"tool_choice": "auto"}), "auto"),
    ],
    ids=["auto_tools", "text", "tool", "auto_tools after a result", "text after a result", "auto_tools set free"],
)
def test_the_request_says_whether_a_tool_must_be_called(thread: ChatThread, choice: object) -> None:
    assert local_request(thread)["tool_choice"] == choice


def test_a_request_without_tools_says_nothing_of_them() -> None:
    assert lower(local_request(asked("local"))).body == {
        "model": "some-model",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hello?"}],
    }


def test_a_forced_call_is_begun_for_the_model_and_the_grammar_holds_its_arguments() -> None:
    lowered = lower(local_request(adding(ResponseFormat.tool)))
    system, question, begun = lowered.body["messages"]
    assert system["role"] == "system"
    assert f"<tools>\n{json.dumps(ADD_TOLD)}\n</tools>" in system["content"]
    assert (question, begun) == ({"role": "user", "content": "What is 1 + 2?"}, {"role": "assistant", "content": BEGUN})
    assert rules(lowered.body) == ["%llguidance {}", 'start: " " arguments', json_rule("arguments", ADD_STRICT)]
    assert set(lowered.body) == {"model", "max_tokens", "messages", "grammar"}


def test_with_several_tools_the_grammar_leaves_the_choice_of_one() -> None:
    thread = adding()
    thread.tools.append(CallableTool(name="now", input_schema={"type": "object", "properties": {}}))
    lowered = lower(local_request(thread))
    assert lowered.body["messages"][-1] == {"role": "assistant", "content": '<tool_call>\n{"name":'}
    assert rules(lowered.body)[1:3] == [
        "start: call",
        r'call: " \"add\", \"arguments\": " arguments_0 "}" | " \"now\", \"arguments\": " arguments_1 "}"',
    ]


def test_results_are_told_in_words_and_the_question_is_repeated() -> None:
    assert lower(local_request(after_result())).body["messages"] == [
        {"role": "user", "content": "What is 1 + 2?"},
        {"role": "assistant", "content": f'{BEGUN} {{"a": 1, "b": 2}}}}\n</tool_call>'},
        {"role": "user", "content": "The tool add returned: 3\nUse it to answer the question: What is 1 + 2?"},
    ]


def test_several_results_come_in_one_message_and_errors_are_told_as_such() -> None:
    messages = lower(local_request(conversation("local"))).body["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant", "user", "assistant"]
    assert messages[3]["content"] == "The tool add returned: 3\nThe tool add returned: Error: a is no number"


def test_structured_output_is_held_to_the_schema_and_the_model_is_told_of_it() -> None:
    thread = asked("local", ResponseFormat.structured_output)
    thread.forced_output = CITY
    body = lower(local_request(thread)).body
    assert rules(body) == ["%llguidance {}", "start: object", json_rule("object", CITY_STRICT)]
    assert body["messages"] == [
        {"role": "system", "content": f"Reply with a JSON object: {json.dumps(CITY_STRICT)}"},
        {"role": "user", "content": "Hello?"},
    ]


def test_lowering_a_request_does_not_change_it() -> None:
    request = local_request(conversation("local"))
    before = json.dumps(request)
    lower(request)
    assert json.dumps(request) == before


def test_what_was_begun_and_written_is_one_call_with_an_id_of_its_own() -> None:
    lowered = lower(local_request(adding()))
    raised = raise_answer(lowered, answer(f'{BEGUN} {{"a": 1, "b": 2}}'))
    [call] = LocalClient().from_response(raised).tool_calls
    assert call == ToolCall(id="call_abc", name="add", arguments_json='{"a": 1, "b": 2}')
    assert LocalClient().from_response(raised).finish_reason is FinishReason.tool_calls


def test_a_call_that_was_cut_off_is_a_call_with_what_there_is_of_its_arguments() -> None:
    reply = LocalClient().from_response(raise_answer(lower(local_request(adding())), answer(f'{BEGUN} {{"a": 12', "length")))
    assert (reply.finish_reason, reply.tool_calls) == (
        FinishReason.length,
        (ToolCall(id="call_abc", name="add", arguments_json='{"a": 12'),),
    )


@pytest.mark.parametrize(
    ("written", "content", "calls"),
    [
        ("Three.", "Three.", 0),
        ('<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>', "", 1),
        (
            'A call looks like <tool_call>\n{"name": "add", "arguments": {}}',
            'A call looks like <tool_call>\n{"name": "add", "arguments": {}}',
            0,
        ),
    ],
    ids=["text", "a call", "text about calls"],
)
def test_a_model_that_is_free_answers_in_text_or_calls(written: str, content: str, calls: int) -> None:
    reply = LocalClient().from_response(raise_answer(lower(local_request(adding(ResponseFormat.text))), answer(written)))
    assert (reply.content, len(reply.tool_calls)) == (content, calls)


def test_text_that_looks_like_a_call_stays_text_when_no_tool_was_offered() -> None:
    written = f'{BEGUN} {{"a": 1, "b": 2}}}}\n</tool_call>'
    reply = LocalClient().from_response(raise_answer(lower(local_request(asked("local"))), answer(written)))
    assert (reply.content, reply.tool_calls, reply.finish_reason) == (written, (), FinishReason.stop)


def test_an_answer_without_the_shape_of_one_is_left_to_the_reader() -> None:
    lowered = lower(local_request(asked("local")))
    assert raise_answer(lowered, {"choices": []}) == {"choices": []}
    assert raise_answer(lowered, answer(None)) == answer(None)


def test_what_was_prefilled_is_no_part_of_the_reply() -> None:
    thread = asked("local", ResponseFormat.json_beg)
    lowered = lower(local_request(thread))
    assert lowered.body["messages"][-1] == {"role": "assistant", "content": thread.prefill}
    assert LocalClient().from_response(raise_answer(lowered, answer(thread.prefill + '{"a": 1}'))).content == '{"a": 1}'


@pytest.mark.parametrize("seed", [-1, 2**32 - 1])
def test_a_seed_that_llama_cpp_cannot_take_is_refused(seed: int) -> None:
    with pytest.raises(ConfigurationError, match=f"takes seeds from 0 to 4294967294, not {seed}"):
        local_request(asked("local", seed=seed))


def test_a_reasoning_effort_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="client 'local' cannot do reasoning_effort 'low'"):
        local_request(asked("local", reasoning_effort="low"))


def test_what_an_object_is_called_is_not_told_to_the_model() -> None:
    thread = asked("local", ResponseFormat.structured_output)
    thread.forced_output = CITY.model_copy(update={"json_schema": {**CITY.json_schema, "title": "City", "description": "A city."}})
    assert lower(local_request(thread)).body["messages"][0]["content"] == f"Reply with a JSON object: {json.dumps(CITY_STRICT)}"
