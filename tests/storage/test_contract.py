"""What every storage promises, once, for all of them."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ConfigDict, Field, JsonValue, ValidationError, model_validator

from minference.ecs.entity import Entity
from minference.ecs.registry import EntityRegistry
from minference.errors import (
    FrozenSnapshot,
    StaleVersion,
    UnstorableValue,
    VersionExists,
    VersionNotFound,
    WrongEntityType,
    WrongMember,
)
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt, ToolCall, Usage
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool


class Leaf(Entity, kind="contract_leaf"):
    text: str = ""
    data: dict[str, JsonValue] = Field(default_factory=dict)


class Branchy(Entity, kind="contract_branch"):
    name: str = ""
    left: Leaf | None = None
    right: Leaf | None = None
    leaves: list[Leaf] = Field(default_factory=list)
    pair: tuple[Leaf, ...] = ()
    named: dict[str, Leaf] = Field(default_factory=dict)


class Trunk(Entity, kind="contract_trunk"):
    branches: list[Branchy] = Field(default_factory=list)


class Node(Entity, kind="contract_node"):
    name: str
    next: Node | None = None
    others: list[Node] = Field(default_factory=list)


class Guarded(Entity, kind="contract_guarded"):
    model_config = ConfigDict(validate_assignment=True)
    low: int = 0
    high: int = 10

    @model_validator(mode="after")
    def in_order(self) -> Guarded:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        if self.low < 0:
            raise ArithmeticError("a failure that pydantic does not take for its own")
        return self


def a_thread(**fields: object) -> ChatThread:
    return ChatThread.model_validate({"llm_config": LLMConfig(client="scripted", model="m"), **fields})


def ids(*entities: Entity) -> list[UUID]:
    return [entity.ecs_id for entity in entities]


async def version_count(storage: EntityStorage, *entities: Entity) -> list[int]:
    return [len(await storage.lineage(entity.lineage_id)) for entity in entities]


async def test_constructing_stores_nothing_and_keeps_the_id(storage: EntityStorage) -> None:
    thread = a_thread(name="new")
    before = thread.ecs_id
    assert not await storage.has_entity(before)
    await storage.register(thread)
    assert thread.ecs_id == before
    assert thread.parent_id is None
    assert await storage.has_entity(before)


async def test_a_warm_copy_equals_what_was_saved_in_every_field(storage: EntityStorage) -> None:
    tool = CallableTool(name="add", docstring="Adds.", input_schema={"type": "object", "properties": {"b": {}, "a": {}}})
    usage = Usage(model="m", prompt_tokens=3, completion_tokens=4, total_tokens=7, cached_tokens=1)
    call = ToolCall.from_arguments("c1", "add", {"a": 1, "text": "ü\u0000\ud83d"})
    thread = a_thread(
        name="tout",
        system_prompt=SystemPrompt(content="Be \0 brief 🙂"),
        tools=[tool],
        history=[
            ChatMessage(role=MessageRole.user, content="\ud83d lone"),
            ChatMessage(role=MessageRole.assistant, tool_calls=(call,), usage=usage),
        ],
    )
    await storage.register(thread)
    copy = await storage.get(ChatThread, thread.ecs_id)
    assert copy is not thread
    assert len({thread, copy, await storage.get(ChatThread, thread.ecs_id)}) == 3
    assert copy != thread
    hide: set[str] = {"live_id"}
    assert _dump(copy, hide) == _dump(thread, hide)
    assert type(copy.history) is list
    assert list(copy.tools[0].input_schema["properties"]) == ["b", "a"]  # type: ignore[arg-type]  # JSON


def _dump(entity: Entity, hide: set[str]) -> object:
    def strip(value: object) -> object:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if key not in hide}
        if isinstance(value, list | tuple):
            return [strip(item) for item in value]
        return value

    return strip(entity.model_dump())


async def test_saving_twice_makes_no_version(storage: EntityStorage) -> None:
    thread = a_thread()
    await storage.register(thread)
    first = thread.ecs_id
    commit = await storage.submit(thread)
    assert (commit.info, commit.versions, thread.ecs_id) == (None, (), first)


async def test_loading_then_saving_makes_no_version(storage: EntityStorage) -> None:
    tree = Branchy(left=Leaf(data={"a": [1, 2.5, None]}), leaves=[Leaf(), Leaf()], pair=(Leaf(),), named={"x": Leaf()})
    await storage.register(tree)
    copy = await storage.get(Branchy, tree.ecs_id)
    assert (await storage.submit(copy)).versions == ()


async def test_appending_a_message_makes_one_version_of_it_and_one_of_the_thread(storage: EntityStorage) -> None:
    thread = a_thread(history=[ChatMessage(role=MessageRole.user, content=str(i)) for i in range(5)])
    await storage.register(thread)
    old, parents = thread.ecs_id, ids(*thread.history, thread.llm_config)
    thread.history.append(ChatMessage(role=MessageRole.assistant, content="new"))
    commit = await storage.submit(thread, author="me", note="why")
    assert commit.versions == (thread.history[-1].ecs_id, thread.ecs_id)
    assert commit.info is not None
    assert (commit.info.author, commit.info.note) == ("me", "why")
    assert thread.parent_id == old
    assert ids(*thread.history[:-1], thread.llm_config) == parents


async def test_editing_a_message_makes_one_version_of_it_and_one_of_the_thread(storage: EntityStorage) -> None:
    thread = a_thread(history=[ChatMessage(role=MessageRole.user, content=str(i)) for i in range(5)])
    await storage.register(thread)
    first = thread.ecs_id
    thread.history[2].content = "edited"
    commit = await storage.submit(thread)
    assert commit.versions == (thread.history[2].ecs_id, thread.ecs_id)
    old = await storage.get(ChatThread, first)
    assert [m.content for m in old.history] == ["0", "1", "2", "3", "4"]
    new = await storage.get(ChatThread, thread.ecs_id)
    assert [m.content for m in new.history] == ["0", "1", "edited", "3", "4"]


async def test_every_ancestor_of_a_change_gets_one_version_and_siblings_none(storage: EntityStorage) -> None:
    trunk = Trunk(branches=[Branchy(leaves=[Leaf(), Leaf()]), Branchy(leaves=[Leaf()])])
    await storage.register(trunk)
    still = ids(trunk.branches[1], trunk.branches[1].leaves[0], trunk.branches[0].leaves[1])
    leaf = trunk.branches[0].leaves[0]
    leaf.data["deep"] = {"er": [1]}
    commit = await storage.submit(trunk)
    assert commit.versions == (leaf.ecs_id, trunk.branches[0].ecs_id, trunk.ecs_id)
    assert ids(trunk.branches[1], trunk.branches[1].leaves[0], trunk.branches[0].leaves[1]) == still


async def test_a_shared_child_gets_one_version_for_all_who_hold_it(storage: EntityStorage) -> None:
    shared = Leaf(text="one")
    trunk = Trunk(branches=[Branchy(left=shared, right=shared, leaves=[shared, shared]), Branchy(named={"s": shared})])
    await storage.register(trunk)
    shared.text = "two"
    commit = await storage.submit(trunk)
    assert sorted(commit.versions) == sorted(ids(shared, *trunk.branches, trunk))
    copy = await storage.get(Trunk, trunk.ecs_id)
    assert copy.branches[0].left is copy.branches[0].right is copy.branches[0].leaves[1] is copy.branches[1].named["s"]


async def test_cycles_fork_once_each_and_point_at_the_new_versions(storage: EntityStorage) -> None:
    a, b = Node(name="a"), Node(name="b")
    a.next, b.next = b, a
    loner = Node(name="self")
    loner.others = [loner]
    a.others = [loner]
    await storage.register(a)
    b.name = "B"
    commit = await storage.submit(a)
    assert sorted(commit.versions) == sorted(ids(a, b))
    copy = await storage.get(Node, a.ecs_id)
    assert copy.next is not None
    assert copy.next.next is copy
    assert (copy.next.name, copy.others[0].others[0] is copy.others[0]) == ("B", True)
    assert (await storage.submit(copy)).versions == ()


@pytest.mark.parametrize("place", range(5))
async def test_a_change_anywhere_in_a_cycle_forks_all_of_it_once(storage: EntityStorage, place: int) -> None:
    ring = [Node(name=str(number)) for number in range(5)]
    for one, following in zip(ring, [*ring[1:], ring[0]], strict=True):
        one.next = following
    await storage.register(ring[0])
    ring[place].name = "changed"
    commit = await storage.submit(ring[0])
    assert sorted(commit.versions) == sorted(ids(*ring))
    assert await version_count(storage, *ring) == [2] * 5


EDITS: dict[str, Callable[[Branchy], object]] = {
    "another order": lambda t: t.leaves.reverse(),
    "one more in front": lambda t: t.leaves.insert(0, Leaf()),
    "one less": lambda t: t.leaves.pop(1),
    "none left": lambda t: t.leaves.clear(),
    "one twice": lambda t: t.leaves.append(t.leaves[0]),
    "another tuple": lambda t: setattr(t, "pair", t.pair[::-1]),
    "another key": lambda t: t.named.update(c=Leaf()),
    "another order of keys": lambda t: t.named.update(a=t.named.pop("a")),
    "one key less": lambda t: t.named.pop("b"),
    "keys of one entity": lambda t: setattr(t, "named", {"b": t.named["a"], "c": t.named["a"]}),
    "no reference": lambda t: setattr(t, "left", None),
    "one more reference": lambda t: setattr(t, "right", t.left),
    "another reference": lambda t: setattr(t, "left", t.leaves[0]),
    "a value": lambda t: setattr(t, "name", "other"),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_each_kind_of_change_of_a_root_is_one_version_and_restored_exactly(storage: EntityStorage, edit: str) -> None:
    tree = Branchy(left=Leaf(), leaves=[Leaf(), Leaf(), Leaf()], pair=(Leaf(), Leaf()), named={"a": Leaf(), "b": Leaf()})
    await storage.register(tree)
    old, before = tree.ecs_id, _dump(tree, {"live_id"})
    EDITS[edit](tree)
    commit = await storage.submit(tree)
    assert commit.versions[-1] == tree.ecs_id != old
    assert _dump(await storage.get(Branchy, tree.ecs_id), {"live_id"}) == _dump(tree, {"live_id"})
    assert _dump(await storage.get(Branchy, old), {"live_id"}) == before
    assert list((await storage.get(Branchy, tree.ecs_id)).named) == list(tree.named)


async def test_another_order_of_keys_is_a_change_even_if_all_of_them_name_one_entity(storage: EntityStorage) -> None:
    leaf = Leaf()
    tree = Branchy(named={"a": leaf, "b": leaf})
    await storage.register(tree)
    tree.named = {"b": leaf, "a": leaf}
    assert (await storage.submit(tree)).versions == (tree.ecs_id,)
    assert list((await storage.get(Branchy, tree.ecs_id)).named) == ["b", "a"]


async def test_an_id_of_something_else_is_a_value_like_any_other(storage: EntityStorage) -> None:
    thread = a_thread(history=[ChatMessage(role=MessageRole.user)])
    await storage.register(thread)
    [message] = thread.history
    for name in ("author_uuid", "parent_message_uuid", "tool_uuid"):
        setattr(message, name, uuid4())
        assert (await storage.submit(thread)).versions == (message.ecs_id, thread.ecs_id), name
        assert getattr(await storage.get(ChatMessage, message.ecs_id), name) == getattr(message, name)


async def test_changing_a_value_and_back_is_no_change_and_the_next_change_is_seen(storage: EntityStorage) -> None:
    thread = a_thread(history=[ChatMessage(role=MessageRole.user, content="a")])
    await storage.register(thread)
    message = thread.history[0]
    for _ in range(2):
        message.content = "b"
        message.content = "a"
        assert (await storage.submit(thread)).versions == ()
    message.content = "c"
    assert (await storage.submit(thread)).versions == (message.ecs_id, thread.ecs_id)


async def test_values_that_python_calls_equal_are_told_apart(storage: EntityStorage) -> None:
    leaf = Leaf(data={"x": 1, "y": 0.0})
    await storage.register(leaf)
    for value in (True, 1.0, 1, None, "1"):
        leaf.data["x"] = value
        assert len((await storage.submit(leaf)).versions) == 1, value
    leaf.data["y"] = -0.0
    assert len((await storage.submit(leaf)).versions) == 1
    loaded = await storage.get(Leaf, leaf.ecs_id)
    assert str(loaded.data["y"]) == "-0.0"


async def test_a_member_saved_alone_makes_its_owner_changed(storage: EntityStorage) -> None:
    shared = Leaf(text="one")
    one, two = Branchy(left=shared), Branchy(leaves=[shared])
    await storage.register(one, two)
    shared.text = "two"
    assert (await storage.submit(one)).versions == tuple(ids(shared, one))
    assert (await storage.submit(two)).versions == tuple(ids(two))
    assert (await storage.get(Branchy, two.ecs_id)).leaves[0].text == "two"


async def test_an_entity_stays_in_a_set_when_its_version_advances(storage: EntityStorage) -> None:
    leaf = Leaf()
    held = {leaf}
    await storage.register(leaf)
    leaf.text = "new"
    await storage.register(leaf)
    assert leaf in held


async def test_two_copies_of_one_version_become_siblings_and_it_is_said(storage: EntityStorage, caplog: pytest.LogCaptureFixture) -> None:
    thread = a_thread(name="base")
    await storage.register(thread)
    base = thread.ecs_id
    other = await storage.get(ChatThread, base)
    thread.name, other.name = "mine", "yours"
    assert not (await storage.submit(thread)).branched
    with caplog.at_level(logging.WARNING, "minference.storage"):
        commit = await storage.submit(other)
    [branch] = commit.branches
    assert (branch.parent, branch.sibling, branch.version) == (base, thread.ecs_id, other.ecs_id)
    assert str(thread.ecs_id) in caplog.text
    assert str(other.ecs_id) in caplog.text
    assert {head.ecs_id for head in await storage.heads(thread.lineage_id)} == {thread.ecs_id, other.ecs_id}
    assert (thread.parent_id, other.parent_id) == (base, base)


async def test_a_refused_branch_changes_nothing_and_can_be_saved_as_one_later(storage: EntityStorage) -> None:
    thread = a_thread(name="base")
    await storage.register(thread)
    base = thread.ecs_id
    other = await storage.get(ChatThread, base)
    thread.name = "mine"
    await storage.register(thread)
    other.name = "yours"
    other.history.append(ChatMessage(role=MessageRole.user, content="paid for"))
    with pytest.raises(StaleVersion) as raised:
        await storage.register(other, on_conflict="raise")
    assert (raised.value.base, raised.value.head) == (base, thread.ecs_id)
    assert (other.ecs_id, other.name, len(other.history)) == (base, "yours", 1)
    assert await version_count(storage, thread, other.history[0]) == [2, 0]
    assert (await storage.submit(other)).branched
    assert (await storage.get(ChatThread, other.ecs_id)).history[0].content == "paid for"


async def test_editing_an_old_version_branches_and_shares_what_is_before(storage: EntityStorage) -> None:
    thread = a_thread()
    await storage.register(thread)
    versions = []
    for number in range(6):
        thread.history.append(ChatMessage(role=MessageRole.user, content=str(number)))
        await storage.register(thread)
        versions.append(thread.ecs_id)
    branch = await storage.get(ChatThread, versions[2])
    branch.history.append(ChatMessage(role=MessageRole.user, content="else"))
    await storage.register(branch)
    branch.history.append(ChatMessage(role=MessageRole.user, content="more"))
    await storage.register(branch)
    assert [m.content for m in (await storage.get(ChatThread, branch.ecs_id)).history] == ["0", "1", "2", "else", "more"]
    assert [m.content for m in (await storage.get(ChatThread, versions[-1])).history] == list("012345")
    assert ids(*branch.history[:3]) == ids(*thread.history[:3])
    assert [info.ecs_id for info in await storage.ancestors(branch.ecs_id)][1] == versions[2]


class Free(Entity, kind="contract_free"):
    """Holds anything that JSON can."""

    anything: Any = None


async def test_a_cold_snapshot_cannot_change(storage: EntityStorage) -> None:
    thread = a_thread(tools=[CallableTool(name="t", input_schema={"type": "object"})])
    await storage.register(thread)
    cold = await storage.get_cold_snapshot(ChatThread, thread.ecs_id)
    with pytest.raises(FrozenSnapshot, match="name"):
        cold.name = "x"
    with pytest.raises(TypeError, match="cold snapshot"):
        cold.history.append(ChatMessage(role=MessageRole.user))
    with pytest.raises(TypeError, match="cold snapshot"):
        cold.tools[0].input_schema["x"] = 1
    with pytest.raises(FrozenSnapshot):
        cold.llm_config.model = "other"


async def test_a_value_of_a_cold_snapshot_is_stored_as_part_of_another(storage: EntityStorage) -> None:
    """Where the annotation is `Any`, pydantic keeps the frozen lists and dicts in it."""
    note = Free(anything={"a": [1, {"b": [2]}]})
    await storage.register(note)
    cold = await storage.get_cold_snapshot(Free, note.ecs_id)
    for value in (cold.anything, {"again": cold.anything}, [cold.anything["a"]]):
        note.anything = value
        await storage.register(note)
        assert (await storage.get(Free, note.ecs_id)).anything == value
    assert cold.anything == {"a": [1, {"b": [2]}]}


async def test_editing_what_was_loaded_changes_no_stored_version(storage: EntityStorage) -> None:
    leaf = Leaf(text="a", data={"k": [1]})
    await storage.register(leaf)
    for _ in range(2):
        copy = await storage.get(Leaf, leaf.ecs_id)
        assert (copy.text, copy.data) == ("a", {"k": [1]})
        copy.text = "b"
        copy.data["k"].append(2)  # type: ignore[union-attr]  # JSON
        await storage.register(copy)


async def test_loading_leaves_the_garbage_collector_as_it_was(storage: EntityStorage) -> None:
    leaf = Leaf()
    await storage.register(leaf)
    await storage.get(Leaf, leaf.ecs_id)
    assert gc.isenabled()
    gc.disable()
    try:
        await storage.get(Leaf, leaf.ecs_id)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("word", ["long ", "länger "], ids=["ASCII", "Unicode"])
async def test_text_of_any_length_is_kept(storage: EntityStorage, word: str) -> None:
    thread = a_thread(history=[ChatMessage(role=MessageRole.user, content=word * 50_000)])
    await storage.register(thread)
    assert (await storage.get(ChatThread, thread.ecs_id)).history[0].content == thread.history[0].content


async def test_asking_for_what_is_not_there_names_it(storage: EntityStorage) -> None:
    leaf = Leaf()
    await storage.register(leaf)
    missing = uuid4()
    with pytest.raises(VersionNotFound, match=str(missing)):
        await storage.get(Leaf, missing)
    with pytest.raises(VersionNotFound, match="lineage"):
        await storage.get(Leaf, leaf.lineage_id)
    with pytest.raises(WrongEntityType, match="Leaf"):
        await storage.get(ChatThread, leaf.ecs_id)


async def test_a_copy_is_a_new_logical_object(storage: EntityStorage) -> None:
    leaf = Leaf(text="a", data={"k": [1]})
    await storage.register(leaf)
    copy = leaf.model_copy(deep=True)
    copy.data["k"].append(2)  # type: ignore[union-attr]  # JSON
    await storage.register(copy)
    assert copy.lineage_id != leaf.lineage_id
    assert (await storage.get(Leaf, leaf.ecs_id)).data == {"k": [1]}
    assert (await storage.get(Leaf, copy.ecs_id)).data == {"k": [1, 2]}


async def test_an_object_with_the_id_of_a_stored_version_is_refused(storage: EntityStorage) -> None:
    leaf = Leaf(text="a")
    await storage.register(leaf)
    forged = Leaf.model_validate(leaf.model_dump() | {"text": "b"})
    with pytest.raises(VersionExists, match=str(leaf.ecs_id)):
        await storage.register(forged)
    assert (await storage.get(Leaf, leaf.ecs_id)).text == "a"


async def test_what_cannot_be_stored_is_refused_and_nothing_changes(storage: EntityStorage) -> None:
    tree = Branchy(name="a", left=Leaf(data={"x": 1}), leaves=[Leaf()])
    await storage.register(tree)
    assert tree.left is not None
    before = ids(tree, tree.left, tree.leaves[0])
    tree.leaves[0].text = "changed"
    tree.left.data["x"] = object()  # type: ignore[assignment]  # the mistake under test
    with pytest.raises(UnstorableValue):
        await storage.register(tree)
    tree.left.data["x"] = 1
    tree.leaves.append("no leaf")  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(WrongMember, match="no leaf"):
        await storage.register(tree)
    tree.leaves.pop()
    tree.leaves.append(Branchy())  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(WrongMember, match="Leaf"):
        await storage.register(tree)
    tree.leaves.pop()
    assert ids(tree, tree.left, tree.leaves[0]) == before
    commit = await storage.submit(tree)
    assert commit.versions == tuple(ids(tree.leaves[0], tree))


async def test_a_value_that_would_come_back_as_another_is_refused(storage: EntityStorage) -> None:
    leaf = Leaf(data={"x": 1})
    await storage.register(leaf)
    before = leaf.ecs_id
    leaf.data["x"] = (1, 2)  # type: ignore[assignment]  # the mistake under test
    with pytest.raises(UnstorableValue, match="read back as"):
        await storage.register(leaf)
    leaf.data["x"] = [1, 2]
    await storage.register(leaf)
    assert (leaf.parent_id, (await storage.get(Leaf, leaf.ecs_id)).data) == (before, {"x": [1, 2]})


async def test_a_root_that_cannot_be_stored_leaves_the_others_as_they_were(storage: EntityStorage) -> None:
    good, bad = Leaf(text="a"), Leaf(data={"x": 1})
    await storage.register(good, bad)
    before = ids(good, bad)
    good.text, bad.data["x"] = "b", object()  # type: ignore[assignment]  # the mistake under test
    with pytest.raises(UnstorableValue):
        await storage.register(good, bad)
    assert (ids(good, bad), good.text) == (before, "b")
    bad.data["x"] = 2
    assert (await storage.submit(good, bad)).versions == tuple(ids(good, bad))
    assert (await storage.get(Leaf, good.ecs_id)).text == "b"


async def test_a_refused_assignment_leaves_the_object_as_it_was(storage: EntityStorage) -> None:
    guarded = Guarded(low=1, high=5)
    await storage.register(guarded)
    for value in (9, "many", -1):
        with pytest.raises((ValidationError, ArithmeticError)):
            guarded.low = value  # type: ignore[assignment]  # the mistake under test
    assert (guarded.low, (await storage.submit(guarded)).versions) == (1, ())


async def test_cancelled_saves_lose_nothing(storage: EntityStorage) -> None:
    thread = a_thread()
    await storage.register(thread)
    for number in range(40):
        thread.history.append(ChatMessage(role=MessageRole.user, content=str(number)))
        save = asyncio.ensure_future(storage.register(thread))
        for _ in range(number % 12):
            await asyncio.sleep(0)
        save.cancel()
        await asyncio.gather(save, return_exceptions=True)
    await storage.register(thread)
    copy = await storage.get(ChatThread, thread.ecs_id)
    assert [m.content for m in copy.history] == [str(number) for number in range(40)]
    assert all(count == 1 for count in await version_count(storage, *copy.history))


async def test_many_tasks_saving_at_once_each_get_their_version(storage: EntityStorage) -> None:
    threads = [a_thread(name=str(number)) for number in range(50)]
    await asyncio.gather(*(storage.register(thread) for thread in threads))

    async def talk(thread: ChatThread) -> None:
        for number in range(5):
            thread.history.append(ChatMessage(role=MessageRole.user, content=f"{thread.name} {number}"))
            await storage.register(thread)

    await asyncio.gather(*map(talk, threads))
    for thread in threads:
        copy = await storage.get(ChatThread, thread.ecs_id)
        assert [m.content for m in copy.history] == [f"{thread.name} {number}" for number in range(5)]
    assert await version_count(storage, *threads) == [6] * 50


async def test_one_object_saved_by_two_tasks_at_once_is_one_line(storage: EntityStorage) -> None:
    thread = a_thread()
    await storage.register(thread)

    async def add(text: str) -> None:
        thread.history.append(ChatMessage(role=MessageRole.user, content=text))
        await storage.register(thread)

    await asyncio.gather(*(add(str(number)) for number in range(10)))
    assert len(await storage.heads(thread.lineage_id)) == 1
    assert [m.content for m in (await storage.get(ChatThread, thread.ecs_id)).history] == [str(number) for number in range(10)]


async def test_what_was_submitted_can_be_read_at_once(storage: EntityStorage) -> None:
    leaf = Leaf(text="now")
    storage.submit(leaf)
    assert (await storage.get(Leaf, leaf.ecs_id)).text == "now"
    await storage.flush()


async def test_fork_is_the_next_version_of_the_same_object(storage: EntityStorage) -> None:
    leaf = Leaf(text="a")
    await EntityRegistry.register(leaf)
    first = leaf.ecs_id
    leaf.text = "b"
    assert leaf.fork() is leaf
    assert (leaf.ecs_id != first, leaf.parent_id) == (True, first)
    await storage.flush()
    assert (await Leaf.get(first)).text == "a"
    assert (await Leaf.get(leaf.ecs_id)).text == "b"


async def test_lists_name_the_newest_version_of_each_lineage(storage: EntityStorage) -> None:
    threads = [a_thread(name=str(number)) for number in range(3)]
    await storage.register(*threads)
    threads[0].name = "changed"
    await storage.register(threads[0], author="me")
    infos = await storage.list_by_type(ChatThread)
    assert {info.ecs_id for info in infos} == set(ids(*threads))
    assert infos[0].ecs_id == threads[0].ecs_id
    assert infos[0].commit.author == "me"
    assert [i.ecs_id for i in await storage.matching(str(threads[1].lineage_id)[:20])] != []
    assert await storage.matching("zz") == []


async def test_one_config_can_be_saved_with_many_threads_and_dropped_threads_are_freed(storage: EntityStorage) -> None:
    config = LLMConfig(client="scripted", model="m")
    threads = [ChatThread(llm_config=config, history=[ChatMessage(role=MessageRole.user)]) for _ in range(20)]
    for thread in threads:
        await storage.register(thread)
    import weakref

    gone = [weakref.ref(thread) for thread in threads]
    config.temperature = 0.5
    del thread, threads
    gc.collect()
    assert [ref() for ref in gone] == [None] * 20


async def test_fifty_turns_make_exactly_the_versions_that_were_promised(storage: EntityStorage) -> None:
    thread = a_thread(system_prompt=SystemPrompt(content="s"), tools=[CallableTool(name="t", input_schema={"type": "object"})])
    for number in range(50):
        thread.add_user_message(f"q{number}")
        await storage.register(thread)
        usage = Usage(model="m", prompt_tokens=1, completion_tokens=1, total_tokens=2)
        thread.history.append(ChatMessage(role=MessageRole.assistant, content=f"a{number}", usage=usage))
        await storage.register(thread)
    assert await version_count(storage, thread) == [100]
    parts = [thread.llm_config, thread.system_prompt, *thread.tools, *thread.history]
    assert await version_count(storage, *(part for part in parts if part is not None)) == [1] * (3 + 100)
