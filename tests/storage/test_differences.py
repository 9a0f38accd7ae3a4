"""Differences between stored versions: the same as of whole trees, and only what differs is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minference.ecs.diff import CollectionChanged, EntityDiff, diff_entities
from minference.ecs.entity import Entity
from minference.errors import DifferentClasses, NotLoaded, VersionNotFound
from minference.storage.base import EntityStorage
from minference.storage.versioned import VersionedStorage
from minference.threads.messages import ChatMessage, MessageRole, Usage
from minference.threads.thread import ChatThread
from tests.storage.counting import counting
from tests.storage.edits import THING_EDITS, THREAD_EDITS, Thing, edit_thing, edit_thread, numbers, pick, some_talks, some_trees
from tests.storage.graphs import reachable
from tests.storage.lineage_samples import Box, Item, Ring, Shelf, a_thread, line, say
from tests.support.examples import examples


async def whole(storage: EntityStorage, old: UUID, new: UUID) -> EntityDiff:
    """The difference of two versions that are loaded as a whole."""
    return diff_entities(await storage.get_cold_snapshot(Entity, old), await storage.get_cold_snapshot(Entity, new))


async def same_both_ways(storage: EntityStorage, one: UUID, other: UUID) -> None:
    for old, new in ((one, other), (other, one)):
        assert (await storage.diff(old, new)).to_json() == (await whole(storage, old, new)).to_json()


async def test_only_what_differs_of_a_long_list_is_loaded(storage: EntityStorage) -> None:
    thread = a_thread(*map(str, range(200)))
    await storage.register(thread)
    old, edited = thread.ecs_id, thread.history[100].ecs_id
    thread.history[100].content = "edited"
    say(thread, "new")
    await storage.register(thread)
    diff = await storage.diff(old, thread.ecs_id)
    short = {
        name: each.hex[-8:] for name, each in (("old", edited), ("new", thread.history[100].ecs_id), ("added", thread.history[200].ecs_id))
    }
    assert str(diff).splitlines()[1:] == [
        "  ~ history",
        f"      ~ [100] ChatMessage {short['old']} -> {short['new']}",
        "          ~ content: [-100-]{+edited+}",
        f"      + [200] ChatMessage {short['added']} role='user' content='new'",
    ]
    before, after = diff.old, diff.new
    assert isinstance(before, ChatThread)
    assert isinstance(after, ChatThread)
    assert (len(before.history), len(after.history)) == (200, 201)
    assert [message.content for message in after.history[200:]] == ["new"]
    assert (before.history[100].content, after.history[100].content, after.llm_config.model) == ("100", "edited", "m")
    with pytest.raises(NotLoaded, match=r"member \[99\] of a collection of ChatThread .* was not loaded: load the whole version with get"):
        after.history[99]
    with pytest.raises(NotLoaded):
        list(after.history)
    await same_both_ways(storage, old, thread.ecs_id)


async def test_every_kind_of_change_is_told_as_of_whole_trees(storage: EntityStorage) -> None:
    items = [Item(text=text) for text in "abcdef"]
    box = Box(name="box", lid=Item(text="lid"), items=items[:4], named={"x": items[0], "y": items[1]})
    shelf = await storage.register(Shelf(boxes=[box, Box(name="other")]))
    versions = [shelf.ecs_id]
    assert box.lid is not None

    async def save() -> None:
        await storage.register(shelf)
        versions.append(shelf.ecs_id)

    items[1].text = "B"
    await save()
    box.items.reverse()
    box.lid.text = "LID"
    await save()
    box.named = {"y": items[1], "z": items[5], "x": items[0]}
    box.lid = Item(text="another lid")
    await save()
    shelf.boxes.insert(0, Box(name="first", items=[items[4]]))
    del box.items[1]
    await save()
    box.named["moved"] = box.named.pop("y")
    box.lid = None
    shelf.boxes.reverse()
    await save()
    for one in versions:
        for other in versions:
            await same_both_ways(storage, one, other)


async def test_cycles_are_told_once(storage: EntityStorage) -> None:
    ring = Ring(name="a", next=Ring(name="b"))
    assert ring.next is not None
    ring.next.next = ring
    await storage.register(ring)
    old = ring.ecs_id
    ring.next.name = "B"
    await storage.register(ring)
    await same_both_ways(storage, old, ring.ecs_id)


async def test_an_object_without_unsaved_changes_stands_for_its_version(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b")
    assert (await storage.diff(versions[0], thread)).to_json() == (await storage.diff(versions[0], versions[1])).to_json()
    assert (await storage.diff(thread, versions[0])).to_json() == (await storage.diff(versions[1], versions[0])).to_json()
    thread.name = "unsaved"
    diff = await storage.diff(versions[1], thread)
    assert list(diff.fields) == ["name"]
    assert diff.new is thread
    assert not await storage.diff(versions[1], versions[1])


async def test_what_is_not_there_or_of_another_class_is_refused(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a")
    with pytest.raises(VersionNotFound):
        await storage.diff(versions[0], uuid4())
    with pytest.raises(DifferentClasses, match="a ChatThread cannot be compared with a ChatMessage"):
        await storage.diff(versions[0], thread.history[0].ecs_id)
    with pytest.raises(VersionNotFound):
        await storage.changes([uuid4()])


async def test_changes_tell_what_each_version_did(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b", "c")
    thread.history[0].content = "A"
    await storage.register(thread)
    told = await storage.changes([thread.ecs_id, versions[0], versions[2], versions[2]])
    assert told[1] is None
    assert [str(each) for each in told if each is not None] == [
        str(await storage.diff(versions[2], thread.ecs_id)),
        *[str(await storage.diff(versions[1], versions[2]))] * 2,
    ]
    assert await storage.changes([]) == []


async def test_the_price_is_that_of_the_change(storage_url: str) -> None:
    backend = counting(storage_url)
    read = []
    async with VersionedStorage(backend) as storage:
        for length in (20, 400):
            thread = a_thread(*map(str, range(length)))
            await storage.register(thread)
            thread.history[length // 2].content = "edited"
            await storage.register(thread)
            usage = Usage(model="m", prompt_tokens=1, completion_tokens=1, total_tokens=2)
            thread.history.append(ChatMessage(role=MessageRole.assistant, content="x", usage=usage))
            await storage.register(thread)
            for version in (thread.ecs_id, thread.parent_id):
                assert version is not None
                backend.read_so_far.clear()
                await storage.diff((await storage.ancestors(version))[0].ecs_id, version)
                read.append(dict(backend.read_so_far))
    # Two threads and their settings, and the message that was added with its usage, or both versions of the one that was edited.
    assert read == [{"versions": 5, "cells": 1}, {"versions": 5, "cells": 2}] * 2


async def test_a_partial_snapshot_cannot_be_saved_in_place_of_the_whole(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b", "c")
    partial = (await storage.diff(versions[1], versions[2])).new
    assert (await storage.submit(partial)).versions == ()
    with pytest.raises(NotLoaded):
        partial.get_sub_entities()
    assert len(await storage.lineage(thread.lineage_id)) == 3
    assert [message.content for message in (await storage.latest(ChatThread, thread.lineage_id)).history] == ["a", "b", "c"]


def _repeats(*roots: Entity) -> bool:
    """Whether a collection holds one thing twice, so that there are several ways to tell what changed in it."""
    return any(len({member.lineage_id for member in members}) < len(members) for root in roots for members in _lists(root))


def _lists(root: Entity) -> Iterator[list[Entity]]:
    for entity in reachable([root]):
        for value in entity.__dict__.values():
            members = list(value.values()) if isinstance(value, dict) else value
            if isinstance(members, list | tuple) and all(isinstance(member, Entity) for member in members):
                yield list(members)


def _explains(diff: EntityDiff, olds: dict[UUID, Entity], news: dict[UUID, Entity]) -> bool:
    """Whether every list of whole entities becomes the new one by what the diff says of it."""
    before, after = olds[diff.old.ecs_id].__dict__, news[diff.new.ecs_id].__dict__
    below = [change for change in diff.fields.values() if isinstance(change, EntityDiff)]
    for name, change in diff.fields.items():
        if isinstance(change, CollectionChanged):
            below += [each.diff for each in change.changed]
            if not isinstance(before[name], dict) and not _becomes(change, list(before[name]), list(after[name])):
                return False
    return all(_explains(each, olds, news) for each in below)


def _becomes(change: CollectionChanged, before: list[Any], after: list[Any]) -> bool:
    gone = {each.place for each in change.removed} | {each.old_place for each in change.moved}
    kept = iter(member.lineage_id for place, member in enumerate(before) if place not in gone)
    new = {each.place: each.entity.lineage_id for each in change.added}
    new |= {each.new_place: each.entity.lineage_id for each in change.moved}
    made = [new[place] if place in new else next(kept, None) for place in range(len(after))]
    return made == [member.lineage_id for member in after] and next(kept, None) is None


EDITS = st.lists(st.tuples(st.sampled_from([*THING_EDITS, "save", "save"]), numbers, numbers, numbers), min_size=1, max_size=24)


@settings(max_examples=examples(10, 100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
async def test_of_any_graph_it_is_the_difference_of_the_whole_trees(storage: EntityStorage, edits: list[tuple[str, int, int, int]]) -> None:
    root = some_trees()[0]
    await storage.register(root)
    versions = [root.ecs_id]
    for kind, place, one, two in edits:
        if kind == "save":
            await storage.register(root)
            versions.append(root.ecs_id)
            continue
        things = [each for each in reachable([root]) if isinstance(each, Thing)]
        edit_thing(pick(things, place), kind, pick([Thing(name="new"), pick(things, two)], one), one, two)
    await storage.register(root)
    for old, new in zip([*versions, root.ecs_id], [root.ecs_id, *versions], strict=True):
        await _compare(storage, old, new)


THREAD_STEPS = st.lists(st.tuples(st.sampled_from([*THREAD_EDITS, "save", "save"]), numbers, numbers), min_size=1, max_size=30)


@settings(max_examples=examples(10, 100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=THREAD_STEPS)
async def test_of_any_thread_it_is_the_difference_of_the_whole_threads(storage: EntityStorage, steps: list[tuple[str, int, int]]) -> None:
    thread, other = some_talks()
    assert isinstance(thread, ChatThread)
    assert isinstance(other, ChatThread)
    await storage.register(thread)
    versions = [thread.ecs_id]
    for kind, one, two in steps:
        if kind == "save":
            await storage.register(thread)
            versions.append(thread.ecs_id)
        else:
            edit_thread(thread, kind, [*thread.history, *other.history], one, two)
    await storage.register(thread)
    for old, new in zip([*versions, thread.ecs_id], [thread.ecs_id, *versions], strict=True):
        await _compare(storage, old, new)


async def _compare(storage: EntityStorage, old: UUID, new: UUID) -> None:
    told, expected = await storage.diff(old, new), await whole(storage, old, new)
    assert bool(told) == bool(expected)
    if not _repeats(expected.old, expected.new):
        assert repr(told.to_json()) == repr(expected.to_json())  # NaN equals itself only so
        assert str(told) == str(expected)
    # Where something is repeated there are several ways to tell; each must explain the whole lists.
    olds, news = ({each.ecs_id: each for each in reachable([root])} for root in (expected.old, expected.new))
    assert _explains(expected, olds, news)
    assert _explains(told, olds, news)
