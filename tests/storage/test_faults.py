"""What a storage promises when processes die, race, run out of space or lose their connection."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from subprocess import PIPE
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from typing_extensions import Unpack

from minference.errors import ReadFailed, StorageClosed, VersionExists, WriteFailed
from minference.storage.base import EntityStorage
from minference.storage.committer import QUIET_TURNS
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.storage.edits import Thing
from tests.storage.proxy import PostgresProxy
from tests.storage.tables import broken_rules
from tests.support.examples import examples
from tests.support.nursery import AsyncProgram, Options, running


def a_thread(*contents: str) -> ChatThread:
    history = [ChatMessage(role=MessageRole.user, content=content) for content in contents]
    return ChatThread(llm_config=LLMConfig(client="scripted", model="m"), history=history)


async def contents(storage: EntityStorage, ecs_id: UUID | str) -> list[str]:
    """What the messages of a stored version say."""
    return [message.content for message in (await storage.get(ChatThread, UUID(str(ecs_id)))).history]


def child(*arguments: str, **options: Unpack[Options]) -> AbstractAsyncContextManager[AsyncProgram]:
    """A process that runs a function of `fault_child`; killed at the end if it has not ended."""
    pipes: Options = {"stdin": PIPE, "stdout": PIPE}
    pipes.update(options)
    return running("tests.storage.fault_child", *arguments, **pipes)


async def heard(process: AsyncProgram) -> Any:
    """The next thing that a child says."""
    assert process.stdout is not None
    return json.loads(await process.stdout.readline())


async def said_at_the_end(*commands: tuple[str, ...], **options: Unpack[Options]) -> list[Any]:
    """What each of some children says last; they work at the same time."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(child(*command, **options)) for command in commands]
        for process in processes:
            assert await heard(process) == "ready"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        last = [await heard(process) for process in processes]
        assert [await process.ended() for process in processes] == [0] * len(processes)
    return last


