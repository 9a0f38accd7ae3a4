"""Workflows: a step is done when its tool has given a result, and a workflow when all of its steps are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from minference.clients.base import Reply
from minference.clients.scripted import ScriptedClient
from minference.errors import StepNotCalled, ToolInterrupted, TurnsExhausted
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool
from tests.inference.helpers import completed, failed, said, thread

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Ran:
    """Two tools that note each run."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def first(self, n: int) -> int:
        """Take the first step."""
        self.names.append("first")
        return n

    def second(self, n: int) -> int:
        """Take the second step."""
        self.names.append("second")
        if n < 0:
            raise ValueError("too small")
        return n

    def thread(self, *, idempotent: bool = True) -> ChatThread:
        config = LLMConfig(client="scripted", model="m", response_format=ResponseFormat.workflow)
        tools = [CallableTool.from_callable(each, idempotent=idempotent, replace=True) for each in (self.first, self.second)]
        return thread("Go.", llm_config=config, tools=tools)


def calling(*names: str, n: object = 1) -> Reply:
    calls = tuple(ToolCall.from_arguments(f"call-{number}", name, {"n": n}) for number, name in enumerate(names))
    return Reply(content="", model="m", finish_reason=FinishReason.tool_calls, tool_calls=calls)


def with_own_ids(replies: list[Reply | str]) -> Iterator[Reply | str]:
    for number, reply in enumerate(replies):
        if isinstance(reply, str):
            yield reply
        else:
            calls = tuple(call.model_copy(update={"id": f"{call.id}-{number}"}) for call in reply.tool_calls)
            yield replace(reply, tool_calls=calls)


def orchestrator(storage: EntityStorage, *replies: Reply | str) -> InferenceOrchestrator:
    return InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(list(with_own_ids(list(replies))))})


@pytest.mark.parametrize(
    ("replies", "step", "ran", "why"),
    [
        (["No.", "Never."], 1, [], "the model said 'Never.'"),
        ([calling("first"), "No.", "Enough."], 2, ["first"], "the model said 'Enough.'"),
        ([calling("second"), calling("second")], 1, [], "the model called 'second' instead"),
        ([calling("first", n="x"), calling("second", n="x"), calling("other")], 1, [], "the model called 'other' instead"),
    ],
    ids=["only words", "words after a step", "another tool", "wrong arguments"],
)
async def test_a_step_that_the_model_does_not_take_fails_the_thread(
    storage: EntityStorage, replies: list[Reply | str], step: int, ran: list[str], why: str
) -> None:
    work = Ran()
    chat = work.thread()
    async with orchestrator(storage, *replies) as running:
        error = failed(await running.run_workflow(chat)).error
    assert isinstance(error, StepNotCalled)
    assert (error.step, error.steps, error.name, error.reason) == (step, 2, ["first", "second"][step - 1], why)
    assert (work.names, chat.workflow_step or 0) == (ran, step - 1)
    again = await storage.get(ChatThread, chat.ecs_id)
    missing = [calling("first"), calling("second")][step - 1 :]
    async with orchestrator(storage, *missing) as running:
        done = completed(await running.run_workflow(again))
    assert (work.names, again.workflow_step, done.reply.tool_calls[0].name) == (["first", "second"], 2, "second")


async def test_a_model_that_refuses_a_step_is_not_asked_again(memory: EntityStorage) -> None:
    async with orchestrator(memory, Reply(content="I may not.", model="m", finish_reason=FinishReason.refusal)) as running:
        error = failed(await running.run_workflow(Ran().thread())).error
    assert str(error) == "step 1 of 2, tool 'first', was not called: the model refused: I may not."


