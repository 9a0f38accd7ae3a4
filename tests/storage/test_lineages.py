"""What every storage promises about lineages: time travel, going back, rebasing, merging, and names for versions."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from minference.ecs.diff_values import ABSENT
from minference.ecs.entity import Entity
from minference.ecs.plan import BackRef
from minference.errors import (
    FrozenSnapshot,
    InvalidTagName,
    NothingYet,
    StaleVersion,
    TagNotFound,
    TagTaken,
    TimeWithoutZone,
    UnrelatedVersions,
    UnsavedChanges,
    VersionNotFound,
    WrongEntityType,
)
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt
from minference.threads.thread import ChatThread


class Item(Entity, kind="lineage_item"):
    text: str = ""
    box: Annotated[Box | None, BackRef("items")] = None


class Box(Entity, kind="lineage_box"):
    name: str = ""
    size: int = 0
    lid: Item | None = None
    items: list[Item] = Field(default_factory=list)
    named: dict[str, Item] = Field(default_factory=dict)


class Ring(Entity, kind="lineage_ring"):
    name: str
    next: Ring | None = None


def a_thread(*contents: str, **fields: object) -> ChatThread:
    history = [ChatMessage(role=MessageRole.user, content=content) for content in contents]
    return ChatThread.model_validate({"llm_config": LLMConfig(client="scripted", model="m"), "history": history, **fields})


def say(thread: ChatThread, content: str) -> None:
    thread.history.append(ChatMessage(role=MessageRole.user, content=content))


def said(thread: ChatThread) -> str:
    return " ".join(message.content for message in thread.history)


async def line(storage: EntityStorage, *contents: str) -> tuple[ChatThread, list[UUID]]:
    """A thread whose versions are one message apart, and their ids."""
    thread = a_thread()
    versions: list[UUID] = []
    for content in contents:
        say(thread, content)
        await storage.register(thread)
        versions.append(thread.ecs_id)
    return thread, versions


async def versions_of(storage: EntityStorage, *entities: Entity) -> list[int]:
    return [len(await storage.lineage(entity.lineage_id)) for entity in entities]


# --- time travel --------------------------------------------------------------------------------------------------------


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


# --- going back ---------------------------------------------------------------------------------------------------------


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


# --- ancestors and rebasing ---------------------------------------------------------------------------------------------


async def test_the_common_ancestor_is_where_two_branches_part(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b", "c")
    branch = await storage.get(ChatThread, versions[1])
    say(branch, "x")
    await storage.register(branch)
    found = await storage.common_ancestor(thread, branch)
    assert found is not None
    assert found.ecs_id == versions[1]
    assert await storage.common_ancestor(versions[0], branch.ecs_id) == await storage.info(versions[0])
    assert await storage.common_ancestor(thread, thread.history[0]) is None
    with pytest.raises(VersionNotFound):
        await storage.common_ancestor(thread, uuid4())


async def test_a_refused_save_is_rebased_and_saved(storage: EntityStorage) -> None:
    thread = a_thread("a", "b", name="t")
    await storage.register(thread)
    mine = await storage.get(ChatThread, thread.ecs_id)
    thread.history[0].content = "A"
    thread.name = "theirs"
    await storage.register(thread)
    mine.system_prompt = SystemPrompt(content="mine")
    mine.history[1].content = "B"
    held = mine.history[1]
    with pytest.raises(StaleVersion):
        await storage.register(mine, on_conflict="raise")
    result = await storage.rebase(mine)
    assert (result.entity, result.conflicts) == (mine, ())
    assert (mine.ecs_id, mine.name, said(mine), mine.history[1] is held) == (thread.ecs_id, "theirs", "A B", True)
    assert await versions_of(storage, thread, held) == [2, 1]
    commit = await storage.submit(mine, on_conflict="raise")
    assert set(commit.versions) == {mine.ecs_id, held.ecs_id, mine.system_prompt.ecs_id}
    assert mine.parent_id == thread.ecs_id
    assert said(await storage.get(ChatThread, mine.ecs_id)) == "A B"
    assert len(await storage.heads(mine.lineage_id)) == 1


async def test_a_branch_is_rebased_onto_the_main_line_and_its_versions_are_used_again(storage: EntityStorage) -> None:
    _, versions = await line(storage, "a", "b")
    branch = await storage.get(ChatThread, versions[0])
    branch.history[0].content = "A"
    branch.name = "branch"
    await storage.register(branch)
    message = branch.history[0].ecs_id
    assert (await storage.rebase(branch)).conflicts == ()
    assert (branch.ecs_id, branch.name, said(branch)) == (versions[1], "branch", "A b")
    assert (await storage.submit(branch)).versions == (branch.ecs_id,)
    assert branch.history[0].ecs_id == message
    assert branch.parent_id == versions[1]
    assert (await storage.rebase(branch)).conflicts == ()
    assert (await storage.submit(branch)).versions == ()


async def test_an_object_without_changes_moves_on_to_the_head(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b", "c")
    old = await storage.get(ChatThread, versions[0])
    kept = old.history[0]
    await storage.rebase(old)
    assert (old.ecs_id, old.parent_id, said(old), old.history[0] is kept) == (versions[2], versions[1], "a b c", True)
    assert (await storage.submit(old)).versions == ()
    assert (await storage.rebase(thread)).entity is thread
    assert (thread.ecs_id, said(thread)) == (versions[2], "a b c")
    say(old, "d")
    await storage.register(old, on_conflict="raise")
    assert said(await storage.get(ChatThread, old.ecs_id)) == "a b c d"


async def test_a_rebase_returns_conflicts_and_keeps_ones_own_side(storage: EntityStorage) -> None:
    thread = a_thread("a", name="t")
    await storage.register(thread)
    mine = await storage.get(ChatThread, thread.ecs_id)
    thread.name = "theirs"
    say(thread, "x")
    await storage.register(thread)
    mine.name = "mine"
    say(mine, "y")
    conflicts = (await storage.rebase(mine)).conflicts
    assert [(conflict.path, conflict.base) for conflict in conflicts] == [("name", "t"), ("history[1]", ())]
    assert (conflicts[0].ours, conflicts[0].theirs) == ("mine", "theirs")
    assert (mine.name, said(mine), mine.ecs_id) == ("mine", "a y", thread.ecs_id)


async def test_a_rebase_with_append_puts_ones_own_messages_last(storage: EntityStorage) -> None:
    thread, _ = await line(storage, "a")
    mine = await storage.get(ChatThread, thread.ecs_id)
    say(thread, "x")
    await storage.register(thread)
    say(mine, "y")
    assert (await storage.rebase(mine, strategy="append")).conflicts == ()
    await storage.register(mine, on_conflict="raise")
    assert said(await storage.get(ChatThread, mine.ecs_id)) == "a x y"


async def test_what_holds_a_rebased_object_is_changed_too(storage: EntityStorage) -> None:
    box = Box(lid=Item(text="a"))
    await storage.register(box)
    assert box.lid is not None
    other = await storage.get(Item, box.lid.ecs_id)
    other.text = "b"
    await storage.register(other)
    await storage.rebase(box.lid)
    assert (await storage.submit(box)).versions == (box.ecs_id,)
    copy = await storage.get(Box, box.ecs_id)
    assert copy.lid is not None
    assert (copy.lid.text, copy.lid.ecs_id) == ("b", other.ecs_id)


async def test_an_explicit_target_must_be_of_the_lineage(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b")
    other, _ = await line(storage, "x")
    with pytest.raises(UnrelatedVersions):
        await storage.rebase(thread, other)
    await storage.rebase(thread, versions[0])
    assert (thread.ecs_id, said(thread)) == (versions[1], "a b")
    with pytest.raises(VersionNotFound):
        await storage.rebase(a_thread())


# --- merging ------------------------------------------------------------------------------------------------------------


async def forked(storage: EntityStorage, thread: ChatThread) -> tuple[ChatThread, ChatThread]:
    """The thread, and a second copy of its version."""
    await storage.register(thread)
    return thread, await storage.get(ChatThread, thread.ecs_id)


async def test_a_merge_is_the_next_version_of_ours_and_its_note_names_both(
    storage: EntityStorage, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = await forked(storage, a_thread("a", "b", name="t"))
    ours.history[0].content = "A"
    await storage.register(ours)
    theirs.history[1].content = "B"
    theirs.name = "theirs"
    await storage.register(theirs)
    standing, edited = ours.ecs_id, ours.history[0]
    caplog.clear()
    result = await storage.merge(ours, theirs, author="ann", note="both")
    assert (result.entity, result.conflicts) == (ours, ())
    assert (said(ours), ours.name, ours.parent_id) == ("A B", "theirs", standing)
    assert said(await storage.get(ChatThread, ours.ecs_id)) == "A B"
    info = await storage.info(ours.ecs_id)
    assert (info.commit.author, info.commit.note) == ("ann", f"both (merge {theirs.ecs_id} into {standing})")
    assert await versions_of(storage, ours, *ours.history) == [4, 2, 2]
    assert (ours.history[0] is edited, ours.history[1] is theirs.history[1]) == (True, False)
    assert ours.history[1].ecs_id == theirs.history[1].ecs_id
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_both_edited_in_one_message_becomes_its_next_version(storage: EntityStorage) -> None:
    ours, theirs = await forked(storage, a_thread("a"))
    ours.history[0].content = "A"
    await storage.register(ours)
    theirs.history[0].tool_name = "t"
    await storage.register(theirs)
    before = ours.history[0].ecs_id
    assert (await storage.merge(ours, theirs.ecs_id)).conflicts == ()
    merged = (await storage.get(ChatThread, ours.ecs_id)).history[0]
    assert (merged.content, merged.tool_name, merged.parent_id) == ("A", "t", before)


async def test_conflicts_are_returned_and_nothing_is_saved(storage: EntityStorage) -> None:
    ours, theirs = await forked(storage, a_thread("a", "b", name="t"))
    ours.name = "mine"
    ours.history[1].content = "B"
    await storage.register(ours)
    theirs.name = "yours"
    theirs.history.pop()
    theirs.history[0].content = "A"
    await storage.register(theirs)
    standing, number = ours.ecs_id, await versions_of(storage, ours)
    first, second = (await storage.merge(ours, theirs)).conflicts
    assert (first.path, first.base, first.ours, first.theirs) == ("name", "t", "mine", "yours")
    assert (second.path, second.base.content, second.ours, second.theirs) == ("history[1]", "b", ours.history[1], ABSENT)
    assert (ours.ecs_id, ours.name, said(ours)) == (standing, "mine", "A B")
    assert await versions_of(storage, ours) == number
    ours.name = "settled"
    await storage.register(ours, on_conflict="raise")
    assert (ours.parent_id, said(await storage.get(ChatThread, ours.ecs_id))) == (standing, "A B")


async def test_a_merge_that_is_given_up_leaves_the_version_as_it_was(storage: EntityStorage) -> None:
    ours, theirs = await forked(storage, a_thread("a", name="t"))
    ours.name, theirs.name, theirs.history[0].content = "mine", "yours", "A"
    await storage.register(ours)
    await storage.register(theirs)
    standing = ours.ecs_id
    assert (await storage.merge(ours, theirs)).conflicts
    await storage.revert(ours, to=standing)
    assert (ours.ecs_id, ours.name, said(ours)) == (standing, "mine", "a")
    assert (await storage.submit(ours)).versions == ()


@pytest.mark.parametrize(("strategy", "expected"), [("ours", "a x"), ("theirs", "a y z"), ("append", "a x y z")])
async def test_two_continuations_are_settled_by_a_strategy(storage: EntityStorage, strategy: str, expected: str) -> None:
    ours, theirs = await forked(storage, a_thread("a"))
    say(ours, "x")
    await storage.register(ours)
    for content in "yz":
        say(theirs, content)
        await storage.register(theirs)
    assert (await storage.merge(ours, theirs, strategy)).conflicts == ()  # type: ignore[arg-type]  # a Literal, from a table
    assert said(await storage.get(ChatThread, ours.ecs_id)) == expected
    assert said(await storage.get(ChatThread, theirs.ecs_id)) == "a y z"


async def test_merging_what_continues_ours_moves_on_to_it(storage: EntityStorage) -> None:
    ours, theirs = await forked(storage, a_thread("a"))
    say(theirs, "b")
    await storage.register(theirs)
    assert (await storage.merge(ours, theirs)).conflicts == ()
    assert (ours.ecs_id, said(ours)) == (theirs.ecs_id, "a b")
    assert await versions_of(storage, ours) == [2]
    say(theirs, "c")
    await storage.register(theirs)
    ours.name = "unsaved"
    await storage.merge(ours, theirs)
    assert (ours.parent_id, ours.name, said(ours)) == (theirs.ecs_id, "unsaved", "a b c")
    assert len(await storage.heads(ours.lineage_id)) == 1


async def test_merging_what_ours_came_from_changes_nothing(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b")
    for theirs in versions:
        assert (await storage.merge(thread, theirs)).conflicts == ()
    assert (thread.ecs_id, await versions_of(storage, thread)) == (versions[1], [2])


async def test_unsaved_changes_of_ours_are_merged_and_those_of_theirs_refused(storage: EntityStorage) -> None:
    ours, theirs = await forked(storage, a_thread("a", "b"))
    say(ours, "c")
    await storage.register(ours)
    ours.name = "unsaved"
    theirs.history[0].content = "A"
    with pytest.raises(UnsavedChanges, match="register it first"):
        await storage.merge(ours, theirs)
    await storage.register(theirs)
    await storage.merge(ours, theirs)
    copy = await storage.get(ChatThread, ours.ecs_id)
    assert (copy.name, said(copy)) == ("unsaved", "A b c")


async def test_versions_of_different_lineages_are_not_merged(storage: EntityStorage) -> None:
    thread, _ = await line(storage, "a")
    other, _ = await line(storage, "x")
    with pytest.raises(UnrelatedVersions, match="one lineage"):
        await storage.merge(thread, other)
    with pytest.raises(VersionNotFound):
        await storage.merge(thread, uuid4())
    assert (said(thread), await versions_of(storage, thread)) == ("a", [1])


async def test_a_merge_and_a_revert_inside_a_recording_become_its_commit(storage: EntityStorage) -> None:
    ours, theirs = await forked(storage, a_thread("a"))
    ours.name = "mine"
    await storage.register(ours)
    theirs.new_message = "yours"
    await storage.register(theirs)
    async with storage.recording(note="block") as block:
        await storage.merge(ours, theirs)
    assert block.commit is not None
    assert block.commit.versions == (ours.ecs_id,)
    assert (await storage.get(ChatThread, ours.ecs_id)).new_message == "yours"


EDITS = st.lists(st.tuples(st.sampled_from(["say", "edit", "remove", "name"]), st.integers(0, 9)), max_size=5)


def _edit(thread: ChatThread, edits: list[tuple[str, int]], side: str) -> None:
    for number, (kind, place) in enumerate(edits):
        text = f"{side}{number}"
        if kind == "say":
            say(thread, text)
        elif kind == "name":
            thread.name = text
        elif thread.history and kind == "edit":
            thread.history[place % len(thread.history)].content = text
        elif thread.history:
            thread.history.pop(place % len(thread.history))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ours_edits=EDITS, theirs_edits=EDITS, saves=st.booleans(), way=st.sampled_from(["merge", "rebase", "revert"]))
async def test_what_is_in_memory_afterwards_is_what_is_stored(
    ours_edits: list[tuple[str, int]], theirs_edits: list[tuple[str, int]], saves: bool, way: str
) -> None:
    async with open_storage("memory:") as storage:
        ours, theirs = await forked(storage, a_thread("a", "b", "c"))
        _edit(ours, ours_edits, "o")
        _edit(theirs, theirs_edits, "t")
        if saves:
            await storage.register(ours)
        await storage.register(theirs)
        written = {message.content for thread in (ours, theirs) for message in thread.history}
        match way:
            case "merge":
                conflicts = (await storage.merge(ours, theirs, "append")).conflicts
            case "rebase":
                conflicts = (await storage.rebase(ours, theirs, strategy="append")).conflicts
            case _:
                await storage.revert(ours, to=theirs.ecs_id)
                conflicts = ()
                assert not await storage.diff(theirs, ours)
        if way != "revert":
            named = {message.content for each in conflicts for message in (each.ours, each.theirs) if isinstance(message, ChatMessage)}
            named |= {str(side) for each in conflicts for side in (each.ours, each.theirs)}
            new = {text for text in written if text not in "abc"}
            assert new <= {message.content for message in ours.history} | named
        await storage.register(ours)
        assert not await storage.diff(ours, ours.ecs_id)
        assert (await storage.submit(ours)).versions == ()
        parents = {info.ecs_id for info in await storage.lineage(ours.lineage_id)}
        assert ours.parent_id is None or ours.parent_id in parents


# --- names --------------------------------------------------------------------------------------------------------------


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
