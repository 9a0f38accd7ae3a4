"""A named run knows all of its threads before the first is asked anything, so that resuming it finishes all of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any, overload
from uuid import UUID

import pytest

from minference.clients.scripted import ScriptedClient
from minference.errors import ErasedLineage, InvalidRunName, RunNotFound, ThreadBusy
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.prices import Price
from minference.inference.spending import usage_by_day
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.runs import EntryState
from minference.threads.thread import ChatThread
from tests.inference import list_child
from tests.inference.helpers import completed, failed, thread, versions
from tests.support.nursery import run_program

pending, running, done, failed_state = EntryState


def scripted(storage: EntityStorage, client: ScriptedClient) -> InferenceOrchestrator:
    return InferenceOrchestrator(storage, clients={"scripted": client})


class Held(ScriptedClient):
    """Gives one reply, and then none until it is cancelled."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.stuck = asyncio.Event()

    async def _say(self, asked: ChatThread) -> str:
        if len(self.requests) == 1:
            return "Yes."
        self.stuck.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


async def began_with(storage: EntityStorage, threads: Any, method: str) -> None:
    """Begin with these, one at a time, and be cancelled while the second is asked."""
    client = Held()

    async def work() -> None:
        async with InferenceOrchestrator(storage, clients={"scripted": client}, drain_seconds=0.0) as orchestrator:
            if method == "run":
                await orchestrator.run(threads, run_id="nightly", concurrency=1)
            else:
                async with aclosing(orchestrator.as_completed(threads, run_id="nightly", concurrency=1)) as outcomes:
                    async for _ in outcomes:
                        pass

    working = asyncio.create_task(work())
    await client.stuck.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


@pytest.mark.parametrize("method", ["run", "as_completed"])
async def test_a_cancelled_run_is_resumed_with_threads_that_nobody_had_begun_with(storage: EntityStorage, method: str) -> None:
    threads = [thread(str(number)) for number in range(6)]
    await began_with(storage, threads, method)
    run = await storage.runs().get("nightly")
    assert run.counts == {done: 1, running: 1, pending: 4}
    assert [entry.lineage_id for entry in await storage.runs().entries("nightly")] == [each.lineage_id for each in threads]
    client = ScriptedClient()
    async with scripted(storage, client) as orchestrator:
        rest = [completed(outcome).content async for outcome in orchestrator.resume("nightly")]
    assert sorted(rest) == [f"You said: {number}" for number in range(1, 6)]
    assert len(client.requests) == 5


class Gated(ScriptedClient):
    """Gives no reply until it may."""

    def __init__(self, threads: int) -> None:
        super().__init__(self._say)
        self.all_asked, self.may = asyncio.Barrier(threads + 1), asyncio.Event()

    async def _say(self, asked: ChatThread) -> str:
        if not self.may.is_set():
            await self.all_asked.wait()
        await self.may.wait()
        return "Yes."


@pytest.mark.parametrize("what", ["run", "as_completed", "orchestrator"])
async def test_replies_that_came_after_a_run_was_to_end_count_in_it_once(storage: EntityStorage, what: str) -> None:
    client, threads = Gated(3), [thread(str(number)) for number in range(3)]

    async def work(orchestrator: InferenceOrchestrator) -> None:
        async with aclosing(orchestrator.as_completed(threads, run_id="nightly")) as outcomes:
            async for _ in outcomes:
                continue

    async with InferenceOrchestrator(
        storage, clients={"scripted": client}, prices={"scripted": Price(input=0, output=1000)}
    ) as orchestrator:
        call = work(orchestrator) if what != "run" else orchestrator.run(threads, run_id="nightly")
        working = asyncio.ensure_future(call)
        await client.all_asked.wait()
        asyncio.get_running_loop().call_later(0, client.may.set)
        if what != "orchestrator":
            working.cancel()
            await asyncio.wait([working])
    await asyncio.wait([working])
    run = await storage.runs().get("nightly")
    [used] = await usage_by_day(storage)
    assert used.cost_usd
    assert (run.counts, run.replies, run.tokens) == ({running: 3}, 3, used.prompt_tokens + used.completion_tokens)
    assert run.cost_usd == pytest.approx(used.cost_usd)
    async with InferenceOrchestrator(storage, clients={"scripted": client}) as orchestrator:
        assert {completed(outcome).content async for outcome in orchestrator.resume("nightly")} == {"Yes."}
    again = await storage.runs().get("nightly")
    assert (again.counts, again.replies, again.tokens, again.cost_usd) == ({done: 3}, 3, run.tokens, run.cost_usd)


