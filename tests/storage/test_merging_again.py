"""What every storage promises about branches that are merged more than once: what was merged before is known to both sides."""

from __future__ import annotations

from uuid import uuid4

import pytest

from minference.errors import InvalidExport, StaleVersion, UnstorableValue
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.thread import ChatThread
from tests.storage.edits import Thing
from tests.storage.lineage_samples import a_thread, said, say


async def two(storage: EntityStorage, items: str = "") -> tuple[Thing, Thing]:
    """A thing and a copy of it, which will be a branch."""
    ours = Thing(name="0", items=[Thing(name=name) for name in items.split()])
    await storage.register(ours)
    return ours, await storage.get(Thing, ours.ecs_id)


async def save(storage: EntityStorage, thing: Thing, **fields: object) -> None:
    for name, value in fields.items():
        setattr(thing, name, value)
    await storage.register(thing)


async def test_what_was_taken_out_after_a_merge_does_not_come_back_with_the_next(storage: EntityStorage) -> None:
    ours = a_thread("question", name="fine")
    await storage.register(ours)
    branch = await storage.get(ChatThread, ours.ecs_id)
    say(ours, "ours")
    await storage.register(ours)
    say(branch, "wrong answer")
    branch.name = "bad"
    await storage.register(branch)
    assert (await storage.merge(ours, branch, "append")).conflicts == ()
    assert (said(ours), ours.name) == ("question ours wrong answer", "bad")
    ours.history.pop()
    ours.name = "fine"
    await storage.register(ours)
    branch.history[0].content = "question!"
    await storage.register(branch)
    assert (await storage.merge(ours, branch)).conflicts == ()
    assert (said(ours), ours.name) == ("question! ours", "fine")
    assert [len(merged) for merged in (await storage.merges(ours.lineage_id)).values()] == [1, 1]
    assert (await storage.merges(ours.lineage_id))[ours.ecs_id] == (branch.ecs_id,)


async def test_a_conflict_that_was_settled_is_settled(storage: EntityStorage) -> None:
    ours, theirs = await two(storage)
    await save(storage, ours, name="ours")
    await save(storage, theirs, name="theirs")
    assert len((await storage.merge(ours, theirs)).conflicts) == 1
    await save(storage, ours, name="both")
    assert (await storage.merges(ours.lineage_id)) == {ours.ecs_id: (theirs.ecs_id,)}
    await save(storage, theirs, number=1.0)
    assert (await storage.merge(ours, theirs)).conflicts == ()
    assert (ours.name, ours.number) == ("both", 1.0)


async def test_a_merge_that_could_not_be_saved_is_one_when_it_is(storage: EntityStorage) -> None:
    ours, theirs = await two(storage)
    await save(storage, ours, name="ours")
    await save(storage, theirs, name="theirs")
    await storage.merge(ours, theirs)
    ours.data["x"] = object()  # type: ignore[assignment]
    with pytest.raises(UnstorableValue):
        await storage.register(ours)
    await save(storage, ours, data={})
    assert (await storage.merges(ours.lineage_id)) == {ours.ecs_id: (theirs.ecs_id,)}


@pytest.mark.parametrize("items", ["", "one"], ids=["nothing", "a member"])
async def test_a_merge_of_which_nothing_is_taken_is_one(storage: EntityStorage, items: str) -> None:
    ours, theirs = await two(storage, items)
    await save(storage, ours, name="ours")
    await save(storage, theirs, name="theirs")
    before = ours.ecs_id
    assert (await storage.merge(ours, theirs, "ours")).conflicts == ()
    assert (ours.name, ours.parent_id) == ("ours", before)
    assert (await storage.submit(ours)).versions == ()
    await save(storage, theirs, number=1.0)
    assert (await storage.merge(ours, theirs)).conflicts == ()
    assert (ours.name, ours.number) == ("ours", 1.0)


async def test_a_merge_that_was_given_up_is_none(storage: EntityStorage) -> None:
    ours, theirs = await two(storage)
    await save(storage, ours, name="ours")
    await save(storage, theirs, name="theirs", number=1.0)
    await storage.merge(ours, theirs)
    await storage.revert(ours, ours.ecs_id)
    await save(storage, ours, data={"later": True})
    assert await storage.merges(ours.lineage_id) == {}
    assert len((await storage.merge(ours, theirs)).conflicts) == 1
    assert ours.number == 1.0


