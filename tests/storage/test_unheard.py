"""A save that failed while nobody listened is said by `flush` and by leaving, for as long as something of it is not saved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from minference.errors import StaleVersion
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from tests.storage.edits import Thing


async def fails_unheard(storage: EntityStorage, *things: Thing) -> None:
    """Save objects that do not want to branch after somebody else was first with each; who saves is cancelled meanwhile."""
    for thing in things:
        other = await storage.get(Thing, thing.ecs_id)
        other.name, thing.name = "theirs", "mine"
        await storage.register(other)
    save = asyncio.ensure_future(storage.register(*things, on_conflict="raise"))
    await asyncio.sleep(0)
    save.cancel()
    await asyncio.gather(save, return_exceptions=True)
    assert save.cancelled()
    await storage.lineage(things[0].lineage_id)  # it has failed by now


async def _save_as_a_branch(storage: EntityStorage, thing: Thing) -> None:
    await storage.register(thing)


async def _save_with_what_holds_it(storage: EntityStorage, thing: Thing) -> None:
    await storage.register(Thing(one=thing))


async def _rebase(storage: EntityStorage, thing: Thing) -> None:
    await storage.rebase(thing, strategy="ours")


async def _save_and_go_on(storage: EntityStorage, thing: Thing) -> None:
    await storage.register(thing)
    thing.name = "not saved yet"


async def _give_up(storage: EntityStorage, thing: Thing) -> None:
    thing.name = (await storage.get(Thing, thing.ecs_id)).name


async def _save_something_else(storage: EntityStorage, thing: Thing) -> None:
    await storage.register(await storage.get(Thing, thing.ecs_id), Thing())


async def _hold_what_cannot_be_saved(_storage: EntityStorage, thing: Thing) -> None:
    thing.items.append("no entity")  # type: ignore[arg-type]


WAYS_OUT = [_save_as_a_branch, _save_with_what_holds_it, _rebase, _save_and_go_on, _give_up]
Way = Callable[[EntityStorage, Thing], Awaitable[None]]


@pytest.mark.parametrize("way", WAYS_OUT)
async def test_a_failure_is_forgotten_once_its_object_was_saved_rebased_or_put_back(storage: EntityStorage, way: Way) -> None:
    thing = Thing(name="base")
    await storage.register(thing)
    await fails_unheard(storage, thing)
    await way(storage, thing)
    await storage.flush()


@pytest.mark.parametrize("way", [_save_something_else, _hold_what_cannot_be_saved])
async def test_a_failure_is_said_while_its_object_holds_what_is_not_saved(storage: EntityStorage, way: Way) -> None:
    thing = Thing(name="base")
    await storage.register(thing)
    await fails_unheard(storage, thing)
    await way(storage, thing)
    with pytest.raises(StaleVersion):
        await storage.flush()
    thing.items.clear()
    await storage.flush()


async def test_a_failure_of_several_objects_is_said_until_all_of_them_are_saved(storage: EntityStorage) -> None:
    one, other = Thing(name="one"), Thing(name="other")
    await storage.register(one, other)
    await fails_unheard(storage, one, other)
    await storage.register(one)
    with pytest.raises(StaleVersion):
        await storage.flush()
    one, other = Thing(name="one"), Thing(name="other")
    await storage.register(one, other)
    await fails_unheard(storage, one, other)
    await storage.register(other)
    await storage.register(one)
    await storage.flush()


async def test_a_member_that_is_saved_makes_up_for_no_failure_of_what_holds_it(storage: EntityStorage) -> None:
    root = Thing(items=[Thing(name="member")])
    await storage.register(root)
    await fails_unheard(storage, root)
    root.name, root.items[0].name = "", "edited"
    await storage.register(root.items[0])
    with pytest.raises(StaleVersion):
        await storage.flush()


async def test_a_failure_that_was_made_up_for_is_not_raised_by_leaving(storage_url: str) -> None:
    async with open_storage(storage_url) as storage:
        thing = Thing(name="base")
        await storage.register(thing)
        await fails_unheard(storage, thing)
        await storage.rebase(thing, strategy="ours")
        await storage.register(thing)
        assert len(await storage.heads(thing.lineage_id)) == 1


async def test_a_failure_that_was_not_made_up_for_is_raised_by_leaving(storage_url: str) -> None:
    storage = await open_storage(storage_url).__aenter__()
    thing = Thing(name="base")
    await storage.register(thing)
    await fails_unheard(storage, thing)
    with pytest.raises(StaleVersion):
        await storage.__aexit__()