async def test_after_a_kill_every_acknowledged_version_is_restored_and_the_next_process_goes_on(sql_url: str) -> None:
    acknowledged: dict[str, int] = {}
    latest: list[str] = []
    for saves in (1, 7, 30, 80):
        async with child("loop", sql_url, *latest) as process:
            for _ in range(saves):
                ecs_id, length = await heard(process)
                acknowledged[ecs_id] = length
            process.kill()
            assert process.stdout is not None
            lines = (await process.stdout.read()).decode().splitlines(keepends=True)
        acknowledged.update(json.loads(line) for line in lines if line.endswith("\n"))
        latest = [list(acknowledged)[-1]]
    assert await broken_rules(sql_url) == []
    async with open_storage(sql_url) as storage:
        first = await storage.info(UUID(next(iter(acknowledged))))
        assert acknowledged.keys() <= {str(version.ecs_id) for version in await storage.lineage(first.lineage_id)}
        some = [*list(acknowledged.items())[:: len(acknowledged) // 30], list(acknowledged.items())[-1]]
        for ecs_id, length in some:
            assert await contents(storage, ecs_id) == [str(number) for number in range(length)]
    assert len(acknowledged) >= 118


async def test_processes_that_continue_one_version_make_branches_and_lose_nothing(sql_url: str) -> None:
    thread = a_thread("base")
    async with open_storage(sql_url) as storage:
        await storage.register(thread)
        base = str(thread.ecs_id)
        names = ("one", "two", "three")
        ends = await said_at_the_end(*(("append", sql_url, name, "20", base) for name in names))
        for name, [end] in zip(names, ends, strict=True):
            assert await contents(storage, end) == ["base", *(f"{name} {number}" for number in range(20))]
        assert {str(head.ecs_id) for head in await storage.heads(thread.lineage_id)} == {end for [end] in ends}
        assert len(await storage.lineage(thread.lineage_id)) == 1 + 3 * 20
    assert await broken_rules(sql_url) == []


async def test_processes_that_save_different_threads_at_once_lose_no_save(sql_url: str) -> None:
    threads = [a_thread(str(number)) for number in range(6)]
    async with open_storage(sql_url) as storage:
        await storage.register(*threads)
        pairs = [[str(thread.ecs_id) for thread in threads[i : i + 2]] for i in (0, 2, 4)]
        ends = await said_at_the_end(*(("append", sql_url, f"p{i}", "15", *pair) for i, pair in enumerate(pairs)))
        for number, end in enumerate(ecs_id for pair in ends for ecs_id in pair):
            assert await contents(storage, end) == [str(number), *(f"p{number // 2} {i}" for i in range(15))]
        assert [len(await storage.heads(thread.lineage_id)) for thread in threads] == [1] * 6


async def test_of_processes_that_do_not_want_to_branch_exactly_one_is_first(sql_url: str) -> None:
    thread = a_thread()
    async with open_storage(sql_url) as storage:
        await storage.register(thread)
        answers = await said_at_the_end(*[("claim", sql_url, str(thread.ecs_id))] * 4)
        assert sorted(outcome for outcome, _, _ in answers) == ["first", "late", "late", "late"]
        assert {(ecs_id, name) for outcome, ecs_id, name in answers if outcome == "late"} == {(str(thread.ecs_id), "mine")}
        [head] = await storage.heads(thread.lineage_id)
        assert [ecs_id for outcome, ecs_id, _ in answers if outcome == "first"] == [str(head.ecs_id)]


async def test_a_full_disk_is_said_and_the_save_succeeds_when_there_is_space_again(sqlite_url: str) -> None:
    async with open_storage(sqlite_url) as storage:
        await storage.register(a_thread())
    async with child("full", sqlite_url) as process:
        first, *refusals, last = [await heard(process) for _ in range(4)]
        assert await process.ended() == 0
    for reason, ecs_id, length in refusals:
        assert "disk" in reason
        assert "still hold the changes" in reason
        assert (ecs_id, length) == (first, 1)
    async with open_storage(sqlite_url) as storage:
        assert [len(text) for text in await contents(storage, last)] == [2_000_000]
        assert await contents(storage, first) == []
        assert (await storage.info(UUID(last))).parent_id == UUID(first)
    assert await broken_rules(sqlite_url) == []


async def test_a_database_that_must_not_be_written_is_read_and_refuses_saves(sqlite_url: str) -> None:
    thread = a_thread("a")
    async with open_storage(sqlite_url) as storage:
        await storage.register(thread)
    before = thread.ecs_id
    async with open_storage(sqlite_url.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true") as storage:
        assert await contents(storage, before) == ["a"]
        thread.name = "new"
        with pytest.raises(WriteFailed, match="it cannot be written; check the permissions"):
            await storage.register(thread)
    async with open_storage(sqlite_url) as storage:
        await storage.register(thread)
        assert (thread.parent_id, (await storage.get(ChatThread, thread.ecs_id)).name) == (before, "new")


async def test_connections_that_are_killed_again_and_again_cost_no_save(postgresql_url: str) -> None:
    thread = a_thread()
    kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with open_storage(postgresql_url) as storage:
        killer = await asyncpg.connect(postgresql_url)
        try:
            for number in range(60):
                thread.history.append(ChatMessage(role=MessageRole.user, content=str(number)))
                saving = asyncio.ensure_future(storage.register(thread))
                for _ in range(number % 16):
                    await asyncio.sleep(0)
                if number % 3 == 0:
                    await killer.execute(kill)
                await saving
        finally:
            await killer.close()
        assert await contents(storage, thread.ecs_id) == [str(number) for number in range(60)]
        assert [len(await storage.lineage(message.lineage_id)) for message in thread.history] == [1] * 60
        assert len(await storage.heads(thread.lineage_id)) == 1


async def test_a_commit_whose_answer_was_lost_is_not_made_again(postgresql_url: str) -> None:
    async with PostgresProxy(postgresql_url) as proxy, open_storage(proxy.url) as storage:
        thread = a_thread("a")
        await storage.register(thread)
        thread.history.append(ChatMessage(role=MessageRole.assistant, content="paid for"))
        proxy.lose_answer_to(b"COMMIT")
        commit = await storage.submit(thread)
        assert proxy.lost == 1
        assert commit.versions == (thread.history[1].ecs_id, thread.ecs_id)
        assert not commit.branched
        assert [len(await storage.lineage(entity.lineage_id)) for entity in (thread, thread.history[1])] == [2, 1]
        thread.name = "goes on"
        assert not (await storage.submit(thread)).branched


async def test_saves_and_reads_wait_for_a_server_that_is_away(postgresql_url: str) -> None:
    async with PostgresProxy(postgresql_url) as proxy, open_storage(proxy.url) as storage:
        thread = a_thread("a")
        await storage.register(thread)
        first = thread.ecs_id
        thread.name = "new"
        proxy.refuse(4)
        await storage.register(thread)
        assert thread.parent_id == first
        proxy.refuse(3)
        assert await contents(storage, thread.ecs_id) == ["a"]
        assert proxy.refused == 7


async def test_a_server_that_stays_away_is_said_and_the_objects_keep_their_changes(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minference.storage.sql.driver.PATIENCE", 0.2)
    async with PostgresProxy(postgresql_url) as proxy, open_storage(proxy.url) as storage:
        thread = a_thread("a")
        await storage.register(thread)
        first = thread.ecs_id
        thread.name = "new"
        proxy.refuse(10_000)
        with pytest.raises(WriteFailed, match=r"not reachable|clos"):
            await storage.register(thread)
        assert (thread.ecs_id, thread.name) == (first, "new")
        with pytest.raises(ReadFailed, match="asking again is safe"):
            await storage.info(first)
        proxy.refuse(0)
        await storage.register(thread)
        assert [info.ecs_id for info in await storage.lineage(thread.lineage_id)] == [first, thread.ecs_id]


async def test_closing_writes_what_is_pending(sql_url: str) -> None:
    threads = [a_thread(str(number)) for number in range(30)]
    async with open_storage(sql_url) as storage:
        for thread in threads[:10]:
            storage.submit(thread)
        for _ in range(QUIET_TURNS + 3):  # these are being written now
            await asyncio.sleep(0)
        for thread in threads[10:]:
            storage.submit(thread)
    async with open_storage(sql_url) as storage:
        assert [await contents(storage, thread.ecs_id) for thread in threads] == [[str(number)] for number in range(30)]


async def test_a_closed_storage_says_so(storage_url: str) -> None:
    thread = a_thread()
    async with open_storage(storage_url) as storage:
        await storage.register(thread)
    for use in (storage.register(thread), storage.get(ChatThread, thread.ecs_id), storage.flush(), storage.lineage(thread.lineage_id)):
        with pytest.raises(StorageClosed, match="not open"):
            await use
    with pytest.raises(StorageClosed):
        storage.submit(thread)


async def test_a_bad_save_fails_alone_with_what_stands_on_it(storage: EntityStorage) -> None:
    stored = Thing(name="stored")
    await storage.register(stored)
    good, bad, other = Thing(name="good"), Thing(items=[Thing.model_validate(stored.model_dump())]), Thing(name="other")
    first = bad.ecs_id
    pending = [storage.submit(thing) for thing in (good, bad)]
    bad.name = "on top of it"
    later = Thing(one=bad)
    pending += [storage.submit(thing) for thing in (later, other)]
    results = await asyncio.gather(*pending, return_exceptions=True)
    assert [type(result) for result in results] == [type(results[0]), VersionExists, VersionExists, type(results[0])]
    assert [await storage.has_entity(thing.ecs_id) for thing in (good, bad, later, other)] == [True, False, False, True]
    assert (bad.ecs_id, bad.parent_id) == (first, None)
    bad.items.clear()
    assert (await storage.submit(later)).versions == (bad.ecs_id, later.ecs_id)
    assert (await storage.get(Thing, later.ecs_id)).one is not None


async def test_a_failure_that_a_cancelled_task_does_not_hear_is_said_by_flush(storage: EntityStorage) -> None:
    stored = Thing()
    await storage.register(stored)
    forged = Thing.model_validate(stored.model_dump())
    save = asyncio.ensure_future(storage.register(forged))
    await asyncio.sleep(0)
    save.cancel()
    await asyncio.gather(save, return_exceptions=True)
    with pytest.raises(VersionExists):
        await storage.flush()
    await storage.flush()


async def test_ten_thousand_messages_are_saved_and_loaded_in_one_go(storage: EntityStorage) -> None:
    thread = a_thread(*map(str, range(10_000)))
    commit = await storage.submit(thread)
    assert len(commit.versions) == 10_002
    assert await contents(storage, thread.ecs_id) == [str(number) for number in range(10_000)]


async def test_a_chain_longer_than_calls_can_be_nested_is_saved_loaded_and_changed_at_its_end(storage: EntityStorage) -> None:
    length = examples(2 * sys.getrecursionlimit(), 5_000)
    last = root = Thing(name="end")
    for number in range(length - 1):
        root = Thing(name=str(number), one=root)
    assert len((await storage.submit(root)).versions) == length
    last.name = "changed"
    assert len((await storage.submit(root)).versions) == length
    copy = await storage.get(Thing, root.ecs_id)
    names = [copy.name, *(entity.name for entity in copy.get_sub_entities() if isinstance(entity, Thing))]
    assert names == [*map(str, reversed(range(length - 1))), "changed"]