async def test_the_model_hears_why_it_is_asked_again(memory: EntityStorage) -> None:
    work = Ran()
    chat = work.thread()
    replies: list[Reply | str] = [
        "Well.",
        calling("first", "second"),
        calling("first"),
        calling("second", n=-1),
        calling("second", n="x"),
        calling("second"),
    ]
    async with orchestrator(memory, *replies) as running:
        completed(await running.run_workflow(chat))
    heard = [each for each in said(chat) if each[0] in ("user", "tool")]
    not_run = "this call of tool {!r} was not run, because it is not its turn: call {!r} now, and nothing else"
    assert heard[:5] == [
        ("user", "Go."),
        ("user", "Your reply cannot be used: it does not call the tool 'first'. Call it now."),
        ("tool", not_run.format("second", "first")),
        ("tool", "1"),
        ("tool", not_run.format("first", "second")),
    ]
    assert heard[5] == ("tool", "tool 'second' raised ValueError: too small")
    assert heard[6][1].startswith("the arguments for tool 'second' are not valid")
    assert heard[7:] == [("tool", "1")]
    assert (work.names, chat.workflow_step) == (["first", "second", "second"], 2)


async def test_a_step_that_never_works_ends_with_the_turns(memory: EntityStorage) -> None:
    work = Ran()
    chat = work.thread()
    async with orchestrator(memory, *[calling("first", n="x")] * 3) as running:
        assert isinstance(failed(await running.run_workflow(chat, max_turns=3)).error, TurnsExhausted)
    assert (work.names, chat.workflow_step) == ([], None)


def in_its_own_way(asked: ChatThread) -> Reply | str:
    """Says something first, then takes each step wrongly and rightly: depends on what is said so far alone."""
    replies = sum(message.role is MessageRole.assistant for message in asked.history)
    script: list[Reply | str] = [
        "Well.",
        calling("first", n="x"),
        calling("first", "second", "first"),
        calling("second", n=-1),
        calling("first"),
        calling("second", "second"),
    ]
    return list(with_own_ids(script))[replies]


async def test_a_workflow_that_was_ended_at_any_point_goes_on_to_the_same_end(memory: EntityStorage) -> None:
    work = Ran()
    chat = work.thread()
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient(in_its_own_way)}) as running:
        completed(await running.run_workflow(chat))
        steps, versions = said(chat), await memory.lineage(chat.lineage_id)
        assert (work.names, len(versions)) == (["first", "first", "second", "second", "second"], 13)
        for version in versions:
            loaded = await memory.get(ChatThread, version.ecs_id)
            completed(await running.run_workflow(loaded))
            assert (said(loaded), loaded.workflow_step) == (steps, 2)


async def test_one_reply_takes_one_step_of_a_workflow_that_uses_a_tool_twice(memory: EntityStorage) -> None:
    work = Ran()
    chat = work.thread()
    chat.tools = [chat.tools[0]] * 2
    async with orchestrator(memory, calling("first", "first"), calling("first")) as running:
        completed(await running.run_workflow(chat))
    assert (work.names, chat.workflow_step) == (["first"] * 3, 2)


async def test_a_step_that_must_not_run_twice_is_not_forced_again_after_a_crash(memory: EntityStorage) -> None:
    work = Ran()
    chat = work.thread(idempotent=False)
    reply = calling("first")
    chat.add_user_message()
    chat.history.append(ChatMessage(role=MessageRole.assistant, tool_calls=reply.tool_calls, finish_reason=FinishReason.tool_calls))
    await memory.register(chat)
    async with orchestrator(memory, calling("second")) as running:
        completed(await running.run_workflow(await memory.get(ChatThread, chat.ecs_id)))
        await memory.register(chat)
    assert work.names == ["second"]
    [head] = await memory.heads(chat.lineage_id)
    ended = await memory.get(ChatThread, head.ecs_id)
    assert (ended.history[2].content, ended.workflow_step) == (str(ToolInterrupted("first")), 2)


async def test_an_object_of_another_step_is_not_taken_for_that_of_this_one(memory: EntityStorage) -> None:
    chat = Ran().thread()
    chat.tools = [StructuredTool.from_json_schema(name, NUMBER) for name in ("one", "two")]
    async with orchestrator(memory, calling("two"), calling("two", "one"), calling("two", n="x"), calling("two")) as running:
        done = completed(await running.run_workflow(chat))
    assert (done.object, chat.workflow_step, done.reply.tool_calls[0].name) == ({"n": 1}, 2, "two")
    assert [message.tool_name for message in chat.history if message.role is MessageRole.tool] == ["two"] * 3
