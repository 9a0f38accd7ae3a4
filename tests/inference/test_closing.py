"""An orchestrator that is left while calls go on in other tasks, as by a server that stops: nothing that was answered is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, nullcontext
from itertools import count
from typing import Any

import pytest

from minference.clients.scripted import FunctionClient, ScriptedClient
from minference.errors import MinferenceError, OrchestratorClosed
from minference.inference.events import Event, Finished
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Failed, Outcome
from minference.storage.base import EntityStorage
from minference.storage.runs import EntryState
from minference.threads.messages import ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.inference.helpers import completed, said, thread


class Gate:
    """Answers wait at it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.client = FunctionClient(self._answer)

    async def _answer(self, _: ChatThread) -> str:
        self.asked.set()
        await self.open.wait()
        return "an answer"

    def orchestrator(self, storage: EntityStorage) -> InferenceOrchestrator:
        return InferenceOrchestrator(storage, clients={"scripted": self.client})


async def left(gate: Gate, orchestrator: InferenceOrchestrator, call: Callable[[], Awaitable[Any]]) -> Any:
    """What a call gives during which the orchestrator is left; the provider answers after that has begun."""
    async with orchestrator:
        calling = asyncio.ensure_future(call())
        await gate.asked.wait()
        asyncio.get_running_loop().call_later(0, gate.open.set)
    assert calling.done() or gate.open.is_set()
    return await calling


def was_closed(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and isinstance(outcome.error, OrchestratorClosed) and outcome.error.midway


async def test_a_reply_on_its_way_is_saved_and_the_thread_goes_on_in_the_next_one(storage: EntityStorage) -> None:
    gate, asked = Gate(), thread()
    orchestrator = gate.orchestrator(storage)
    [outcome] = await left(gate, orchestrator, lambda: orchestrator.run([asked]))
    assert was_closed(outcome)
    assert "what was answered is saved: run the thread again" in str(outcome)
    assert said(await storage.get(ChatThread, asked.ecs_id)) == said(asked) == [("user", "Hello."), ("assistant", "an answer")]
    async with orchestrator:
        [done] = await orchestrator.run([asked])
    assert (completed(done).reply.content, len(gate.client.requests)) == ("an answer", 1)


async def test_what_waits_is_not_begun(storage: EntityStorage) -> None:
    gate, threads = Gate(), [thread(str(number)) for number in range(5)]
    orchestrator = gate.orchestrator(storage)
    outcomes = await left(gate, orchestrator, lambda: orchestrator.run(threads, concurrency=2))
    assert [was_closed(outcome) for outcome in outcomes] == [True] * 5
    assert [len(each.history) for each in threads] == [2, 2, 0, 0, 0]
    assert len(gate.client.requests) == 2


async def test_an_endless_loop_ends(storage: EntityStorage) -> None:
    gate = Gate()
    orchestrator = gate.orchestrator(storage)
    outcomes: list[Outcome] = []

    def endless() -> Iterator[ChatThread]:
        return (thread(str(number)) for number in count())

    async def loop() -> None:
        async with aclosing(orchestrator.as_completed(endless(), concurrency=3)) as coming:
            async for outcome in coming:
                outcomes.append(outcome)  # noqa: PERF401 - what comes before the error counts

    with pytest.raises(OrchestratorClosed, match="was closed meanwhile"):
        await left(gate, orchestrator, loop)
    assert [was_closed(outcome) for outcome in outcomes] == [True] * 3
    assert [len(outcome.thread.history) for outcome in outcomes] == [2] * 3


@pytest.mark.parametrize("more", [0, 5])
async def test_a_loop_whose_orchestrator_is_left_says_so_only_if_something_is_left_to_be_done(storage: EntityStorage, more: int) -> None:
    orchestrator = InferenceOrchestrator(storage, clients={"scripted": FunctionClient(lambda _: "an answer")})
    async with orchestrator:
        coming = orchestrator.as_completed([thread(str(number)) for number in range(2 + more)], concurrency=1)
        outcomes = [await anext(coming) for _ in range(2)]
    assert all(outcome.ok for outcome in outcomes)
    with pytest.raises(OrchestratorClosed) if more else nullcontext():
        assert len([outcome async for outcome in coming]) == 0


async def test_a_stream_ends_with_an_outcome(storage: EntityStorage) -> None:
    gate, asked = Gate(), thread()
    orchestrator = gate.orchestrator(storage)

    async def events() -> list[Event]:
        return [event async for event in orchestrator.stream(asked)]

    *_, last = await left(gate, orchestrator, events)
    assert isinstance(last, Finished)
    assert was_closed(last.outcome)


async def test_a_stream_that_nobody_reads_meanwhile_holds_nobody_up(storage: EntityStorage) -> None:
    orchestrator = InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(["a long answer"])})
    async with orchestrator:
        events: AsyncGenerator[Event, None] = orchestrator.stream(thread())
        await anext(events)
    *_, last = [event async for event in events]
    assert isinstance(last, Finished)
    assert was_closed(last.outcome)


async def test_a_named_run_is_resumed(storage: EntityStorage) -> None:
    gate, threads = Gate(), [thread(str(number)) for number in range(4)]
    orchestrator = gate.orchestrator(storage)
    await left(gate, orchestrator, lambda: orchestrator.run(threads, concurrency=2, run_id="night"))
    run = await storage.runs().get("night")
    assert (run.counts.get(EntryState.failed, 0), run.holder) == (0, None)
    async with orchestrator:
        outcomes = [outcome async for outcome in orchestrator.resume("night", retry_failed=False)]
    assert (len(outcomes), {outcome.ok for outcome in outcomes}) == (4, {True})
    assert len(gate.client.requests) == 4


async def test_a_tool_that_runs_a_thread_itself_ends_too(storage: EntityStorage) -> None:
    gate, inner = Gate(), thread("inner")
    orchestrator = gate.orchestrator(storage)

    async def ask_another() -> str:
        """Ask somebody else."""
        [outcome] = await orchestrator.run([inner])
        return str(outcome)

    calls = ScriptedClient([ToolCall(id="1", name="ask_another"), "done"], name="calling")
    outer = thread(client="calling", tools=[CallableTool.from_callable(ask_another, replace=True)])
    orchestrator = InferenceOrchestrator(storage, clients={"scripted": gate.client, "calling": calls})
    [outcome] = await left(gate, orchestrator, lambda: orchestrator.run([outer]))
    assert was_closed(outcome)
    assert said(await storage.get(ChatThread, inner.ecs_id)) == [("user", "inner"), ("assistant", "an answer")]


async def test_a_call_that_was_cancelled_stays_so(storage: EntityStorage) -> None:
    gate = Gate()
    orchestrator = gate.orchestrator(storage)
    async with orchestrator:
        calling = asyncio.ensure_future(orchestrator.run([thread()]))
        await gate.asked.wait()
        calling.cancel()
        gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await calling
    with pytest.raises(MinferenceError, match="is not open: use it inside"):
        await orchestrator.run([thread()])
