"""What every storage promises about branches: where they part, rebasing one, and merging two."""

from __future__ import annotations

import logging
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minference.ecs.diff_values import ABSENT
from minference.errors import StaleVersion, UnrelatedVersions, UnsavedChanges, VersionNotFound
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.messages import ChatMessage, SystemPrompt
from minference.threads.thread import ChatThread
from tests.storage.edits import Thing
from tests.storage.lineage_samples import Box, Item, Scale, Shelf, a_thread, line, said, say, versions_of
from tests.support.examples import examples


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


async def test_a_rebase_takes_along_what_moved_on_with_another_holder(storage: EntityStorage) -> None:
    thread = a_thread("a", "b", name="one")
    other = ChatThread(name="other", llm_config=thread.llm_config, history=list(thread.history))
    await storage.register(thread, other)
    thread.history[0].content, thread.history[1].content = "A", "B"
    await storage.register(thread)
    mine = await storage.get(ChatThread, other.ecs_id)
    mine.history[0].content = "mine"
    say(mine, "c")
    for refused in (mine, await storage.get(ChatThread, other.ecs_id)):
        refused.history[0].content = "mine"
        with pytest.raises(StaleVersion):
            await storage.register(refused, on_conflict="raise")
    [conflict] = (await storage.rebase(mine)).conflicts
    assert (conflict.path, conflict.ours, conflict.theirs) == ("content", "mine", "A")
    assert said(mine) == "mine b c"
    await storage.register(mine, on_conflict="raise")
    assert mine.history[0].parent_id == thread.history[0].ecs_id
    assert said(await storage.get(ChatThread, mine.ecs_id)) == "mine b c"


async def test_a_rebase_takes_along_what_only_a_rebase_has_changed(storage: EntityStorage) -> None:
    """The item is saved; but with the box it comes to stand on a version which others have continued."""
    item = Thing(name="item")
    box = Thing(name="box", one=item)
    root = Thing(name="root", one=box)
    await storage.register(root)
    theirs = await storage.get(Thing, box.ecs_id)
    item.name = "mine"
    await storage.register(item)
    assert theirs.one is not None
    theirs.one.number = 1
    await storage.register(theirs)
    theirs.one.data = {"more": True}
    await storage.register(theirs.one)
    assert (await storage.rebase(root)).conflicts == ()
    assert (item.name, item.number, item.data, item.ecs_id) == ("mine", 1, {"more": True}, theirs.one.ecs_id)
    await storage.register(root, on_conflict="raise")


async def test_what_a_rebase_has_put_on_the_end_of_its_line_stays_there(storage: EntityStorage) -> None:
    """In a cycle there is no order: what the second one's versions hold of the first is older than where that stands."""
    one, two = Thing(name="one"), Thing(name="two")
    one.other, two.other = two, one
    root = Thing(name="root", one=one)
    await storage.register(root)
    theirs = await storage.get(Thing, one.ecs_id)
    theirs.number = 1
    await storage.register(theirs)
    theirs.number, theirs.other = 2, None
    await storage.register(theirs)
    one.data, two.data = {"mine": True}, {"mine": True}
    await storage.rebase(root)
    assert (one.ecs_id, one.number, one.data) == (theirs.ecs_id, 2, {"mine": True})
    await storage.register(root, on_conflict="raise")
    assert one.parent_id == theirs.ecs_id


async def test_what_a_merge_takes_from_a_cold_snapshot_can_change(storage: EntityStorage) -> None:
    """One side pins a version of the part, with data that the other has not: the mix is no snapshot any more."""
    part = Thing(name="part")
    ours = Thing(name="root", one=part)
    await storage.register(ours)
    theirs = await storage.get(Thing, ours.ecs_id)
    part.data = {"a": [1, {"b": 2}]}
    await storage.register(part)
    ours.one = await storage.get_cold_snapshot(Thing, part.ecs_id)
    await storage.register(ours)
    assert theirs.one is not None
    theirs.one.name = "theirs"
    await storage.register(theirs)
    assert (await storage.merge(ours, theirs)).conflicts == ()
    assert (ours.one.name, ours.one.data) == ("theirs", {"a": [1, {"b": 2}]})
    ours.one.data["a"].append(3)  # type: ignore[union-attr]
    await storage.register(ours)
    again = await storage.get(Thing, ours.ecs_id)
    assert again.one is not None
    assert again.one.data == {"a": [1, {"b": 2}, 3]}


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
    shelf = Shelf(boxes=[Box(items=[Item(text="a")])])
    await storage.register(shelf)
    [item] = shelf.boxes[0].items
    other = await storage.get(Item, item.ecs_id)
    other.text = "b"
    await storage.register(other)
    await storage.rebase(item)
    assert (await storage.submit(shelf)).versions == (shelf.boxes[0].ecs_id, shelf.ecs_id)
    [copy] = (await storage.get(Shelf, shelf.ecs_id)).boxes[0].items
    assert (copy.text, copy.ecs_id) == ("b", other.ecs_id)


