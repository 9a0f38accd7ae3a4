"""Deadlines: what is begun, what is waited for and what is recorded when the time is over."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

import pytest

from minference.clients.base import Request, Response, TextDelta
from minference.clients.scripted import ScriptedClient
from minference.errors import DeadlineExceeded
from minference.inference.events import Finished
from minference.inference.limits import RateLimiter, RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Failed
from minference.inference.retries import Retrier
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.runs import EntryState
from minference.threads.messages import MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.inference.helpers import failed, said, thread
from tests.support.virtual_time import run_virtually, virtual_now


def scripted(memory: EntityStorage, client: ScriptedClient) -> InferenceOrchestrator:
    return InferenceOrchestrator(memory, clients={"scripted": client})


def adds(asked: ChatThread) -> str | ToolCall:
    """Calls `add` until it has been told to stop, which nobody does."""
    results = sum(message.role is MessageRole.tool for message in asked.history)
    return ToolCall.from_arguments(f"call-{results}", "add", {"a": results, "b": 1})


async def add_at_once(a: int, b: int) -> int:
    """Add in the event loop: virtual time does not wait for threads."""
    return a + b


class Slow(ScriptedClient):
    """Answers after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(self._answer)
        self.seconds = seconds

    async def _answer(self, asked: ChatThread) -> str | ToolCall:
        await asyncio.sleep(self.seconds)
        return adds(asked)


def run_late(
    seconds: float, *, drain: float, run: float, each: float | None = None
) -> tuple[list[tuple[str, str]], DeadlineExceeded, float]:
    async def main() -> tuple[list[tuple[str, str]], DeadlineExceeded, float]:
        retrier = Retrier(clock=virtual_now)
        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(storage, clients={"scripted": Slow(seconds)}, retry=retrier, drain_seconds=drain) as orchestrator,
        ):
            tool = CallableTool.from_callable(add_at_once, name="add", replace=True)
            chat = thread("Count.", tools=[tool])
            [outcome] = await orchestrator.run([chat], max_turns=100, deadline=run, thread_deadline=each)
            error = failed(outcome).error
            assert isinstance(error, DeadlineExceeded)
            return said(await storage.get(ChatThread, chat.ecs_id)), error, virtual_now()

    return run_virtually(main())


def test_after_the_deadline_no_call_begins_and_a_reply_on_its_way_is_saved() -> None:
    messages, error, ended = run_late(10.0, drain=30.0, run=15.0)
    assert (messages, ended) == ([("user", "Count."), ("assistant", ""), ("tool", "1"), ("assistant", "")], 20.0)
    assert str(error) == "the run was not done within 15 s: run it again to go on from what is saved, or allow more time"


def test_a_reply_that_does_not_come_within_the_grace_is_given_up_at_the_deadline() -> None:
    messages, error, ended = run_late(10.0, drain=2.0, each=15.0, run=100.0)
    assert (messages, ended) == ([("user", "Count."), ("assistant", ""), ("tool", "1")], 17.0)
    assert (error.of, error.seconds) == ("thread", 15.0)


class SlowStream(Slow):
    """Streams a word, and the rest after so many seconds."""

    async def stream(self, request: Request, *, timeout: float) -> AsyncGenerator[TextDelta | Response, None]:
        yield TextDelta("Well")
        await asyncio.sleep(self.seconds)


@pytest.mark.parametrize("streamed", [False, True], ids=["run", "stream"])
def test_an_attempt_that_is_under_way_at_the_deadline_is_recorded(streamed: bool) -> None:
    async def main() -> tuple[Failed, str | None]:
        retrier = Retrier(clock=virtual_now)
        clients = {"scripted": SlowStream(100.0)}
        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(storage, clients=clients, retry=retrier, drain_seconds=2.0) as orchestrator,
        ):
            if streamed:
                events = [event async for event in orchestrator.stream(thread(), deadline=5.0)]
                assert isinstance(events[-1], Finished)
                return failed(events[-1].outcome), None
            [outcome] = await orchestrator.run([thread()], deadline=5.0, run_id="late")
            [entry] = await storage.runs().entries("late", list(EntryState))
            return failed(outcome), entry.error

    outcome, noted = run_virtually(main())
    assert isinstance(outcome.error, DeadlineExceeded)
    [attempt] = outcome.attempts
    assert re.fullmatch(
        r"Abandoned \(after \d\.\d\d s\): its time was over before the whole reply came; the provider may count it", attempt
    )
    if not streamed:
        assert "(after 7.00 s)" in attempt
        assert noted == f"DeadlineExceeded: {outcome.error}\n{attempt}"