async def test_branches_that_were_merged_into_each_other_conflict_only_where_they_do(storage: EntityStorage) -> None:
    """Each has one change of the other, and one of its own since: the base is both together, which nobody ever saved."""
    ours, theirs = await two(storage, "a b")
    await save(storage, ours, name="1")
    await save(storage, theirs, number=1.0)
    before = await storage.get(Thing, ours.ecs_id)
    await storage.merge(ours, theirs)
    await storage.merge(theirs, before)
    assert (ours.name, ours.number) == (theirs.name, theirs.number) == ("1", 1.0)
    await save(storage, ours, name="2")
    await save(storage, theirs, number=2.0)
    theirs.items.pop()
    await storage.register(theirs)
    assert (await storage.merge(ours, theirs)).conflicts == ()
    assert (ours.name, ours.number, [item.name for item in ours.items]) == ("2", 2.0, ["a"])


async def test_what_two_merges_settled_differently_is_a_conflict(storage: EntityStorage) -> None:
    ours, theirs = await two(storage)
    await save(storage, ours, name="ours")
    await save(storage, theirs, name="theirs")
    before = await storage.get(Thing, ours.ecs_id)
    await storage.merge(ours, theirs, "ours")
    await save(storage, ours, number=1.0)
    await storage.merge(theirs, before, "ours")
    await save(storage, theirs, number=2.0)
    paths = sorted(conflict.path for conflict in (await storage.merge(ours, theirs)).conflicts)
    assert (ours.name, theirs.name, paths) == ("ours", "theirs", ["name", "number"])


async def test_a_branch_moves_on_to_where_it_was_merged(storage: EntityStorage) -> None:
    ours, theirs = await two(storage)
    await save(storage, ours, name="1")
    await save(storage, theirs, number=1.0)
    await storage.merge(ours, theirs)
    theirs.data = {"unsaved": True}
    for move in (storage.merge(theirs, ours), storage.rebase(theirs)):
        assert (await move).conflicts == ()
    assert (theirs.name, theirs.number, theirs.data, theirs.parent_id) == ("1", 1.0, {"unsaved": True}, ours.ecs_id)
    assert (await storage.merge(ours, theirs)).conflicts == ()
    assert ours.ecs_id == theirs.ecs_id


async def test_after_a_refused_save_a_merge_is_still_one(storage: EntityStorage) -> None:
    ours, theirs = await two(storage)
    await save(storage, theirs, name="theirs")
    await save(storage, ours, name="ours")
    other = await storage.get(Thing, ours.ecs_id)
    await storage.merge(ours, theirs)
    ours.name = "both"
    await save(storage, other, number=1.0)
    with pytest.raises(StaleVersion):
        await storage.register(ours, on_conflict="raise")
    await storage.rebase(ours)
    await storage.register(ours, on_conflict="raise")
    assert (ours.name, ours.number) == ("both", 1.0)
    assert (await storage.merges(ours.lineage_id)) == {ours.ecs_id: (theirs.ecs_id,)}


async def test_an_export_takes_merges_along(storage: EntityStorage) -> None:
    ours, theirs = await two(storage)
    await save(storage, ours, name="1")
    await save(storage, theirs, number=1.0)
    await storage.merge(ours, theirs)
    lines = [line async for line in storage.export_lines()]
    async with open_storage("memory:") as elsewhere:
        for _ in range(2):
            await elsewhere.import_lines(lines)
        assert await elsewhere.merges(ours.lineage_id) == {ours.ecs_id: (theirs.ecs_id,)}
        assert [line async for line in elsewhere.export_lines()] == lines
        wrong = [*lines[:-2], lines[-2].replace(f'"merged":["{theirs.ecs_id}"]', f'"merged":["{uuid4()}"]')]
    async with open_storage("memory:") as empty:
        with pytest.raises(InvalidExport, match=r"merged .* which is none of its lineage on a line before"):
            await empty.import_lines(wrong)
