"""Named runs: which threads are to be done is kept in the storage, so that any process can go on where another was ended."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import aclosing, closing

import pytest

from minference.clients.scripted import ScriptedClient
from minference.ecs.identity import utc_now
from minference.errors import ProviderRefused, RunBusy, RunNotFound, UnknownChoice, WriteFailed
from minference.inference.holders import LEASE
from minference.inference.journal import Journal
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Outcome
from minference.inference.progress import ProgressEvent, RunStarted
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.runs import EntryState
from minference.threads.messages import MessageRole, ToolCall
from minference.threads.thread import ChatThread
from tests.inference.helpers import add_tool, completed, failed, said, thread

pending, running, done, failed_state = EntryState
REFUSED = ProviderRefused("scripted", "no", status=400)


def scripted(storage: EntityStorage, client: ScriptedClient) -> InferenceOrchestrator:
    return InferenceOrchestrator(storage, clients={"scripted": client})


async def resumed(orchestrator: InferenceOrchestrator, *, retry_failed: bool = True) -> list[Outcome]:
    return [outcome async for outcome in orchestrator.resume("nightly", retry_failed=retry_failed)]


@pytest.mark.parametrize("method", ["run", "as_completed"])
async def test_a_named_run_keeps_how_far_each_thread_is(storage: EntityStorage, method: str) -> None:
    threads = [thread(str(number)) for number in range(3)]
    client = ScriptedClient(lambda asked: REFUSED if asked.history[-1].content == "1" else "Yes.")
    async with scripted(storage, client) as orchestrator:
        if method == "run":
            await orchestrator.run(threads, run_id="nightly", max_turns=4, until="turn")
        else:
            [_ async for _ in orchestrator.as_completed(iter(threads), run_id="nightly", max_turns=4, until="turn")]
    run = await storage.runs().get("nightly")
    assert (run.counts, run.replies, run.unpriced) == ({done: 2, failed_state: 1}, 2, 2)
    assert (run.settings, run.holder, run.status(utc_now())) == ({"max_turns": 4, "until": "turn"}, None, "failed")
    assert run.tokens == sum(each.history[-1].usage.total_tokens for each in threads if each.history[-1].usage)
    entries = {entry.lineage_id: entry for entry in await storage.runs().entries("nightly")}
    told = entries[threads[1].lineage_id].error
    assert told is not None
    assert [line.partition(" (")[0] for line in told.splitlines()] == ["ProviderRefused: scripted: no", "ProviderRefused"]
    assert [entries[each.lineage_id].error for each in (threads[0], threads[2])] == [None, None]


async def test_resuming_retries_what_failed_and_does_what_nobody_began_with(storage: EntityStorage) -> None:
    threads = [thread(str(number)) for number in range(4)]
    client = ScriptedClient(["Yes.", REFUSED, REFUSED, "Now.", "At last."])
    told: list[ProgressEvent] = []
    async with InferenceOrchestrator(storage, clients={"scripted": client}, progress=told.append) as orchestrator:
        await orchestrator.run(threads[:3], run_id="nightly", concurrency=1)
        [unchanged] = [await resumed(orchestrator, retry_failed=False)]
        await storage.register(threads[3])
        await storage.runs().add("nightly", [threads[3].lineage_id])
        client._script.append("Me too.")
        again = await resumed(orchestrator)
        nothing = await resumed(orchestrator)
    assert (unchanged, nothing) == ([], [])
    assert sorted(completed(outcome).content for outcome in again) == ["At last.", "Me too.", "Now."]
    assert {outcome.thread_id for outcome in again} == {each.lineage_id for each in threads[1:]}
    assert (await storage.runs().get("nightly")).counts == {done: 4}
    assert [event.threads for event in told if isinstance(event, RunStarted)] == [3, 0, 3, 0]
    assert [entry.starts for entry in await storage.runs().entries("nightly")] == [1, 2, 2, 1]


async def test_a_run_that_was_left_in_the_middle_goes_on_with_what_it_was_told(storage: EntityStorage) -> None:
    def counts(asked: ChatThread) -> ToolCall:
        results = sum(message.role is MessageRole.tool for message in asked.history)
        return ToolCall.from_arguments(f"call-{results}", "add", {"a": results, "b": 1})

    client = ScriptedClient(counts)
    threads = [thread(str(number), tools=[add_tool()]) for number in range(6)]
    async with (
        scripted(storage, client) as orchestrator,
        aclosing(orchestrator.as_completed(iter(threads), run_id="nightly", concurrency=1, until="turn")) as outcomes,
    ):
        await anext(outcomes)
        await anext(outcomes)
    begun = await storage.runs().get("nightly")
    assert begun.status(utc_now()) in ("interrupted", "done")
    async with scripted(storage, client) as orchestrator:
        again = await orchestrator.run(threads, run_id="nightly", until="turn")
        rest = await resumed(orchestrator)
    assert ([outcome.thread for outcome in again], rest) == (threads, [])
    assert (await storage.runs().get("nightly")).counts == {done: 6}


async def test_two_processes_do_not_work_on_one_run_at_once(storage: EntityStorage) -> None:
    began, gate = asyncio.Event(), asyncio.Event()

    async def answer(asked: ChatThread) -> str:
        began.set()
        await gate.wait()
        return "Yes."

    client = ScriptedClient(answer)
    async with scripted(storage, client) as orchestrator, scripted(storage, ScriptedClient()) as other:
        working = asyncio.create_task(orchestrator.run([thread("a")], run_id="nightly"))
        await began.wait()
        seen = await storage.runs().get("nightly")
        with pytest.raises(RunBusy):
            await resumed(other)
        with pytest.raises(RunBusy):
            await other.run([thread("b")], run_id="nightly")
        gate.set()
        await working
        assert (seen.counts, seen.status(utc_now())) == ({running: 1}, "running")
        assert await resumed(other) == []


async def test_a_run_whose_process_is_dead_is_taken_over_at_once(memory: EntityStorage) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    import socket

    async def taken_from(holder: str) -> None:
        await memory.runs().take("nightly", holder, LEASE, settings={})
        async with Journal(memory.runs(), "nightly", None):
            pass

    await taken_from(f"{socket.gethostname()}:{child.pid}:abc")
    for alive in (f"{socket.gethostname()}:{os.getpid()}:abc", f"elsewhere:{child.pid}:abc", "somebody"):
        with pytest.raises(RunBusy):
            await taken_from(alive)
        await memory.runs().release("nightly", alive)


async def test_a_run_that_was_never_begun_is_not_found(storage: EntityStorage) -> None:
    async with scripted(storage, ScriptedClient()) as orchestrator:
        with pytest.raises(RunNotFound, match="no run is called 'nightly'"):
            await resumed(orchestrator)


async def test_a_thread_is_in_the_work_list_before_it_is_asked_anything(storage: EntityStorage) -> None:
    seen: list[bool] = []

    async def answer(asked: ChatThread) -> str:
        entries = await storage.runs().entries("nightly", [running])
        heads = [(await storage.heads(entry.lineage_id))[0] for entry in entries]
        seen.append(asked.history[0].content in [(await storage.get(ChatThread, head.ecs_id)).history[0].content for head in heads])
        return "Yes."

    async with scripted(storage, ScriptedClient(answer)) as orchestrator:
        await orchestrator.run([thread(str(number)) for number in range(5)], run_id="nightly")
    assert seen == [True] * 5


async def test_notes_that_come_together_are_written_together(sqlite_storage_url: str) -> None:
    async with open_storage(sqlite_storage_url) as storage, scripted(storage, ScriptedClient()) as orchestrator:
        outcomes = await orchestrator.run([thread(str(number)) for number in range(50)], run_id="nightly")
        entries = await storage.runs().entries("nightly")
    assert Counter(outcome.ok for outcome in outcomes) == {True: 50}
    assert len({entry.updated_at for entry in entries}) < 30, "each transaction has one time"


async def test_a_run_that_cannot_be_written_down_asks_nothing(sqlite_storage_url: str) -> None:
    def in_the_file(sql: str) -> None:
        with closing(sqlite3.connect(sqlite_storage_url.removeprefix("sqlite:///"))) as connection:
            connection.execute(sql)

    in_the_file("CREATE TRIGGER full BEFORE INSERT ON run_entry BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
    client, chat, late = ScriptedClient(), thread("a"), thread("b")
    async with open_storage(sqlite_storage_url) as storage, scripted(storage, client) as orchestrator:
        with pytest.raises(WriteFailed, match="the disk is full"):
            await orchestrator.run([chat], run_id="nightly")
        [outcome] = [each async for each in orchestrator.as_completed(iter([late]), run_id="nightly")]
        assert isinstance(failed(outcome).error, WriteFailed)
        assert client.requests == []
        in_the_file("DROP TRIGGER full")
        outcomes = await orchestrator.run([chat, late], run_id="nightly")
    assert [completed(outcome).content for outcome in outcomes] == ["You said: a", "You said: b"]


async def test_who_loses_the_run_to_another_process_stops_and_says_so(sql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.inference.journal.LEASE", 0.03)
    asked = asyncio.Event()

    async def answer(_asked: ChatThread) -> str:
        runs = storage.runs()
        await runs.take("nightly", "thief", LEASE, settings=None, instead_of=(await runs.get("nightly")).holder)
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async with open_storage(sql_url) as storage:
        clients = {"scripted": ScriptedClient(answer)}
        async with InferenceOrchestrator(storage, clients=clients, drain_seconds=0.0) as orchestrator:
            with pytest.raises(RunBusy):
                await orchestrator.run([chat := thread("a")], run_id="nightly")
        assert asked.is_set()
        assert (await storage.runs().get("nightly")).holder == "thief"
        assert said(await storage.get(ChatThread, chat.ecs_id)) == [("user", "a")]


async def test_a_mistyped_goal_is_refused_before_anything_is_asked(memory: EntityStorage) -> None:
    client = ScriptedClient()
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        with pytest.raises(UnknownChoice, match="until cannot be 'trun': use 'done' or 'turn'"):
            await orchestrator.run([], until="trun")  # type: ignore[arg-type]  # the mistake under test
