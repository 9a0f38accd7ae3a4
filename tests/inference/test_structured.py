"""Structured replies: valid, asked for again, or failed; text that happens to be JSON stays text."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from minference.clients.base import Reply
from minference.clients.scripted import Said, ScriptedClient
from minference.errors import ConfigurationError, NoStructuredOutput
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Failed, Outcome
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import FinishReason, ToolCall
from minference.threads.outputs import GeneratedJsonObject, ProcessedOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import StructuredTool
from tests.inference.helpers import add_tool, completed, failed, said, thread, versions


class City(BaseModel):
    """A city."""

    name: str
    people: int


GOOD, BAD = '{"name": "Rome", "people": 3}', '{"name": "Rome", "people": "many"}'


def call(arguments: str, number: int = 1, name: str = "City") -> ToolCall:
    return ToolCall(id=f"call-{number}", name=name, arguments_json=arguments)


def about_rome(response_format: ResponseFormat) -> ChatThread:
    config = LLMConfig(client="scripted", model="m", response_format=response_format)
    return thread("Tell me about Rome.", llm_config=config, forced_output=StructuredTool.from_pydantic(City))


async def run(memory: EntityStorage, chat: ChatThread, *script: Said, attempts: int = 2) -> Outcome:
    client = ScriptedClient(script)
    async with InferenceOrchestrator(memory, clients={"scripted": client}, structured_attempts=attempts) as orchestrator:
        [outcome] = await orchestrator.run_parallel_ai_completion([chat])
    assert len(client.requests) == len(script)
    return outcome


@pytest.mark.parametrize(
    ("response_format", "reply"),
    [(ResponseFormat.structured_output, GOOD), (ResponseFormat.tool, call(GOOD))],
    ids=["as text", "as a call"],
)
async def test_a_valid_object_is_given_and_stored(memory: EntityStorage, response_format: ResponseFormat, reply: Said) -> None:
    chat = about_rome(response_format)
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient([reply])}) as orchestrator:
        [outcome] = await orchestrator.run_parallel_ai_completion([chat])
        [again] = await orchestrator.run([chat])
    assert (completed(outcome).object, completed(again).object) == ({"name": "Rome", "people": 3},) * 2
    assert await versions(memory) == {
        "ChatThread": 2, "ChatMessage": 2, "LLMConfig": 1, "StructuredTool": 1,
        "Usage": 1, "RawOutput": 1, "ProcessedOutput": 1, "GeneratedJsonObject": 1,
    }  # fmt: skip
    [found] = await memory.list_by_type(GeneratedJsonObject)
    stored = await memory.get(GeneratedJsonObject, found.ecs_id)
    assert (stored.name, stored.object) == ("City", {"name": "Rome", "people": 3})


@pytest.mark.parametrize("unheeding", [ResponseFormat.text, ResponseFormat.json_object, ResponseFormat.json_beg])
async def test_a_schema_that_nothing_would_be_told_of_is_refused_with_what_to_set(memory: EntityStorage, unheeding: ResponseFormat) -> None:
    chat, client = about_rome(unheeding), ScriptedClient([GOOD])
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([chat])
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, ConfigurationError)
        assert str(outcome.error).startswith(
            f"thread.forced_output is 'City', and response_format {unheeding.value!r} takes no notice of it: "
            "set response_format='structured_output' in the LLMConfig"
        )
        assert (client.requests, chat.new_message, chat.history) == ([], "Tell me about Rome.", [])
        chat.llm_config.response_format = ResponseFormat.structured_output
        assert completed((await orchestrator.run([chat]))[0]).object == {"name": "Rome", "people": 3}


async def test_a_schema_may_be_kept_beside_text_that_has_a_use_for_it(memory: EntityStorage) -> None:
    in_words, among_tools, later = (about_rome(ResponseFormat.text) for _ in range(3))
    in_words.use_schema_instruction = True
    assert among_tools.forced_output is not None
    among_tools.tools = [among_tools.forced_output]
    later.llm_config.response_format = ResponseFormat.structured_output
    client = ScriptedClient([GOOD, "Well.", "Well.", "You are welcome."])
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [first] = await orchestrator.run([later])
        later.llm_config.response_format = ResponseFormat.text
        later.new_message = "Thank you."
        outcomes = [outcome for each in (in_words, among_tools, later) for outcome in await orchestrator.run([each])]
    assert [completed(outcome).content for outcome in (first, *outcomes)] == [GOOD, "Well.", "Well.", "You are welcome."]


async def test_where_no_tools_are_offered_a_schema_among_them_is_refused_too(memory: EntityStorage) -> None:
    chat = about_rome(ResponseFormat.json_beg)
    assert chat.forced_output is not None
    chat.tools = [chat.forced_output]
    assert "'json_beg' takes no notice of it" in str(failed(await run(memory, chat)).error)
    chat.llm_config.response_format = ResponseFormat.json_object
    assert completed(await run(memory, chat, call(GOOD))).object == {"name": "Rome", "people": 3}


async def test_an_object_in_a_fence_is_the_object(memory: EntityStorage) -> None:
    done = completed(await run(memory, about_rome(ResponseFormat.structured_output), f"```json\n{GOOD}\n```\n"))
    assert (done.parsed, done.structured_attempts) == (City(name="Rome", people=3), 1)
    assert done.content.startswith("```json")


async def test_invalid_text_is_asked_for_again_with_the_reason(memory: EntityStorage) -> None:
    chat = about_rome(ResponseFormat.structured_output)
    client = ScriptedClient([BAD, GOOD])
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run_parallel_ai_completion([chat])
    assert completed(outcome).object == {"name": "Rome", "people": 3}
    assert [role for role, _ in said(chat)] == ["user", "assistant", "user", "assistant"]
    told = chat.history[2].content
    assert told.startswith("Your reply cannot be used: people: ")
    assert client.requests[1]["messages"][-1]["content"] == told
    errors = [(await memory.get(ProcessedOutput, each.ecs_id)).error for each in await memory.list_by_type(ProcessedOutput)]
    assert [error is None for error in errors] == [True, False]


async def test_an_invalid_call_is_answered_with_an_error_and_asked_for_again(memory: EntityStorage) -> None:
    chat = about_rome(ResponseFormat.tool)
    outcome = await run(memory, chat, call(BAD), call(GOOD, 2))
    assert completed(outcome).object == {"name": "Rome", "people": 3}
    assert [(message.role.value, message.tool_call_id, message.tool_error) for message in chat.history] == [
        ("user", None, False), ("assistant", None, False), ("tool", "call-1", True), ("assistant", None, False),
    ]  # fmt: skip
    assert chat.history[2].content.endswith("Call City again with arguments that fit its schema.")


@pytest.mark.parametrize("attempts", [1, 3])
async def test_asking_again_is_bounded_and_every_reply_is_kept(memory: EntityStorage, attempts: int) -> None:
    chat = about_rome(ResponseFormat.structured_output)
    outcome = await run(memory, chat, *[BAD] * attempts, attempts=attempts)
    assert isinstance(failed(outcome).error, NoStructuredOutput)
    assert len(chat.history) == 2 * attempts
    assert (await memory.get(ChatThread, chat.ecs_id)).history[-1].content == BAD


async def test_running_again_after_giving_up_asks_again_and_says_why(memory: EntityStorage) -> None:
    chat = about_rome(ResponseFormat.structured_output)
    failed(await run(memory, chat, BAD, attempts=1))
    loaded = await memory.get(ChatThread, chat.ecs_id)
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient([GOOD])}) as orchestrator:
        [outcome] = await orchestrator.run([loaded])
    assert completed(outcome).object == {"name": "Rome", "people": 3}
    assert [role for role, _ in said(loaded)] == ["user", "assistant", "user", "assistant"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "there is nothing in the reply"),
        ("Rome is lovely.", "'Rome is lovely.' is not JSON"),
        ("[1]", "is not a JSON object"),
        (Reply(content='{"name": "Ro', model="m", finish_reason=FinishReason.length), "the reply was cut off at max_tokens"),
    ],
)
async def test_the_reason_names_what_is_wrong(memory: EntityStorage, reply: Said, reason: str) -> None:
    outcome = await run(memory, about_rome(ResponseFormat.structured_output), reply, attempts=1)
    assert reason in str(failed(outcome).error)


@pytest.mark.parametrize("response_format", [ResponseFormat.structured_output, ResponseFormat.tool])
async def test_a_refusal_is_not_asked_again(memory: EntityStorage, response_format: ResponseFormat) -> None:
    refusal = Reply(content="", model="m", finish_reason=FinishReason.refusal, refusal="I may not speak of Rome.")
    outcome = await run(memory, about_rome(response_format), refusal, attempts=5)
    assert str(failed(outcome).error) == "the reply is no valid 'City': the model refused: I may not speak of Rome."


async def test_a_reply_that_does_not_call_the_forced_tool_is_asked_for_again(memory: EntityStorage) -> None:
    chat = about_rome(ResponseFormat.tool)
    await run(memory, chat, "Rome is lovely.", call(GOOD))
    assert chat.history[2].content.startswith("Your reply cannot be used: it does not call the tool 'City'")


@pytest.mark.parametrize("response_format", [ResponseFormat.text, ResponseFormat.json_object, ResponseFormat.json_beg])
async def test_text_that_happens_to_be_json_stays_text(memory: EntityStorage, response_format: ResponseFormat) -> None:
    chat = about_rome(response_format)
    chat.use_schema_instruction = True
    done = completed(await run(memory, chat, GOOD))
    assert (done.object, done.content) == (None, GOOD)


async def test_an_object_may_come_as_a_call_among_tools_that_the_model_chooses(memory: EntityStorage) -> None:
    config = LLMConfig(client="scripted", model="m", response_format=ResponseFormat.auto_tools)
    chat = thread("Tell me about Rome.", llm_config=config, tools=[add_tool(), StructuredTool.from_pydantic(City)])
    client = ScriptedClient([call('{"a": 1, "b": 2}', 1, "add"), call(GOOD, 2)])
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([chat])
    assert completed(outcome).object == {"name": "Rome", "people": 3}


async def test_a_forced_function_is_called_once_and_its_result_is_the_end(memory: EntityStorage) -> None:
    config = LLMConfig(client="scripted", model="m", response_format=ResponseFormat.tool)
    chat = thread("1 + 2", llm_config=config, forced_output=add_tool())
    client = ScriptedClient([call('{"a": "x", "b": 2}', 1, "add"), call('{"a": 1, "b": 2}', 2, "add")])
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([chat])
    assert completed(outcome).reply.tool_calls[0].id == "call-2"
    assert [(message.content, message.tool_error) for message in chat.history if message.tool_call_id][-1] == ("3", False)
    assert len(client.requests) == 2


async def test_a_workflow_takes_each_step_once_in_order(memory: EntityStorage) -> None:
    config = LLMConfig(client="scripted", model="m", response_format=ResponseFormat.workflow)
    chat = thread("Sum and tell.", llm_config=config, tools=[add_tool(), StructuredTool.from_pydantic(City)])
    client = ScriptedClient([call('{"a": 1, "b": 2}', 1, "add"), call(BAD, 2), call(GOOD, 3)])
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([chat])
        [again] = await orchestrator.run([await memory.get(ChatThread, chat.ecs_id)])
    assert [request["forced_tool"] for request in client.requests] == ["add", "City", "City"]
    assert (completed(outcome).object, completed(again).object, chat.workflow_step) == ({"name": "Rome", "people": 3},) * 2 + (2,)