async def test_what_holds_a_merged_object_is_changed_too(storage: EntityStorage) -> None:
    item = Item(text="a")
    shelf, other = Shelf(boxes=[Box(items=[item])]), Shelf(boxes=[Box(items=[item])])
    await storage.register(shelf, other)
    box = shelf.boxes[0]
    theirs = await storage.get(Box, box.ecs_id)
    theirs.items[0].text, theirs.name = "b", "theirs"
    await storage.register(theirs)
    box.size = 1
    await storage.register(shelf)
    await storage.merge(box, theirs)
    assert (await storage.submit(shelf)).versions == (shelf.ecs_id,)
    [copy] = (await storage.get(Shelf, shelf.ecs_id)).boxes
    assert (copy.size, copy.name, copy.items[0].text) == (1, "theirs", "b")
    assert (await storage.submit(other)).versions == ()


async def test_what_a_conflicting_merge_put_into_an_object_is_found_by_its_holders(storage: EntityStorage) -> None:
    shelf = Shelf(boxes=[Box(name="a")])
    await storage.register(shelf)
    [box] = shelf.boxes
    theirs = await storage.get(Box, box.ecs_id)
    theirs.name, theirs.size = "theirs", 2
    await storage.register(theirs)
    box.name = "ours"
    await storage.register(shelf)
    assert (await storage.merge(box, theirs)).conflicts
    assert (await storage.submit(shelf)).versions == (box.ecs_id, shelf.ecs_id)
    assert (await storage.get(Box, box.ecs_id)).size == 2


async def test_what_a_conflicting_merge_put_below_an_object_is_found_by_others_that_hold_it(storage: EntityStorage) -> None:
    box = Box(name="a")
    shelf, other = Shelf(boxes=[box]), Shelf(boxes=[box])
    await storage.register(shelf)
    theirs = await storage.get(Shelf, shelf.ecs_id)
    theirs.boxes[0].name, theirs.boxes[0].size = "theirs", 2
    await storage.register(theirs)
    box.name = "ours"
    await storage.register(shelf)
    await storage.register(other)
    assert (await storage.merge(shelf, theirs)).conflicts
    assert (await storage.submit(other)).versions == (box.ecs_id, other.ecs_id)
    assert (await storage.get(Box, box.ecs_id)).size == 2


async def test_a_change_that_the_head_holds_already_needs_no_version(storage: EntityStorage) -> None:
    thread = a_thread("a")
    await storage.register(thread)
    mine = await storage.get(ChatThread, thread.ecs_id)
    for each in (thread, mine):
        each.history[0].content = "A"
    await storage.register(thread)
    await storage.rebase(mine)
    assert (await storage.submit(mine)).versions == ()
    assert (mine.ecs_id, mine.history[0].ecs_id) == (thread.ecs_id, thread.history[0].ecs_id)


async def test_an_explicit_target_must_be_of_the_lineage(storage: EntityStorage) -> None:
    thread, versions = await line(storage, "a", "b")
    other, _ = await line(storage, "x")
    with pytest.raises(UnrelatedVersions):
        await storage.rebase(thread, other)
    await storage.rebase(thread, versions[0])
    assert (thread.ecs_id, said(thread)) == (versions[1], "a b")
    with pytest.raises(VersionNotFound):
        await storage.rebase(a_thread())


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


async def test_what_holds_something_that_both_edited_alike_stays_on_our_line(storage: EntityStorage) -> None:
    ours = Shelf(boxes=[Box(lid=Item(text="a"))])
    await storage.register(ours)
    theirs = await storage.get(Shelf, ours.ecs_id)
    for each in (ours, theirs):
        assert each.boxes[0].lid is not None
        each.boxes[0].lid.text = "A"
    theirs.boxes[0].size = 1
    await storage.register(ours)
    await storage.register(theirs)
    before, lid = ours.boxes[0].ecs_id, ours.boxes[0].lid
    assert (await storage.merge(ours, theirs)).conflicts == ()
    [box] = ours.boxes
    assert (box.parent_id, box.size, box.lid is lid) == (before, 1, True)


async def test_a_second_copy_of_one_version_is_no_change(storage: EntityStorage) -> None:
    item = Item(text="a")
    ours = Box(lid=item, items=[item])
    await storage.register(ours)
    theirs = await storage.get(Box, ours.ecs_id)
    theirs.items[0].text = "A"
    await storage.register(theirs)
    ours.lid = await storage.get(Item, item.ecs_id)
    ours.size = 1
    await storage.register(ours)
    assert (await storage.merge(ours, theirs)).conflicts == ()
    assert ours.lid is ours.items[0]
    assert ours.lid.text == "A"


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


async def test_trying_out_whether_changes_go_together_saves_nothing_else(storage: EntityStorage) -> None:
    ours = Scale()
    await storage.register(ours)
    theirs = await storage.get(Scale, ours.ecs_id)
    ours.low, theirs.high = 1, 2
    await storage.register(ours, theirs)
    async with storage.recording() as block:
        await storage.merge(ours, theirs)
    assert block.commit is not None
    assert block.commit.versions == (ours.ecs_id,)
    assert len(await storage.list_by_type(Scale)) == 1


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


@settings(max_examples=examples(25, 200), suppress_health_check=[HealthCheck.function_scoped_fixture])
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
