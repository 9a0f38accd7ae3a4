"""What an erasure promises when processes die, race, run out of space or lose their connection."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from minference.errors import WriteFailed
from minference.storage.open import open_storage
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread
from tests.storage.erasures import a_thread, everything, files_with, tables_with
from tests.storage.proxy import PostgresProxy
from tests.storage.tables import broken_rules
from tests.storage.test_faults import child, heard

SECRET = "Wintermute"


async def test_an_erasure_that_is_killed_leaves_all_or_nothing(sql_url: str) -> None:
    thread = a_thread(*(f"{SECRET} {number}" for number in range(120)))
    async with open_storage(sql_url) as storage:
        await storage.register(thread)
    for words in (0, 1, 3):
        async with child("erase", sql_url, str(thread.lineage_id)) as process:
            assert await heard(process) == "ready"
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            for _ in range(words):
                await heard(process)
            process.kill()
        async with open_storage(sql_url) as storage:
            assert await storage.check() == []
            texts = [message.content for message in (await storage.get(ChatThread, thread.ecs_id)).history]
            whole, empty = [f"{SECRET} {number}" for number in range(120)], [""] * 120
            assert texts == (whole if await storage.erasures(thread.lineage_id) == [] else empty)
    async with open_storage(sql_url) as storage:
        assert (await storage.erase(thread, reason="asked to")).remains == ()
        assert SECRET not in await everything(storage, ChatMessage)
    assert await broken_rules(sql_url) == []


async def test_a_warm_copy_in_another_process_cannot_bring_the_content_back(sql_url: str) -> None:
    thread = a_thread(SECRET, "kept")
    async with open_storage(sql_url) as storage:
        await storage.register(thread)
        async with child("bring back", sql_url, str(thread.ecs_id)) as process:
            assert await heard(process) == "ready"
            await storage.erase(thread.history[0], reason="asked to")
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            refused, version, content = await heard(process)
            assert (refused, version, content) == (str(thread.history[0].lineage_id), str(thread.ecs_id), "back")
            goes_on = await heard(process)
            assert await process.ended() == 0
        assert [message.content for message in (await storage.latest(ChatThread, thread.lineage_id)).history] == ["", "kept", "more"]
        assert str((await storage.heads(thread.lineage_id))[0].ecs_id) == goes_on
        assert await tables_with(sql_url, SECRET) == []


async def test_processes_that_save_while_another_erases_lose_nothing_and_keep_nothing_of_it(sql_url: str) -> None:
    doomed, other = a_thread(*(f"{SECRET} {number}" for number in range(50))), a_thread("base")
    async with open_storage(sql_url) as storage:
        await storage.register(doomed, other)
        async with child("append", sql_url, "own", "30", str(other.ecs_id)) as saver, child("feed", sql_url, str(doomed.ecs_id)) as feeder:
            for process in (saver, feeder):
                assert await heard(process) == "ready"
                assert process.stdin is not None
                process.stdin.write(b"go\n")
            saved = [await heard(feeder) for _ in range(5)]
            done = await storage.erase(doomed, reason="asked to")
            assert len(saved) == 5
            [end] = await heard(saver)
            while not isinstance(last := await heard(feeder), dict):
                pass
            assert last == {"refused": str(doomed.lineage_id)}
        assert done.scope.kinds["chat_message"].lineages >= 55
        assert [message.content for message in (await storage.latest(ChatThread, other.lineage_id)).history] == [
            "base",
            *(f"own {number}" for number in range(30)),
        ]
        assert str((await storage.heads(other.lineage_id))[0].ecs_id) == end
        assert await tables_with(sql_url, SECRET) == []
        assert await storage.check() == []


async def test_two_processes_that_erase_the_same_put_up_one_tombstone(sql_url: str) -> None:
    thread = a_thread(SECRET)
    async with open_storage(sql_url) as one, open_storage(sql_url) as two:
        await one.register(thread)
        done = await asyncio.gather(one.erase(thread, reason="one", scrub=False), two.erase(thread, reason="two", scrub=False))
        assert sorted((each.scope.versions, each.already) for each in done) == [(0, True), (3, False)]
        assert done[0].erasure == done[1].erasure
        assert len(await one.erasures()) == 3


async def test_a_full_disk_leaves_everything_as_it_was(sqlite_url: str) -> None:
    thread = a_thread(*(f"{SECRET} {'x' * 5_000}" for _ in range(100)))
    async with open_storage(sqlite_url) as storage:
        await storage.register(thread)
    async with child("erase on a full disk", sqlite_url, str(thread.lineage_id)) as process:
        assert "disk" in await heard(process)
        assert await heard(process) == []
        assert await process.ended() == 0
    async with open_storage(sqlite_url) as storage:
        assert await storage.check() == []
        assert len([each for each in (await storage.get(ChatThread, thread.ecs_id)).history if SECRET in each.content]) == 100
        await storage.erase(thread, reason="asked to")
    assert files_with(sqlite_url, SECRET) == []


async def test_an_erasure_whose_answer_was_lost_is_told_as_done(postgresql_url: str) -> None:
    async with PostgresProxy(postgresql_url) as proxy, open_storage(proxy.url) as storage:
        thread = a_thread(SECRET)
        await storage.register(thread)
        proxy.lose_answer_to(b"COMMIT")
        done = await storage.erase(thread, reason="asked to")
        assert proxy.lost == 1
        assert (done.already, done.scope.versions) == (False, 3)
        assert len(await storage.erasures()) == 3
        assert await tables_with(postgresql_url, SECRET) == []


async def test_connections_that_are_killed_in_the_middle_leave_nothing_half_done(postgresql_url: str) -> None:
    kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with open_storage(postgresql_url) as storage:
        killer = await asyncpg.connect(postgresql_url)
        try:
            for number in range(12):
                thread = a_thread(f"{SECRET} {number}", "b")
                await storage.register(thread)
                erasing = asyncio.ensure_future(storage.erase(thread, reason="asked to", scrub=False))
                for _ in range(number * 4):
                    await asyncio.sleep(0)
                await killer.execute(kill)
                assert (await erasing).scope.versions == 4
                assert len(await storage.erasures()) == 4 * (number + 1)
        finally:
            await killer.close()
        assert await storage.check() == []
        assert await tables_with(postgresql_url, SECRET) == []


async def test_a_server_that_stays_away_is_said_and_nothing_was_erased(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.storage.sql.driver.PATIENCE", 0.0)
    async with PostgresProxy(postgresql_url) as proxy, open_storage(proxy.url) as storage:
        thread = a_thread(SECRET)
        await storage.register(thread)
        proxy.refuse(1_000)
        with pytest.raises(WriteFailed):
            await storage.erase(thread, reason="asked to")
        proxy.refuse(0)
        assert (await storage.get(ChatThread, thread.ecs_id)).history[0].content == SECRET