def test_no_attempt_is_recorded_that_was_not_sent() -> None:
    async def main() -> Failed:
        limits = RequestLimits(requests_per_minute=1)
        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(
                storage, clients={"scripted": ScriptedClient()}, limits=RateLimiter(limits, clock=virtual_now)
            ) as orchestrator,
        ):
            outcomes = await orchestrator.run([thread("a"), thread("b")], deadline=5.0)
            return failed(outcomes[1])

    assert run_virtually(main()).attempts == ()


@pytest.mark.parametrize("ready", [1, 3], ids=["nobody is asked", "one is being asked"])
def test_at_the_deadline_no_more_is_taken_from_an_iterable_and_it_is_closed(ready: int) -> None:
    async def main() -> tuple[list[float], list[str], float, list[float]]:
        taken, closed = list[float](), list[float]()

        async def endless() -> AsyncIterator[ChatThread]:
            try:
                for number in range(1000):
                    if number == ready:
                        await asyncio.sleep(100)
                    taken.append(virtual_now())
                    yield thread(str(number))
            finally:
                closed.append(virtual_now())

        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(slowly)}) as orchestrator,
        ):
            outcomes = orchestrator.as_completed(endless(), concurrency=2, deadline=15)
            found = [type(outcome).__name__ async for outcome in outcomes]
            return taken, found, virtual_now(), closed

    async def slowly(asked: ChatThread) -> str:
        await asyncio.sleep(10)
        return "Yes."

    if ready == 1:
        assert run_virtually(main()) == ([0.0], ["Completed"], 15.0, [15.0])
    else:  # the third is begun at 10, and answers within its grace
        assert run_virtually(main()) == ([0.0, 0.0, 10.0], ["Completed", "Completed", "Failed"], 20.0, [15.0])


def test_a_generator_that_always_has_more_ends_at_the_deadline() -> None:
    async def main() -> tuple[int, list[str], float]:
        def endless() -> Iterator[ChatThread]:
            try:
                for number in itertools.count():
                    yield thread(str(number))
            finally:
                closed.append("closed")

        closed: list[str] = []
        async with open_storage("memory:") as storage, scripted(storage, Slow(10.0)) as orchestrator:
            outcomes = orchestrator.as_completed(endless(), concurrency=4, deadline=15, until="turn")
            return sum([1 async for _ in outcomes]), closed, virtual_now()

    assert run_virtually(main()) == (8, ["closed"], 20.0)


def test_each_thread_of_a_list_has_an_outcome_after_the_deadline_too() -> None:
    async def main() -> list[str]:
        async with open_storage("memory:") as storage, scripted(storage, Slow(10.0)) as orchestrator:
            given = [thread(str(number)) for number in range(3)]
            return [type(outcome).__name__ async for outcome in orchestrator.as_completed(given, concurrency=1, deadline=15, until="turn")]

    assert run_virtually(main()) == ["Completed", "Failed", "Failed"]


async def test_a_timeout_of_the_iterable_is_told_and_not_taken_for_the_deadline(memory: EntityStorage) -> None:
    async def slow() -> AsyncIterator[ChatThread]:
        yield thread()
        raise TimeoutError("the source is slow")

    async with scripted(memory, ScriptedClient()) as orchestrator:
        with pytest.raises(TimeoutError, match="the source is slow"):
            [outcome async for outcome in orchestrator.as_completed(slow(), deadline=100)]