@pytest.mark.parametrize("kind", ["iterator", "async iterator"])
async def test_threads_without_a_length_are_in_the_list_once_they_are_taken(storage: EntityStorage, kind: str) -> None:
    async def later(threads: Iterator[ChatThread]) -> AsyncIterator[ChatThread]:
        for each in threads:
            yield each

    lazy = (thread(str(number)) for number in range(6))
    await began_with(storage, lazy if kind == "iterator" else later(lazy), "as_completed")
    assert (await storage.runs().get("nightly")).counts == {done: 1, running: 1}


@pytest.mark.parametrize("kind", ["iterator", "async iterator"])
async def test_what_a_source_has_given_before_it_raises_is_done_and_marked_so(storage: EntityStorage, kind: str) -> None:
    all_asked = asyncio.Barrier(3)

    async def together(_asked: ChatThread) -> str:
        await all_asked.wait()
        return "Yes."

    def broken() -> Iterator[ChatThread]:
        yield from threads
        raise ZeroDivisionError("in the source")

    async def broken_later() -> AsyncIterator[ChatThread]:
        for each in broken():
            await asyncio.sleep(0)
            yield each

    async def work(orchestrator: InferenceOrchestrator) -> None:
        source = broken() if kind == "iterator" else broken_later()
        async for outcome in orchestrator.as_completed(source, run_id="nightly", concurrency=3):
            got.append(completed(outcome).thread_id)  # noqa: PERF401 - what came before the error counts

    threads = [thread(str(number)) for number in range(6)]
    got: list[UUID] = []
    async with scripted(storage, ScriptedClient(together)) as orchestrator:
        with pytest.raises(ZeroDivisionError, match="in the source"):
            await work(orchestrator)
    assert sorted(got) == sorted(each.lineage_id for each in threads)
    run = await storage.runs().get("nightly")
    assert (run.counts, run.replies) == ({done: 6}, 6)


async def test_a_thread_that_was_taken_when_its_run_is_cancelled_is_in_the_list(storage: EntityStorage) -> None:
    async def cancels() -> AsyncIterator[ChatThread]:
        working.cancel()
        yield chat

    async def work() -> None:
        async with aclosing(orchestrator.as_completed(cancels(), run_id="nightly")) as outcomes:
            async for _ in outcomes:
                continue

    chat, client = thread("a"), ScriptedClient()
    async with scripted(storage, client) as orchestrator:
        working = asyncio.create_task(work())
        with pytest.raises(asyncio.CancelledError):
            await working
        assert ((await storage.runs().get("nightly")).counts, client.requests) == ({pending: 1}, [])
        assert [completed(outcome).content async for outcome in orchestrator.resume("nightly")] == ["You said: a"]


async def test_after_kill_9_every_thread_of_the_run_is_done(sql_url: str) -> None:
    child = await asyncio.to_thread(run_program, "tests.inference.list_child", sql_url, timeout=60)
    assert child.returncode == -signal.SIGKILL
    client = ScriptedClient()
    async with open_storage(sql_url) as storage, scripted(storage, client) as orchestrator:
        assert (await storage.runs().get("nightly")).counts == {done: 2, running: 1, pending: 3}
        rest = [completed(outcome).content async for outcome in orchestrator.resume("nightly")]
        assert (await storage.runs().get("nightly")).counts == {done: list_child.THREADS}
    assert sorted(rest) == [f"You said: {number}" for number in range(2, 6)]


