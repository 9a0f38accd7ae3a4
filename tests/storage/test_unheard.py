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
    await is_saved_unheard(storage, *things)


async def is_saved_unheard(storage: EntityStorage, *things: Thing) -> None:
    """Begin to save objects that do not want to branch, and wait until that has come to its end, while nobody listens."""
    save = asyncio.ensure_future(storage.register(*things, on_conflict="raise"))
    await asyncio.sleep(0)
    save.cancel()
    await asyncio.gather(save, return_exceptions=True)
    assert save.cancelled()
    await storage.lineage(things[0].lineage_id)


async def _save_as_a_branch(storage: EntityStorage, thing: Thing) -> None:
    await storage.register(thing)


async def _save_with_what_holds_it(storage: EntityStorage, thing: Thing) -> None:
    await storage.register(Thing(one=thing))


async def _rebase(storage: EntityStorage, thing: Thing) -> None:
    await storage.rebase(thing, strategy="ours")
    assert thing.name == "mine"


async def _rebase_and_save(storage: EntityStorage, thing: Thing) -> None:
    await _rebase(storage, thing)
    await storage.register(thing)


async def _rebase_and_give_up(storage: EntityStorage, thing: Thing) -> None:
    await storage.rebase(thing, strategy="theirs")
    assert thing.name == "theirs"


async def _save_and_go_on(storage: EntityStorage, thing: Thing) -> None:
    await storage.register(thing)
    thing.name = "not saved yet"


async def _give_up(storage: EntityStorage, thing: Thing) -> None:
    thing.name = (await storage.get(Thing, thing.ecs_id)).name


async def _save_something_else(storage: EntityStorage, thing: Thing) -> None:
    await storage.register(await storage.get(Thing, thing.ecs_id), Thing())


async def _hold_what_cannot_be_saved(_storage: EntityStorage, thing: Thing) -> None:
    thing.items.append("no entity")  # type: ignore[arg-type]


WAYS_OUT = [_save_as_a_branch, _save_with_what_holds_it, _rebase_and_save, _rebase_and_give_up, _save_and_go_on, _give_up]
Way = Callable[[EntityStorage, Thing], Awaitable[None]]


@pytest.mark.parametrize("way", WAYS_OUT)
async def test_a_failure_is_forgotten_once_its_object_was_saved_or_put_back(storage: EntityStorage, way: Way) -> None:
    thing = Thing(name="base")
    await storage.register(thing)
    await fails_unheard(storage, thing)
    await way(storage, thing)
    await storage.flush()


@pytest.mark.parametrize("way", [_rebase, _save_something_else, _hold_what_cannot_be_saved])
async def test_a_failure_is_said_while_its_object_holds_what_is_not_saved(storage: EntityStorage, way: Way) -> None:
    thing = Thing(name="base")
    await storage.register(thing)
    await fails_unheard(storage, thing)
    await way(storage, thing)
    with pytest.raises(StaleVersion):
        await storage.flush()
    thing.items.clear()
    await storage.flush()


@pytest.mark.parametrize("way", [_save_as_a_branch, _give_up])
async def test_a_failure_of_several_objects_is_said_until_all_of_them_are_saved(storage: EntityStorage, way: Way) -> None:
    one, other = Thing(name="one"), Thing(name="other")
    await storage.register(one, other)
    await fails_unheard(storage, one, other)
    await way(storage, one)
    with pytest.raises(StaleVersion):
        await storage.flush()
    one, other = Thing(name="one"), Thing(name="other")
    await storage.register(one, other)
    await fails_unheard(storage, one, other)
    await way(storage, other)
    await way(storage, one)
    await storage.flush()


async def test_a_member_that_is_saved_makes_up_for_no_failure_of_what_holds_it(storage: EntityStorage) -> None:
    root = Thing(items=[Thing(name="member")])
    await storage.register(root)
    await fails_unheard(storage, root)
    root.name, root.items[0].name = "", "edited"
    await storage.register(root.items[0])
    with pytest.raises(StaleVersion):
        await storage.flush()


