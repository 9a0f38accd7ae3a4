"""Objects that meet more than one storage, event loop or thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from minference.ecs.registry import EntityRegistry, current_storage
from minference.errors import AlreadyOpen, DatabaseUnreadable, FrozenSnapshot, StillPending, StorageClosed, VersionExists, WrongEventLoop
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.storage.edits import Thing


@pytest.fixture
async def other() -> AsyncIterator[EntityStorage]:
    """A second storage, with versions of its own."""
    async with open_storage("memory:") as opened:
        yield opened


def a_thread() -> ChatThread:
    history = [ChatMessage(role=MessageRole.user, content=str(number)) for number in range(3)]
    return ChatThread(llm_config=LLMConfig(client="scripted", model="m"), history=history)


async def contents(storage: EntityStorage, thread: ChatThread) -> list[str]:
    return [message.content for message in (await storage.get(ChatThread, thread.ecs_id)).history]


async def test_an_edit_is_saved_to_each_of_two_storages_in_turn(storage: EntityStorage, other: EntityStorage) -> None:
    thread = a_thread()
    for number in range(3):
        for each in (storage, other, other, storage):
            thread.history[0].content = f"edit {number}"
            await each.register(thread)
            assert await contents(each, thread) == [f"edit {number}", *map(str, range(1, len(thread.history)))]
        thread.history.append(ChatMessage(role=MessageRole.user, content=str(len(thread.history))))
    for each in (storage, other):
        await each.register(thread)
        assert len(await each.heads(thread.lineage_id)) == 1
        assert [len(await each.lineage(message.lineage_id)) for message in thread.history] == [3, 1, 1, 1, 1, 1]
        assert (await each.submit(thread)).versions == ()


async def test_an_unchanged_object_has_one_id_in_both_storages(storage: EntityStorage, other: EntityStorage) -> None:
    thread = a_thread()
    await storage.register(thread)
    first = thread.ecs_id
    await other.register(thread)
    assert thread.ecs_id == first
    assert await contents(other, thread) == await contents(storage, thread)


async def test_one_id_never_names_two_contents(storage: EntityStorage, other: EntityStorage) -> None:
    thread = a_thread()
    await storage.register(thread)
    first = thread.ecs_id
    thread.history.pop()
    await other.register(thread)
    assert thread.ecs_id != first
    assert not await other.has_entity(first)


async def test_saving_makes_an_object_stand_on_a_version_of_that_storage(storage: EntityStorage, other: EntityStorage) -> None:
    thing = Thing(name="a")
    await storage.register(thing)
    mine = (thing.ecs_id, thing.parent_id)
    thing.name = "b"
    await other.register(thing)
    assert (thing.ecs_id != mine[0], thing.parent_id) == (True, None)
    thing.name = "a"
    assert (await storage.submit(thing)).versions == ()
    assert (thing.ecs_id, thing.parent_id) == mine


async def test_a_save_that_fails_in_one_storage_changes_nothing_in_the_other(storage: EntityStorage, other: EntityStorage) -> None:
    taken = Thing(name="taken")
    await other.register(taken)
    thing = Thing(name="a")
    await storage.register(thing)
    first = thing.ecs_id
    thing.items.append(Thing.model_validate(taken.model_dump()))
    with pytest.raises(VersionExists):
        await other.register(thing)
    thing.items.clear()
    assert (thing.ecs_id, (await storage.submit(thing)).versions) == (first, ())
    thing.name = "b"
    await storage.register(thing)
    assert thing.parent_id == first


async def test_objects_live_on_when_their_database_is_opened_again(sql_url: str) -> None:
    thread = a_thread()
    async with open_storage(sql_url) as storage:
        await storage.register(thread)
    first = thread.ecs_id
    async with open_storage(sql_url) as storage:
        assert (await storage.submit(thread)).versions == ()
        copy = await storage.get(ChatThread, first)
        copy.history[1] = thread.history[1]
        assert (await storage.submit(copy)).versions == ()
        thread.history.append(ChatMessage(role=MessageRole.user, content="3"))
        copy.history.append(ChatMessage(role=MessageRole.user, content="else"))
        commits = await asyncio.gather(storage.submit(thread), storage.submit(copy))
        assert [commit.branched for commit in commits] == [False, True]
        assert (await contents(storage, thread), await contents(storage, copy)) == (list("0123"), ["0", "1", "2", "else"])


async def test_two_open_storages_on_one_database_do_not_build_on_what_is_not_written(sqlite_url: str) -> None:
    async with open_storage(sqlite_url) as one, open_storage(sqlite_url) as two:
        shared = Thing(name="shared")
        pending = one.submit(shared)
        holder = Thing(one=shared)
        with pytest.raises(StillPending, match="flush"):
            await two.register(holder)
        await pending
        await two.register(holder)
        copy = await one.get(Thing, holder.ecs_id)
        assert copy.one is not None
        assert copy.one.ecs_id == shared.ecs_id
        shared.name = "changed"
        await one.register(shared)
        assert (await two.submit(holder)).versions == (holder.ecs_id,)


async def test_a_cold_snapshot_is_held_as_the_version_that_it_is(storage: EntityStorage, other: EntityStorage) -> None:
    part = Thing(name="part", data={"a": [1]}, items=[Thing(name="deep")])
    await storage.register(part)
    cold = await storage.get_cold_snapshot(Thing, part.ecs_id)
    holder = Thing(one=cold)
    for _ in range(2):
        await storage.register(holder)
        holder.name += "x"
    assert (await storage.submit(cold)).versions == ()
    assert len(await storage.lineage(part.lineage_id)) == 1
    copy = await storage.get(Thing, holder.ecs_id)
    assert copy.one is not None
    assert (copy.one.ecs_id, copy.one.items[0].name) == (part.ecs_id, "deep")
    with pytest.raises(FrozenSnapshot, match="warm copy"):
        await other.register(Thing(one=cold))
    with pytest.raises(FrozenSnapshot):
        cold.name = "x"


async def test_the_current_storage_of_a_task_is_not_that_of_another() -> None:
    both_are_open = asyncio.Barrier(2)

    async def save(name: str) -> list[str]:
        async with open_storage("memory:") as opened:
            await both_are_open.wait()
            assert current_storage() is opened
            await EntityRegistry.register(Thing(name=name))
            await both_are_open.wait()
            infos = await EntityRegistry.list_by_type(Thing)
            return [(await Thing.get(info.ecs_id)).name for info in infos]

    one, other = await asyncio.gather(save("one"), save("other"))
    assert (one, other) == (["one"], ["other"])


async def test_after_an_inner_storage_the_outer_one_is_current_again(storage: EntityStorage) -> None:
    async with open_storage("memory:") as inner:
        assert current_storage() is inner
    assert current_storage() is storage


async def test_a_storage_can_be_closed_by_another_task_than_opened_it() -> None:
    storage = open_storage("memory:")
    await asyncio.create_task(storage.__aenter__())
    await asyncio.create_task(storage.__aexit__(None, None, None))
    with pytest.raises(StorageClosed):
        storage.submit(Thing())


async def test_an_open_storage_is_not_entered_again_and_stays_open_for_whoever_entered_it(storage: EntityStorage) -> None:
    first = await storage.register(Thing(name="a"))
    with pytest.raises(AlreadyOpen, match=r"is open already.*enter it once"):
        async with storage:
            pytest.fail("it was entered twice")
    with pytest.raises(AlreadyOpen):
        await asyncio.to_thread(lambda: asyncio.run(storage.__aenter__()))
    assert current_storage() is storage
    await storage.register(Thing(name="b"))
    assert (await storage.get(Thing, first.ecs_id)).name == "a"


async def test_of_many_who_enter_one_storage_at_once_one_gets_it(storage_url: str) -> None:
    storage = open_storage(storage_url)
    entered = await asyncio.gather(*(asyncio.create_task(storage.__aenter__()) for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in entered] == [type(storage), *[AlreadyOpen] * 4]
    await storage.register(Thing(name="a"))
    leaving = asyncio.create_task(storage.__aexit__(None, None, None))
    with pytest.raises(AlreadyOpen):  # it begins to close, and is not closed yet
        await asyncio.create_task(storage.__aenter__())
    await leaving


async def test_a_storage_that_was_left_is_entered_again_in_any_event_loop(storage_url: str) -> None:
    storage = open_storage(storage_url)

    async def save() -> int:
        async with storage:
            await storage.register(Thing(name="a"))
            return len(await storage.list_by_type(Thing))

    assert [await save(), await save()] == [1, 2]
    assert await asyncio.to_thread(lambda: asyncio.run(save())) == 3
    assert await save() == 4


async def test_a_storage_that_could_not_be_opened_can_be_tried_again(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'later' / 'chats.db'}")
    for _ in range(2):
        with pytest.raises(DatabaseUnreadable):
            await storage.__aenter__()
    (tmp_path / "later").mkdir()
    async with storage:
        await storage.register(Thing(name="a"))


async def test_another_event_loop_or_thread_is_told_where_the_storage_belongs(storage: EntityStorage) -> None:
    thing = Thing(name="a")
    with pytest.raises(WrongEventLoop, match="run_coroutine_threadsafe"):
        await asyncio.to_thread(storage.submit, thing)
    with pytest.raises(WrongEventLoop):
        await asyncio.to_thread(lambda: asyncio.run(storage.register(thing)))
    loop = asyncio.get_running_loop()
    saved = await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(storage.register(thing), loop).result())
    assert await storage.has_entity(saved.ecs_id)


async def test_objects_made_and_saved_on_one_loop_go_on_on_the_next(sql_url: str) -> None:
    thing = Thing(name="a")

    async def save(name: str) -> None:
        thing.name = name
        async with open_storage(sql_url) as storage:
            await storage.register(thing)

    for name in "bcd":
        await asyncio.to_thread(lambda: asyncio.run(save(name)))  # noqa: B023 - it is called at once
    async with open_storage(sql_url) as storage:
        assert len(await storage.lineage(thing.lineage_id)) == 3
        assert (await storage.get(Thing, thing.ecs_id)).name == "d"
