"""What every storage promises about lineages: time travel, going back, and names for versions."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import pytest

from minference.errors import (
    FrozenSnapshot,
    InvalidTagName,
    NothingYet,
    TagNotFound,
    TagTaken,
    TimeWithoutZone,
    UnrelatedVersions,
    VersionNotFound,
    WrongEntityType,
)
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.thread import ChatThread
from tests.storage.lineage_samples import Box, Item, Ring, a_thread, line, said, say, versions_of


async def test_at_a_time_there_is_the_newest_version_created_by_then(storage: EntityStorage) -> None:
    thread, _ = await line(storage, "a", "b", "c")
    times = [version.created_at for version in await storage.lineage(thread.lineage_id)]
    tick = timedelta(microseconds=1)
    for number, expected in enumerate(["a", "a b", "a b c"]):
        assert said(await storage.at(ChatThread, thread.lineage_id, times[number])) == expected
    assert said(await storage.at(ChatThread, thread.lineage_id, times[2] - tick)) == "a b"
    elsewhere = (times[1] + tick).astimezone(timezone(timedelta(hours=-7)))
    assert said(await storage.at(ChatThread, thread.lineage_id, elsewhere)) == "a b"
    assert said(await storage.at(ChatThread, thread.lineage_id, datetime.now(UTC) + timedelta(days=1))) == "a b c"


async def test_a_later_branch_does_not_change_what_was(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b", "c")
    then = thread.created_at
    branch = await storage.get(ChatThread, versions[0])
    for content in "xyz":
        say(branch, content)
        await storage.register(branch)
    assert said(await storage.at(ChatThread, thread.lineage_id, then)) == "a b c"
    assert said(await storage.at(ChatThread, thread.lineage_id, branch.created_at)) == "a x y z"


async def test_a_time_must_have_a_zone_and_a_version(storage: EntityStorage) -> None:
    thread, _ = await line(storage, "a")
    with pytest.raises(TimeWithoutZone, match="aware"):
        await storage.at(ChatThread, thread.lineage_id, datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake under test
    before = thread.created_at - timedelta(seconds=1)
    with pytest.raises(NothingYet, match="its first was created at") as raised:
        await storage.at(ChatThread, thread.lineage_id, before)
    assert (raised.value.when, raised.value.first) == (before, thread.created_at)
    with pytest.raises(VersionNotFound, match="no lineage"):
        await storage.at(ChatThread, uuid4(), before)
    with pytest.raises(WrongEntityType):
        await storage.at(Box, thread.lineage_id, datetime.now(UTC))


async def test_reverting_makes_one_version_equal_to_the_old_one(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b", "c")
    thread.name = "named"
    thread.history[0].content = "A"
    await storage.register(thread)
    last, kept = thread.ecs_id, thread.history[1]
    edited = thread.history[0]
    assert await storage.revert(thread, to=versions[1], author="ann", note="too far") is thread
    assert f"{said(thread)}, {thread.name}" == "a b, None"
    assert thread.parent_id == last
    assert thread.history[1] is kept
    assert not await storage.diff(versions[1], thread)
    assert not await storage.diff(versions[1], thread.ecs_id)
    assert await versions_of(storage, thread, kept, edited) == [5, 1, 2]
    commit = (await storage.info(thread.ecs_id)).commit
    assert (commit.author, commit.note) == ("ann", "too far")
    assert (await storage.submit(thread)).versions == ()
    say(thread, "d")
    await storage.register(thread, on_conflict="raise")
    assert said(await storage.get(ChatThread, thread.ecs_id)) == "a b d"
    assert edited.content == "A"


async def test_reverting_forward_again_and_to_itself(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b", "c")
    await storage.revert(thread, to=versions[0])
    assert (await storage.info(thread.ecs_id)).commit.note == f"revert to {versions[0]}"
    await storage.revert(thread, to=versions[2])
    assert said(thread) == "a b c"
    standing = thread.ecs_id
    thread.name = "unsaved"
    thread.history[1].content = "unsaved"
    await storage.revert(thread, to=standing)
    assert f"{said(thread)}, {thread.name}" == "a b c, None"
    assert thread.ecs_id == standing
    assert await versions_of(storage, thread, *thread.history) == [5, 1, 1, 1]


async def test_reverting_restores_references_keys_back_references_and_cycles(storage: EntityStorage) -> None:
    item = Item(text="i")
    box = Box(lid=item, items=[item, Item(text="j")], named={"x": item, "y": Item(text="y")})
    await storage.register(box)
    first = box.ecs_id
    box.lid = None
    box.items.reverse()
    box.named = {"y": box.named["y"]}
    item.text = "I"
    await storage.register(box)
    box = await storage.revert(box, to=first)
    assert box.lid is box.items[0] is box.named["x"]
    assert [box.lid.text, *box.named] == ["i", "x", "y"]
    assert [each.box for each in box.items] == [box, box]
    assert not await storage.diff(first, box.ecs_id)

    ring = Ring(name="a", next=Ring(name="b"))
    assert ring.next is not None
    ring.next.next = ring
    await storage.register(ring)
    old, other = ring.ecs_id, ring.next
    other.name = "B"
    await storage.register(ring)
    await storage.revert(ring, to=old)
    assert (ring.next is other, other.next is ring, other.name) == (True, True, "b")
    assert await versions_of(storage, ring, other) == [3, 3]
    assert len(await storage.heads(other.lineage_id)) == 1


async def test_only_a_version_of_the_object_itself_is_reverted_to(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b")
    other, _ = await line(storage, "x")
    with pytest.raises(UnrelatedVersions):
        await storage.revert(thread, to=other.ecs_id)
    with pytest.raises(VersionNotFound):
        await storage.revert(thread, to=uuid4())
    cold = await storage.get_cold_snapshot(ChatThread, thread.ecs_id)
    with pytest.raises(FrozenSnapshot):
        await storage.revert(cold, to=versions[0])
    assert await versions_of(storage, thread, other) == [2, 1]


async def test_a_tag_names_a_version_and_moves_only_when_asked_to(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b", "c")
    assert (await storage.tag("main", thread)).ecs_id == versions[2]
    await storage.tag("first try", versions[0])
    assert await storage.tags(thread.lineage_id) == {
        "first try": await storage.info(versions[0]),
        "main": await storage.info(versions[2]),
    }
    assert said(await storage.tagged(ChatThread, thread.lineage_id, "first try")) == "a"
    await storage.tag("main", versions[2])
    with pytest.raises(TagTaken, match=str(versions[2])) as raised:
        await storage.tag("main", versions[1])
    assert (raised.value.name, raised.value.holder) == ("main", versions[2])
    assert said(await storage.tagged(ChatThread, thread.lineage_id, "main")) == "a b c"
    await storage.tag("main", versions[1], move=True)
    assert said(await storage.tagged(ChatThread, thread.lineage_id, "main")) == "a b"


async def test_a_tag_is_taken_away(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b")
    await storage.tag("old", versions[0])
    await storage.tag("new", versions[1])
    await storage.untag("old", thread.lineage_id)
    assert list(await storage.tags(thread.lineage_id)) == ["new"]
    with pytest.raises(TagNotFound, match="its tags are: 'new'"):
        await storage.untag("old", thread.lineage_id)
    with pytest.raises(TagNotFound, match="none"):
        await storage.tagged(ChatThread, uuid4(), "old")
    await storage.tag("old", versions[1])
    assert {name: info.ecs_id for name, info in (await storage.tags(thread.lineage_id)).items()} == {"old": versions[1], "new": versions[1]}


async def test_tags_belong_to_their_lineage(storage: EntityStorage) -> None:
    one, _ = await line(storage, "a")
    other, _ = await line(storage, "x")
    await storage.tag("main", one)
    await storage.tag("main", other)
    assert said(await storage.tagged(ChatThread, one.lineage_id, "main")) == "a"
    assert said(await storage.tagged(ChatThread, other.lineage_id, "main")) == "x"
    with pytest.raises(WrongEntityType):
        await storage.tagged(Box, one.lineage_id, "main")


async def test_what_was_just_submitted_can_be_tagged(storage: EntityStorage) -> None:
    thread = a_thread("a")
    storage.submit(thread)
    await storage.tag("now", thread)
    assert said(await storage.tagged(ChatThread, thread.lineage_id, "now")) == "a"
    with pytest.raises(VersionNotFound):
        await storage.tag("never", a_thread())


@pytest.mark.parametrize("name", ["", " main", "main\n", "a\0b", "\ud83d", "x" * 201])
async def test_a_tag_has_a_name_that_can_be_read(storage: EntityStorage, name: str) -> None:
    thread, _ = await line(storage, "a")
    with pytest.raises(InvalidTagName, match="printable"):
        await storage.tag(name, thread)
    assert await storage.tags(thread.lineage_id) == {}
    await storage.tag("Größe 🙂 'x\"", thread)
    assert list(await storage.tags(thread.lineage_id)) == ["Größe 🙂 'x\""]


async def test_tags_are_there_when_the_database_is_opened_again(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        thread, versions = await line(storage, "a", "b")
        await storage.tag("main", versions[0])
    async with open_storage(sql_url) as storage:
        assert said(await storage.tagged(ChatThread, thread.lineage_id, "main")) == "a"
        with pytest.raises(TagTaken):
            await storage.tag("main", versions[1])


async def test_of_two_who_want_a_name_at_once_one_has_it(sql_url: str) -> None:
    async with open_storage(sql_url) as one, open_storage(sql_url) as other:
        thread, versions = await line(one, "a", "b")
        outcomes = await asyncio.gather(one.tag("main", versions[0]), other.tag("main", versions[1]), return_exceptions=True)
        [refused] = [outcome for outcome in outcomes if isinstance(outcome, TagTaken)]
        assert {info.ecs_id for info in (await other.tags(thread.lineage_id)).values()} == {refused.holder}
