"""Saves on their way: what waits is written together, what is bad fails alone, and nobody who goes away takes a save along."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import text

from minference.errors import WriteFailed
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.sql.dialects import open_engine
from minference.storage.versioned import VersionedStorage
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.storage.edits import Thing
from tests.storage.failing import DOOMED, SAID_SO, FailingDatabase, FailingMemory, Faults
from tests.storage.lineage_samples import a_thread, said, say
from tests.storage.tables import rows_of


@pytest.fixture
async def backend(storage_url: str) -> FailingMemory | FailingDatabase:
    """Every kind of storage in turn, whose transactions can be held up and can fail."""
    return FailingMemory() if storage_url == "memory:" else FailingDatabase(storage_url)


@pytest.fixture
async def storage(backend: FailingMemory | FailingDatabase) -> AsyncIterator[EntityStorage]:
    """Open on it."""
    async with VersionedStorage(backend) as opened:
        yield opened
        backend.faults.gate.set()


@pytest.fixture
async def faults(storage: EntityStorage, backend: FailingMemory | FailingDatabase) -> Faults:
    """Holds up and fails the transactions of `storage`."""
    return backend.faults


async def until_writing(faults: Faults) -> None:
    """Let the writer begin what is queued, which then waits at the gate."""
    while not faults.transactions:
        await asyncio.sleep(0)


async def test_saves_that_wait_are_written_in_one_transaction(storage: EntityStorage, faults: Faults) -> None:
    faults.gate.clear()
    first = storage.submit(Thing())
    await until_writing(faults)
    waiting = [storage.submit(Thing()) for _ in range(40)]
    faults.gate.set()
    await asyncio.gather(first, *waiting)
    assert faults.transactions == [1, 40]


async def test_branches_that_wait_are_written_in_one_transaction_and_know_of_each_other(storage: EntityStorage, faults: Faults) -> None:
    thread = a_thread("base")
    await storage.register(thread)
    base = thread.ecs_id
    copies = [await storage.get(ChatThread, base) for _ in range(3)]
    faults.transactions.clear()
    faults.gate.clear()
    storage.submit(Thing())
    await until_writing(faults)
    for number, copy in enumerate(copies):
        say(copy, str(number))
    pending = [storage.submit(copy) for copy in copies]
    faults.gate.set()
    commits = await asyncio.gather(*pending)
    siblings = [branch.sibling for commit in commits for branch in commit.branches]
    assert (siblings, faults.transactions) == ([copies[0].ecs_id, copies[1].ecs_id], [1, 3])
    assert [said(await storage.get(ChatThread, copy.ecs_id)) for copy in copies] == ["base 0", "base 1", "base 2"]


async def test_a_save_with_nothing_to_do_waits_for_what_is_on_its_way(storage: EntityStorage, faults: Faults) -> None:
    faults.gate.clear()
    thing = Thing()
    first = storage.submit(thing)
    again = asyncio.ensure_future(storage.register(thing))
    await until_writing(faults)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not again.done()
    faults.gate.set()
    assert (await again).ecs_id == thing.ecs_id
    assert (await first).versions == (thing.ecs_id,)


async def test_a_save_with_nothing_to_do_fails_with_what_is_on_its_way(storage: EntityStorage, faults: Faults) -> None:
    thing = Thing()
    first, again = storage.submit(thing, note=DOOMED), storage.submit(thing)
    assert again.versions == ()
    for pending in (first, again):
        with pytest.raises(WriteFailed, match=SAID_SO):
            await pending
    assert not await storage.has_entity(thing.ecs_id)


async def test_a_cancelled_save_is_written_though_its_group_fails(storage: EntityStorage, faults: Faults) -> None:
    faults.gate.clear()
    storage.submit(Thing())
    await until_writing(faults)
    good = Thing(name="good")
    saving = asyncio.ensure_future(storage.register(good))
    doomed = storage.submit(Thing(), note=DOOMED)
    await asyncio.sleep(0)
    saving.cancel()
    await asyncio.gather(saving, return_exceptions=True)
    faults.gate.set()
    with pytest.raises(WriteFailed, match=SAID_SO):
        await doomed
    assert saving.cancelled()
    assert (await storage.get(Thing, good.ecs_id)).name == "good"
    assert (await storage.submit(good)).versions == ()


EDITS: dict[str, Callable[[ChatThread], object]] = {
    "nothing more": lambda thread: None,
    "what was added is taken back": lambda thread: thread.history.pop(),
    "more is added": lambda thread: say(thread, "d"),
    "something else is added": lambda thread: thread.history.__setitem__(-1, ChatMessage(role=MessageRole.user, content="d")),
    "the first is removed": lambda thread: thread.history.pop(0),
    "the order is turned round": lambda thread: thread.history.reverse(),
    "a message is edited": lambda thread: setattr(thread.history[0], "content", "A"),
    "an edit is taken back": lambda thread: setattr(thread.history[1], "content", "b"),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_after_a_failed_save_anything_can_be_done(storage: EntityStorage, faults: Faults, edit: str) -> None:
    thread = a_thread("a", "b")
    await storage.register(thread)
    first, kept = thread.ecs_id, [message.ecs_id for message in thread.history]
    say(thread, "c")
    thread.history[1].content = "B"
    with pytest.raises(WriteFailed, match=SAID_SO):
        await storage.register(thread, note=DOOMED)
    assert (thread.ecs_id, said(thread)) == (first, "a B c")
    assert [message.ecs_id for message in thread.history[:2]] == kept
    EDITS[edit](thread)
    expected = said(thread)
    await storage.register(thread, on_conflict="raise")
    assert thread.parent_id == first
    assert said(await storage.get(ChatThread, thread.ecs_id)) == expected
    assert said(await storage.get(ChatThread, first)) == "a b"
    assert (await storage.submit(thread)).versions == ()


async def test_after_a_failed_save_an_edit_of_a_member_is_found(storage: EntityStorage) -> None:
    part, member = Thing(items=[Thing()]), Thing()
    root = Thing(items=[part, member])
    await storage.register(root)
    [original] = part.items
    part.items[0] = await storage.get(Thing, original.ecs_id)  # no change, but everything is looked at
    root.name = "new"
    with pytest.raises(WriteFailed, match=SAID_SO):
        await storage.register(root, note=DOOMED)
    part.items[0] = original
    member.name = "edited"
    assert (await storage.submit(root)).versions == (member.ecs_id, root.ecs_id)


async def test_cancelling_who_closes_loses_nothing(storage_url: str) -> None:
    backend = FailingMemory() if storage_url == "memory:" else FailingDatabase(storage_url)
    storage = VersionedStorage(backend)
    await storage.__aenter__()
    backend.faults.gate.clear()
    things = [Thing(name=str(number)) for number in range(3)]
    for thing in things:
        storage.submit(thing)
    closing = asyncio.ensure_future(storage.__aexit__(None, None, None))
    await until_writing(backend.faults)
    closing.cancel()
    await asyncio.sleep(0)
    backend.faults.gate.set()
    await asyncio.gather(closing, return_exceptions=True)
    assert closing.cancelled()
    async with VersionedStorage(backend if storage_url == "memory:" else FailingDatabase(storage_url)) as again:
        assert [(await again.get(Thing, thing.ecs_id)).name for thing in things] == ["0", "1", "2"]


async def test_a_commit_that_fails_half_way_leaves_nothing(sqlite_url: str) -> None:
    thread = a_thread("fine")
    async with open_storage(sqlite_url) as storage:
        await storage.register(thread)
        first, before = thread.ecs_id, await rows_of(sqlite_url)
        await _refuse_messages_with(sqlite_url, "refused")
        say(thread, "refused")
        with pytest.raises(WriteFailed, match="on purpose"):
            await storage.register(thread)
        assert (thread.ecs_id, await rows_of(sqlite_url)) == (first, before)
        thread.history[1].content = "accepted"
        await storage.register(thread)
        assert said(await storage.get(ChatThread, thread.ecs_id)) == "fine accepted"


async def _refuse_messages_with(url: str, content: str) -> None:
    """Let SQLite refuse a row of a transaction when others are written already."""
    engine = open_engine(url)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON chat_message WHEN NEW.content = "
                f"'{content}' BEGIN SELECT RAISE(ABORT, 'refused on purpose'); END"
            )
        )
    await engine.dispose()
