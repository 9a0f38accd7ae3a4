"""Export and import know what was erased: it does not come back, and tombstones travel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from minference.ecs.entity import Entity
from minference.errors import ErasedLineage, InvalidExport
from minference.storage.base import EntityStorage
from minference.storage.lines import HEADER
from minference.storage.open import open_storage
from minference.storage.portable import Imported
from minference.threads.thread import ChatThread
from tests.storage.erasures import a_full_thread, a_thread, everything, reply, said, tables_with
from tests.storage.test_erasing import DAY, Diary
from tests.support.exports import export_of
from tests.support.sqlite import with_tables

SECRET = "Wintermute"


ONE = str(UUID(int=1))
TOMBSTONE = {"lineage": ONE, "at": "2026-01-01T00:00:00Z", "reason": "r", "author": None, "because_of": ONE}


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[EntityStorage]:
    """A second, empty storage."""
    async with open_storage(with_tables(tmp_path / "other.db")) as opened:
        yield opened


async def exported(storage: EntityStorage, *lineages: UUID) -> list[str]:
    return [line async for line in storage.export_lines(lineages or None)]


async def texts_of(storage: EntityStorage, ecs_id: UUID) -> list[tuple[str, bool]]:
    return [(message.content, message.erased) for message in (await storage.get(ChatThread, ecs_id)).history]


async def test_an_export_carries_tombstones_and_no_content(storage: EntityStorage, other: EntityStorage) -> None:
    thread = a_full_thread(SECRET)
    thread.history.append(said("kept"))
    await storage.register(thread)
    await reply(storage, thread, SECRET)
    diary = Diary(title=SECRET, pages=1, day=DAY, named={SECRET: Diary(title="a", pages=1, day=DAY)})
    await storage.register(diary)
    await storage.erase(thread, reason="asked to \0", author="ann")
    await storage.erase(diary, reason="also")
    lines = await exported(storage)
    assert not any(SECRET in line for line in lines)
    tombstones = [json.loads(line)["erased"] for line in lines[1:] if line.startswith('{"erased"')]
    assert [UUID(each["lineage"]) for each in tombstones] == [each.lineage_id for each in await storage.erasures()]
    done = await other.import_lines(lines)
    versions = (await storage.status()).versions
    emptied = done.emptied
    assert done == Imported(commits=done.commits, versions=versions, present=0, emptied=emptied, erased=0)
    assert await other.erasures() == await storage.erasures()
    assert await exported(other) == lines
    assert (await other.get(ChatThread, thread.ecs_id)).erased
    assert await other.check() == []
    assert await other.import_lines(lines) == Imported(commits=0, versions=0, present=versions)


async def test_only_tombstones_of_what_is_exported_are_in_an_export(storage: EntityStorage) -> None:
    one, two = a_thread(SECRET), a_thread("b")
    await storage.register(one, two)
    await storage.erase(one.history[0], reason="asked to")
    await storage.erase(two.history[0], reason="asked to")
    lines = await exported(storage, two.lineage_id)
    assert [json.loads(line)["erased"]["lineage"] for line in lines if "erased" in json.loads(line)] == [str(two.history[0].lineage_id)]


async def test_what_is_erased_here_stays_erased_when_an_older_export_is_imported(storage: EntityStorage, other: EntityStorage) -> None:
    thread = a_thread("hello", f"first {SECRET}")
    diary = Diary(title=SECRET, pages=1, day=DAY, named={SECRET: Diary(title="a", pages=1, day=DAY)})
    await other.register(thread, diary)
    await storage.import_lines(await exported(other))
    thread.history[1].content = f"second {SECRET}"
    diary.pages = 2
    await other.register(thread, diary)
    thread.history.append(said("more"))
    await other.register(thread)
    await storage.erase(thread.history[1].lineage_id, reason="asked to")
    await storage.erase(diary.lineage_id, reason="asked to")
    done = await storage.import_lines(await exported(other))
    assert (done.versions, done.emptied, done.erased) == (5, 2, 0)
    assert await texts_of(storage, thread.ecs_id) == [("hello", False), ("", True), ("more", False)]
    assert SECRET not in await everything(storage)
    assert [len(await storage.lineage(each.lineage_id)) for each in (thread.history[1], diary)] == [2, 2]
    assert SECRET in await everything(other)


async def test_what_was_erased_there_is_erased_here_and_counted(storage: EntityStorage, other: EntityStorage) -> None:
    thread = a_thread("hello", SECRET)
    await other.register(thread)
    await storage.import_lines(await exported(other))
    await other.erase(thread.history[1], reason="asked to", author="ann")
    thread.history.append(said("more"))
    await other.register(thread)
    done = await storage.import_lines(await exported(other))
    assert (done.versions, done.emptied, done.erased) == (2, 0, 1)
    assert await texts_of(storage, thread.ecs_id) == [("hello", False), ("", True), ("more", False)]
    assert await storage.erasures() == await other.erasures()
    assert SECRET not in await everything(storage)
    live = await storage.get(ChatThread, thread.ecs_id)
    live.history[1].content = "back"
    with pytest.raises(ErasedLineage):
        await storage.register(live)


async def test_an_import_can_leave_alone_what_was_erased_there(storage: EntityStorage, other: EntityStorage) -> None:
    thread, unknown = a_thread("hello", SECRET), a_thread("unknown")
    await other.register(thread)
    await storage.import_lines(await exported(other))
    await other.register(unknown)
    await other.erase(thread.history[1], reason="asked to")
    await other.erase(unknown.history[0], reason="asked to")
    done = await storage.import_lines(await exported(other), erase=False)
    assert (done.erased, done.emptied) == (0, 1)
    assert await texts_of(storage, thread.ecs_id) == [("hello", False), (SECRET, False)]
    assert [each.lineage_id for each in await storage.erasures()] == [unknown.history[0].lineage_id]
    thread.history[1].content = "still mine"
    await storage.register(await storage.get(ChatThread, thread.ecs_id))


async def test_content_in_a_line_of_what_has_a_tombstone_is_not_taken(storage: EntityStorage, other: EntityStorage) -> None:
    thread = a_thread(SECRET)
    await other.register(thread)
    before = await exported(other)
    await other.erase(thread.history[0], reason="asked to")
    tombstone = next(line for line in await exported(other) if line.startswith('{"erased"'))
    await storage.import_lines(export_of([tombstone, *before[1:-1]]))
    assert await texts_of(storage, thread.ecs_id) == [("", True)]
    assert SECRET not in await everything(storage)


async def test_a_tombstone_that_arrives_first_forbids_the_content(storage: EntityStorage, other: EntityStorage) -> None:
    thread = a_thread(SECRET)
    await other.register(thread)
    await other.erase(thread.history[0], reason="asked to")
    await storage.import_lines(export_of((await exported(other))[1:2]))
    assert len(await storage.erasures()) == 1
    with pytest.raises(ErasedLineage):
        await storage.register(thread)
    assert not await storage.has_entity(thread.ecs_id)


async def test_an_erasure_in_the_middle_of_an_import_is_kept(tmp_path: Path, other: EntityStorage) -> None:
    thread = a_thread(SECRET)
    for number in range(40):
        thread.history[0].content = f"{SECRET} again {number}"
        await other.register(thread)
    lines = await exported(other)
    url = f"sqlite:///{tmp_path / 'target.db'}"

    async def erase() -> None:
        async with open_storage(url) as eraser:
            await eraser.erase(thread.history[0].lineage_id, reason="asked to")

    def told() -> Iterator[str]:
        for number, line in enumerate(lines):
            if number == 20:
                with ThreadPoolExecutor() as apart:
                    apart.submit(asyncio.run, erase()).result()
            yield line

    async with open_storage(url) as storage:
        await storage.import_lines(export_of(lines[1:5]))
        done = await storage.import_lines(told())
        assert (done.versions + done.present, done.emptied > 0) == (81, True)
        assert all(each.erased_at is not None for each in await storage.lineage(thread.history[0].lineage_id))
        assert len(await storage.lineage(thread.history[0].lineage_id)) == 40
        assert await storage.check() == []
        assert await tables_with(url, SECRET) == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"erased": {}}, "erased.lineage"),
        ({"erased": TOMBSTONE | {"lineage": "x"}}, "erased.lineage"),
        ({"erased": TOMBSTONE | {"reason": None}}, "erased.reason"),
        ({"erased": TOMBSTONE | {"more": 1}}, "erased.more"),
        ({"erased": None}, "erased"),
    ],
)
async def test_a_tombstone_that_is_none_is_refused(storage: EntityStorage, wrong: object, reason: str) -> None:
    with pytest.raises(InvalidExport, match=f"line 2 cannot be imported: {reason}"):
        await storage.import_lines([HEADER, json.dumps(wrong)])
    assert await storage.erasures() == []
    assert await storage.list_by_type(Entity) == []