async def fails_below_unheard(storage: EntityStorage, root: Thing) -> Thing:
    """The same for an edit of what an object holds; that is what comes back."""
    child = root.one
    assert child is not None
    other = await storage.get(Thing, root.ecs_id)
    assert other.one is not None
    other.one.number, child.name = 1.0, "mine"
    await storage.register(other)
    await is_saved_unheard(storage, root)
    return child


async def test_what_was_taken_out_of_its_holder_is_still_lost(storage: EntityStorage) -> None:
    root = Thing(one=Thing(name="child"))
    await storage.register(root)
    await fails_below_unheard(storage, root)
    root.one = None
    await storage.register(root)
    with pytest.raises(StaleVersion):
        await storage.flush()


async def test_what_was_taken_out_of_its_holder_and_saved_is_not_lost(storage: EntityStorage) -> None:
    root = Thing(one=Thing(name="child"))
    await storage.register(root)
    child = await fails_below_unheard(storage, root)
    root.one = None
    await storage.register(root)
    await storage.register(child)
    await storage.flush()


async def test_a_new_object_whose_save_failed_is_lost_until_it_is_saved(storage: EntityStorage) -> None:
    for is_saved in (False, True):
        root, new = Thing(), Thing(name="new")
        await storage.register(root)
        root.one = new
        await fails_unheard(storage, root)
        root.one = None
        await storage.register(root, *([new] if is_saved else []))
        if is_saved:
            await storage.flush()
        else:
            with pytest.raises(StaleVersion):
                await storage.flush()


async def test_a_failure_below_is_made_up_for_by_a_rebase_that_was_saved(storage: EntityStorage) -> None:
    root = Thing(one=Thing(name="child"))
    await storage.register(root)
    child = await fails_below_unheard(storage, root)
    await storage.rebase(root)
    await storage.register(root, on_conflict="raise")
    assert root.one is child
    assert (child.name, child.number) == ("mine", 1.0)
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


async def three_failures(storage: EntityStorage) -> list[Thing]:
    """Objects each of which failed to be saved alone, unheard."""
    things = [Thing(name=name) for name in "abc"]
    await storage.register(*things)
    for thing in things:
        await fails_unheard(storage, thing)
    return things


async def test_of_several_failures_each_is_said_once(storage: EntityStorage) -> None:
    for thing in await three_failures(storage):
        with pytest.raises(StaleVersion) as raised:
            await storage.flush()
        assert raised.value.lineage_id == thing.lineage_id
    await storage.flush()


async def test_of_several_failures_those_that_were_made_up_for_are_passed_over(storage: EntityStorage) -> None:
    things = await three_failures(storage)
    with pytest.raises(StaleVersion):
        await storage.flush()
    await storage.register(*things[:2])
    with pytest.raises(StaleVersion) as raised:
        await storage.flush()
    assert raised.value.lineage_id == things[2].lineage_id
    await storage.flush()


async def test_leaving_raises_a_failure_that_flush_has_not_said(storage_url: str) -> None:
    storage = await open_storage(storage_url).__aenter__()
    things = await three_failures(storage)
    with pytest.raises(StaleVersion):
        await storage.flush()
    await storage.register(things[0])
    with pytest.raises(StaleVersion) as raised:
        await storage.__aexit__()
    assert raised.value.lineage_id == things[1].lineage_id
    async with open_storage(storage_url) as again:  # it was left for good
        await again.flush()


async def test_failures_of_one_object_are_said_as_one(storage: EntityStorage) -> None:
    thing = Thing(name="base")
    await storage.register(thing)
    await fails_unheard(storage, thing)
    for number in range(20):
        thing.number = number
        await is_saved_unheard(storage, thing)
    with pytest.raises(StaleVersion):
        await storage.flush()
    await storage.flush()