async def test_many_threads_are_entered_in_order_before_the_first_call(storage: EntityStorage) -> None:
    threads = [thread(str(number)) for number in range(1_100)]
    seen: list[tuple[int, int]] = []

    async def answer(_asked: ChatThread) -> str:
        if not seen:
            run = await storage.runs().get("nightly")
            entries = await storage.runs().entries("nightly", limit=2_000)
            seen.append((run.total, [entry.lineage_id for entry in entries] == [each.lineage_id for each in threads]))
        raise ZeroDivisionError

    async with scripted(storage, ScriptedClient(answer)) as orchestrator:
        with pytest.raises(ZeroDivisionError):
            await orchestrator.run(threads, run_id="nightly", concurrency=1)
    assert seen == [(1_100, True)]


async def test_a_thread_that_cannot_be_saved_fails_and_the_others_are_done(storage: EntityStorage) -> None:
    erased, good = thread("a"), thread("b")
    await storage.register(erased)
    await storage.erase(erased, reason="asked to", scrub=False)
    erased.new_message = "again"
    async with scripted(storage, ScriptedClient()) as orchestrator:
        refused, answered = await orchestrator.run([erased, good], run_id="nightly")
    assert isinstance(failed(refused).error, ErasedLineage)
    assert completed(answered).content == "You said: b"
    assert [entry.lineage_id for entry in await storage.runs().entries("nightly")] == [good.lineage_id]


class Lazy(Sequence[ChatThread]):
    """Makes its threads when it is asked for them."""

    @overload
    def __getitem__(self, place: int) -> ChatThread: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ChatThread]: ...
    def __getitem__(self, place: int | slice) -> ChatThread | Sequence[ChatThread]:
        if isinstance(place, slice):
            raise TypeError(place)
        if place >= len(self):
            raise IndexError(place)
        return thread(str(place))

    def __len__(self) -> int:
        return 3


async def test_a_sequence_that_makes_its_threads_anew_is_entered_as_it_is_run(memory: EntityStorage) -> None:
    async with scripted(memory, ScriptedClient()) as orchestrator:
        outcomes = await orchestrator.run(Lazy(), run_id="nightly")
        more = [outcome async for outcome in orchestrator.as_completed(Lazy(), run_id="weekly")]
    for name, those in (("nightly", outcomes), ("weekly", more)):
        run = await memory.runs().get(name)
        assert run.counts == {done: 3}
        assert {entry.lineage_id for entry in await memory.runs().entries(name)} == {each.thread_id for each in those}


async def test_what_cannot_name_a_run_is_refused_and_nothing_is_written(storage: EntityStorage) -> None:
    client, chat = ScriptedClient(), thread("a")
    names: list[Any] = ["", " ", "\n\t", " nightly", "nightly ", "night\0ly", "a\nb", "\ud800", "x" * 201, 7]
    async with scripted(storage, client) as orchestrator:
        for name in names:
            with pytest.raises(InvalidRunName, match="cannot be a run_id: use a text of 1 to 200 printable characters"):
                await orchestrator.run([chat], run_id=name)
            with pytest.raises(InvalidRunName):
                [_ async for _ in orchestrator.as_completed([chat], run_id=name)]
    assert (client.requests, await storage.runs().all(), await versions(storage)) == ([], [], {})
    assert chat.new_message == "a"


async def test_what_is_wrong_with_a_call_makes_no_run(storage: EntityStorage) -> None:
    twice = thread("a")
    async with scripted(storage, ScriptedClient()) as orchestrator:
        with pytest.raises(ThreadBusy):
            await orchestrator.run([twice, twice], run_id="nightly")
        with pytest.raises(ValueError, match="concurrency is 0"):
            await orchestrator.run([twice], run_id="nightly", concurrency=0)
        with pytest.raises(ValueError, match="concurrency is 0"):
            [_ async for _ in orchestrator.as_completed([twice], run_id="nightly", concurrency=0)]
    with pytest.raises(RunNotFound):
        await storage.runs().get("nightly")
    assert await versions(storage) == {}
