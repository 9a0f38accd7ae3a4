"""Any number of threads: taken when there is room, told of by id, forgotten when they are done."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from minference.clients.scripted import ScriptedClient
from minference.errors import NotAWorkflow, OrchestratorClosed, ProviderRefused, ThreadBusy, TurnsExhausted
from minference.inference.crowd import in_parallel
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Completed
from minference.inference.progress import ProgressEvent, RunStarted
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import StructuredTool
from tests.inference.helpers import add_tool, completed, failed, said, thread


def scripted(memory: EntityStorage, client: ScriptedClient | None = None) -> InferenceOrchestrator:
    return InferenceOrchestrator(memory, clients={"scripted": client or ScriptedClient()})


async def later(threads: list[ChatThread]) -> AsyncIterator[ChatThread]:
    for each in threads:
        await asyncio.sleep(0)
        yield each


@pytest.mark.parametrize("kind", ["list", "generator", "async generator"])
async def test_each_thread_of_any_iterable_has_one_outcome_under_its_id(memory: EntityStorage, kind: str) -> None:
    threads = [thread(str(number)) for number in range(50)]
    kinds: dict[str, Iterable[ChatThread] | AsyncIterable[ChatThread]]
    kinds = {"list": threads, "generator": iter(threads), "async generator": later(threads)}
    given = kinds[kind]
    async with scripted(memory) as orchestrator:
        found = [outcome async for outcome in orchestrator.as_completed(given, concurrency=7)]
    assert len(found) == 50
    assert {outcome.thread_id: completed(outcome).content for outcome in found} == {
        each.lineage_id: f"You said: {number}" for number, each in enumerate(threads)
    }


async def test_threads_are_taken_only_when_there_is_room_and_forgotten_with_their_outcome(tmp_path: Path) -> None:
    alive: weakref.WeakSet[ChatThread] = weakref.WeakSet()
    most = 0

    def endless() -> Iterator[ChatThread]:
        nonlocal most
        for number in range(200):
            made = thread(str(number))
            alive.add(made)
            most = max(most, len(alive))
            yield made
            del made

    gc.collect()
    gc.disable()  # what counts is that nothing holds them, not when cycles are found
    try:
        async with (
            open_storage(f"sqlite:///{tmp_path / 'many.db'}", durability="fast") as storage,
            scripted(storage) as orchestrator,
            aclosing(orchestrator.as_completed(endless(), concurrency=5)) as outcomes,
        ):
            done = 0
            async for outcome in outcomes:
                completed(outcome)
                done += 1
                del outcome
                if done % 25 == 0:
                    gc.collect()
    finally:
        gc.enable()
    assert done == 200
    assert most <= 25 + 5 + 3


async def test_nobody_works_ahead_of_one_who_takes_no_outcomes(memory: EntityStorage) -> None:
    client = ScriptedClient()
    async with (
        scripted(memory, client) as orchestrator,
        aclosing(orchestrator.as_completed((thread(str(number)) for number in range(100)), concurrency=3)) as outcomes,
    ):
        completed(await anext(outcomes))
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(client.requests) <= 1 + 3 + 1


async def test_leaving_the_loop_saves_the_replies_on_their_way_and_begins_no_more(memory: EntityStorage) -> None:
    began, gate = asyncio.Event(), asyncio.Event()

    async def answer(asked: ChatThread) -> str:
        if asked.history[-1].content != "0":
            began.set()
            await gate.wait()
        return "Here I am."

    threads = [thread(str(number)) for number in range(10)]
    client = ScriptedClient(answer)
    async with scripted(memory, client) as orchestrator:
        async with aclosing(orchestrator.as_completed(iter(threads), concurrency=2)) as outcomes:
            completed(await anext(outcomes))
            await began.wait()
            asyncio.get_running_loop().call_soon(gate.set)
        sent = len(client.requests)
        stored = [await memory.get(ChatThread, each.ecs_id) for each in threads[:sent]]
    assert 2 <= sent <= 4
    assert [said(each)[-1] for each in stored] == [("assistant", "Here I am.")] * sent


async def test_what_the_iterable_raises_ends_the_loop_after_replies_on_their_way(memory: EntityStorage) -> None:
    def broken() -> Iterator[ChatThread]:
        yield first
        raise ZeroDivisionError("in the iterable")

    first = thread("0")
    async with scripted(memory) as orchestrator:
        with pytest.raises(ZeroDivisionError, match="in the iterable"):
            async for _ in orchestrator.as_completed(broken(), concurrency=2):
                pass
    assert await memory.has_entity(first.ecs_id)


async def test_an_object_that_is_being_run_already_fails_alone(memory: EntityStorage) -> None:
    chat, other = thread("a"), thread("b")
    async with scripted(memory) as orchestrator:
        found = [outcome async for outcome in orchestrator.as_completed([chat, chat, other], concurrency=3)]
    assert sorted(type(outcome).__name__ for outcome in found) == ["Completed", "Completed", "Failed"]
    [busy] = [outcome for outcome in found if not outcome.ok]
    assert isinstance(failed(busy).error, ThreadBusy)


async def test_a_failure_disturbs_no_other_and_progress_knows_no_total_of_a_generator(memory: EntityStorage) -> None:
    told: list[ProgressEvent] = []
    clients = {"scripted": ScriptedClient(), "bad": ScriptedClient([ProviderRefused("bad", "no", status=400)], name="bad")}
    async with InferenceOrchestrator(memory, clients=clients, progress=told.append) as orchestrator:
        given = [thread("a"), thread("b", client="bad"), thread("c")]
        found = [outcome async for outcome in orchestrator.as_completed(iter(given))]
        [_ async for _ in orchestrator.as_completed([])]
    assert sum(outcome.ok for outcome in found) == 2
    assert [event for event in told if isinstance(event, RunStarted)] == [RunStarted(None), RunStarted(0)]


async def test_wrong_numbers_are_refused_before_anything_is_sent(memory: EntityStorage) -> None:
    client = ScriptedClient()
    async with scripted(memory, client) as orchestrator:
        with pytest.raises(ValueError, match="concurrency is 0"):
            await orchestrator.run([thread()], concurrency=0)
        with pytest.raises(ValueError, match="max_turns is 0"):
            await orchestrator.run([thread()], max_turns=0)
        with pytest.raises(ValueError, match="deadline is -1"):
            await orchestrator.run([thread()], deadline=-1)
        with pytest.raises(ValueError, match="deadline is 0"):
            await orchestrator.run([thread()], thread_deadline=0)
    assert client.requests == []
    with pytest.raises(OrchestratorClosed):
        await anext(orchestrator.as_completed([thread()]))


async def test_several_bugs_at_once_are_told_together() -> None:
    async def work(item: int) -> None:
        raise ZeroDivisionError(item)

    with pytest.raises(ExceptionGroup) as caught:
        async for _ in in_parallel([1, 2], work, 2):
            pass
    assert len(caught.value.exceptions) == 2


async def test_what_the_iterable_raises_is_told_beside_a_bug() -> None:
    async def work(item: int) -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError(item)

    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("in the iterable")

    with pytest.raises(ExceptionGroup) as caught:
        async for _ in in_parallel(broken(), work, 2):
            pass
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError, LookupError]


def adds(asked: ChatThread) -> str | ToolCall:
    """Calls `add` until it has been told to stop, which nobody does."""
    results = sum(message.role is MessageRole.tool for message in asked.history)
    return ToolCall.from_arguments(f"call-{results}", "add", {"a": results, "b": 1})


async def test_a_thread_goes_on_until_a_function_says_that_it_has_gone_far_enough(memory: EntityStorage) -> None:
    def three(chat: ChatThread) -> bool:
        return chat.history[-1].content == "3"

    client = ScriptedClient(adds)
    chat = thread("Count.", tools=[add_tool()])
    async with scripted(memory, client) as orchestrator:
        [outcome] = await orchestrator.run([chat], until=three)
        [again] = await orchestrator.run([chat], until=three)
        [further] = await orchestrator.run([chat], max_turns=2)
    assert completed(outcome).reply.tool_calls[0].id == "call-2"
    assert completed(again).reply is completed(outcome).reply
    assert isinstance(failed(further).error, TurnsExhausted)
    assert len(client.requests) == 3 + 2


async def test_a_user_who_waits_gets_an_answer_whatever_the_function_says(memory: EntityStorage) -> None:
    chat = thread("Hello.")
    async with scripted(memory) as orchestrator:
        for _ in range(2):
            [outcome] = await orchestrator.run([chat], until=lambda _chat: True)
            completed(outcome)
            chat.new_message = "Again."
    assert len(chat.history) == 4


def workflow(*names: str) -> ChatThread:
    tools = [StructuredTool.from_json_schema(name, {"type": "object", "properties": {"n": {"type": "integer"}}}) for name in names]
    config = LLMConfig(client="scripted", model="m", response_format=ResponseFormat.workflow)
    return thread("Go.", llm_config=config, tools=tools)


async def test_a_workflow_takes_the_steps_that_are_left_each_once(memory: EntityStorage) -> None:
    def step(asked: ChatThread) -> ToolCall:
        assert asked.forced_output is not None
        return ToolCall.from_arguments(f"call-{asked.forced_output.name}", asked.forced_output.name, {"n": 1})

    client = ScriptedClient(step)
    chat = workflow(*(f"step_{number}" for number in range(12)))
    async with scripted(memory, client) as orchestrator:
        outcome = await orchestrator.run_workflow(chat, max_turns=5)
        assert isinstance(failed(outcome).error, TurnsExhausted)
        outcome = await orchestrator.run_workflow(chat)
        again = await orchestrator.run_workflow(chat)
    assert isinstance(outcome, Completed)
    assert (again.ok, chat.workflow_step) == (True, 12)
    assert [request["forced_tool"] for request in client.requests] == [f"step_{number}" for number in range(12)]


async def test_what_is_no_workflow_is_refused(memory: EntityStorage) -> None:
    async with scripted(memory) as orchestrator:
        with pytest.raises(NotAWorkflow, match="response format is 'text'"):
            await orchestrator.run_workflow(thread())
        with pytest.raises(NotAWorkflow, match="it has no tools"):
            await orchestrator.run_workflow(workflow())
