"""A state machine that works on graphs at random, and its model: a dictionary of what each version must be restored as."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from minference.ecs.changes import find_changes, find_changes_thoroughly
from minference.ecs.entity import Entity
from minference.errors import FrozenSnapshot, WriteFailed
from minference.storage.base import Commit, Pending
from minference.storage.sql.backend import SqlBackend
from minference.storage.versioned import VersionedStorage
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread
from tests.storage.edits import (
    THING_EDITS,
    THREAD_EDITS,
    Part,
    Thing,
    edit_thing,
    edit_thread,
    new_thread,
    numbers,
    pick,
    some_talks,
    some_trees,
)
from tests.storage.failing import DOOMED, FailingDatabase, FailingMemory, expect_told
from tests.storage.graphs import Content, content_of, contents_of, expected_changes, fields_of, reachable
from tests.storage.tables import Rows, broken_rules, rows_of

MOST_ROOTS = 6
ENDINGS = st.sampled_from(["save", "save", "save", "submit", "doomed", "cancel", "nothing"])

E = TypeVar("E", bound=Entity)
NewUrl = Callable[[], AbstractContextManager[str]]


class Machine(RuleBasedStateMachine):
    """Edits live objects at random, saves, fails, cancels, loads and reopens; the model says what must come of it."""

    def __init__(self, runner: asyncio.Runner, new_url: NewUrl, tally: Counter[str]) -> None:
        super().__init__()
        self.runner = runner
        self.tally = tally
        """How often what was done."""
        self.database = new_url()
        self.url = self.database.__enter__()
        self.backend = FailingMemory() if self.url == "memory:" else FailingDatabase(self.url)
        self.live: list[Entity] = [*some_trees(), *some_talks()]
        """Roots in the hands of the user."""
        self.cold: dict[int, Entity] = {}
        """Frozen objects that live ones may hold, by `id()`."""
        self.stored: dict[UUID, Content] = {}
        """What each durable version must be restored as."""
        self.children: dict[UUID, list[UUID]] = {}
        """The durable versions that were made from each."""
        self.waiting: list[tuple[Pending, dict[UUID, Content]]] = []
        """Submitted and not known to be durable, oldest first."""
        self.is_raced = False
        """Whether another process has saved since the oldest of them was submitted."""
        self.rows: Rows = {}
        self.runner.run(self.open())

    @invariant()
    def what_changed_is_known_without_looking_at_everything(self) -> None:
        self.tally["steps"] += 1
        for root in self.live:
            found, all_there_is = (find(root, self.backend.ledger).changed for find in (find_changes, find_changes_thoroughly))
            assert found == all_there_is

    async def open(self) -> None:
        """Open the storage, anew if it was closed."""
        if self.url != "memory:":
            self.backend = FailingDatabase(self.url)
        self.storage = VersionedStorage(self.backend)
        await self.storage.__aenter__()

    def everything(self, kind: type[E]) -> list[E]:
        """Every live object of a class that can be edited."""
        return [entity for entity in reachable(self.live) if isinstance(entity, kind) and id(entity) not in self.cold]

    # What a user does to objects

    @rule(number=numbers)
    def make_a_thing(self, number: int) -> None:
        self.hold(Part(colour=str(number)) if number % 3 == 0 else Thing(name=str(number)))

    @rule(number=numbers)
    def make_a_thread(self, number: int) -> None:
        self.hold(new_thread(number))

    def hold(self, root: Entity) -> None:
        """Let the user have one more root, and forget one if there are many."""
        self.live.append(root)
        if len(self.live) > MOST_ROOTS:
            del self.live[len(self.stored) % MOST_ROOTS]

    @precondition(lambda self: self.everything(Thing))
    @rule(kinds=st.lists(st.sampled_from(THING_EDITS), min_size=1, max_size=4), place=numbers, one=numbers, two=numbers, then=ENDINGS)
    def edit_things(self, kinds: list[str], place: int, one: int, two: int, then: str) -> None:
        self.edit_somewhere(kinds, place, one, two, Thing(name=f"new {one}"))
        self.save_somehow(then, place // 7, 1, inner=False)

    def edit_somewhere(self, kinds: Iterable[str], place: int, one: int, two: int, fresh: Thing) -> None:
        """Edit some of the live things; what comes into them is `fresh`, or is there already."""
        for step, kind in enumerate(kinds):
            things = self.everything(Thing)
            roots = [each for each in things if any(each is root for root in self.live)] or things
            target = pick(roots if (place + step) % 3 == 0 else things, place + 5 * step)
            held = [each for each in reachable(self.live) if isinstance(each, Thing)]
            source = pick([fresh, pick(held, two + step), pick(roots, two + step)], one + step)
            edit_thing(target, kind, source, one + step, two + step)

    @precondition(lambda self: self.everything(ChatThread))
    @rule(kinds=st.lists(st.sampled_from(THREAD_EDITS), min_size=1, max_size=4), place=numbers, one=numbers, two=numbers, then=ENDINGS)
    def edit_threads(self, kinds: list[str], place: int, one: int, two: int, then: str) -> None:
        threads, messages = self.everything(ChatThread), self.everything(ChatMessage)
        for step, kind in enumerate(kinds):
            edit_thread(pick(threads, place), kind, messages, one + step, two + step)
        self.runner.run(self.submit_and_settle([pick(threads, place)])) if then == "save" else self.save_somehow(
            then, place, 1, inner=False
        )

    @rule(number=numbers, kind=st.sampled_from(THING_EDITS), one=numbers, two=numbers, inner=st.booleans())
    def edit_what_several_hold(self, number: int, kind: str, one: int, two: int, inner: bool) -> None:
        """And save it through each of those who hold it, in turn."""
        below = [(root, {id(entity) for entity in reachable([root])}) for root in self.live]
        holders = [(thing, [root for root, inside in below if id(thing) in inside]) for thing in self.everything(Thing)]
        if shared := [(thing, roots) for thing, roots in holders if len(roots) > 1]:
            thing, roots = pick(shared, number)
            edit_thing(thing, kind, Thing(name="shared"), one, two)
            for root in [thing, *roots] if inner else roots:
                self.runner.run(self.submit_and_settle([root]))
            self.tally["edits of what several hold"] += 1

    # What a user does with the storage

    @rule(then=ENDINGS, first=numbers, roots=st.integers(1, 3), inner=st.booleans())
    def save_somehow(self, then: str, first: int, roots: int, inner: bool) -> None:
        entities = reachable(self.live) if inner else self.live
        chosen = [pick(entities, first + i * 7) for i in range(roots)]
        match then:
            case "save":
                self.runner.run(self.submit_and_settle(chosen))
            case "submit" | "doomed":
                self.runner.run(self.submit_only(chosen, note=DOOMED if then == "doomed" else None))
            case "cancel":
                self.runner.run(self.submit_and_cancel(chosen, passes=first % 7))

    @rule(times=st.integers(1, 3))
    def let_transactions_fail(self, times: int) -> None:
        self.backend.faults.next = times

    @rule(number=numbers, cold=st.booleans())
    def load(self, number: int, cold: bool) -> None:
        self.runner.run(self.settle())
        if self.stored:
            self.runner.run(self.load_version(pick(list(self.stored), number), number, cold=cold))

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.close_and_open())

    @precondition(lambda self: self.url != "memory:" and self.stored)
    @rule(number=numbers, kind=st.sampled_from(THING_EDITS), one=numbers, two=numbers)
    def edit_in_another_process(self, number: int, kind: str, one: int, two: int) -> None:
        self.runner.run(self.edit_elsewhere(pick(list(self.stored), number), kind, one, two))

    # What must come of it

    async def submit_only(self, roots: list[Entity], note: str | None = None) -> None:
        known = self.known()
        for root in roots:
            thorough = find_changes_thoroughly(root, self.backend.ledger).changed
            assert find_changes(root, self.backend.ledger).changed == thorough == set(map(id, expected_changes([root], known)))
        changed = expected_changes(roots, known)
        before = {id(entity): entity.ecs_id for entity in reachable(self.live)}
        pending = self.storage.submit(*roots, note=note)
        assert sorted(pending.versions) == sorted(entity.ecs_id for entity in changed)
        for entity in reachable(self.live):
            old = before[id(entity)]
            if not any(entity is each for each in changed) or old not in known:
                assert entity.ecs_id == old
            else:
                assert (entity.ecs_id != old, entity.parent_id) == (True, old)
        self.waiting.append((pending, contents(changed)))
        assert self.storage.submit(*roots).versions == ()

    def known(self) -> Mapping[UUID, Content]:
        """Every version that is durable or on its way."""
        known = dict(self.stored)
        for pending, made in self.waiting:
            known.update(made if pending.error is None else {})
        return known

    async def submit_and_settle(self, roots: list[Entity]) -> None:
        await self.submit_only(roots)
        await self.settle()
        for root in roots:
            if root.ecs_id in self.stored:
                await self.check_restored(root.ecs_id)

    async def submit_and_cancel(self, roots: list[Entity], passes: int) -> None:
        await self.submit_only(roots)
        waiter = asyncio.ensure_future(_await(self.waiting[-1][0]))
        for _ in range(passes):
            await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)

    async def settle(self) -> None:
        """Wait for everything; what failed is not stored, and its objects hold the changes and stand on durable versions."""
        if not self.waiting:
            return
        shape = self.shape()
        for pending, made in self.waiting:
            await asyncio.gather(pending, return_exceptions=True)
            if pending.error is not None:
                expect_told(pending.error)
                continue
            self.learn(await pending, made)
        has_failed = any(pending.error is not None for pending, _ in self.waiting)
        self.waiting, self.is_raced = [], False
        while not await self.is_quiet():
            assert has_failed
        assert self.shape() == shape
        for entity in reachable(self.live):
            if entity.ecs_id not in self.stored:
                assert entity.parent_id is None, "only what was never stored stands on no durable version"

    async def is_quiet(self) -> bool:
        """Whether nothing failed that nobody has heard of; each failure is told once, one after the other."""
        try:
            await self.storage.flush()
        except WriteFailed:
            return False
        return True

    def learn(self, commit: Commit, made: Mapping[UUID, Content]) -> None:
        """A commit is durable, and says of each version that branched that it did."""
        assert set(commit.versions) == made.keys()
        branched = {branch.version: branch for branch in commit.branches}
        for ecs_id in commit.versions:
            parent_id = made[ecs_id].parent_id
            older = self.children.get(parent_id, []) if parent_id is not None else []
            if not self.is_raced:
                assert (ecs_id in branched) == bool(older)
            if older and (branch := branched.get(ecs_id)) is not None:
                assert (branch.parent, branch.lineage_id) == (parent_id, made[ecs_id].lineage_id)
                assert self.is_raced or branch.sibling in older
            self.add(ecs_id, made[ecs_id])
        self.tally["commits"] += bool(commit.versions)
        self.tally["branches"] += len(branched)

    def add(self, ecs_id: UUID, content: Content) -> None:
        """A version is durable."""
        assert ecs_id not in self.stored
        self.stored[ecs_id] = content
        if content.parent_id is not None:
            self.children.setdefault(content.parent_id, []).append(ecs_id)

    def add_all(self, entities: Iterable[Entity]) -> None:
        """The versions that these stand on are durable."""
        for ecs_id, content in contents(entities).items():
            self.add(ecs_id, content)

    def shape(self) -> Any:
        """What the live objects hold, without their versions."""
        return [(id(entity), fields_of(entity, id)) for entity in reachable(self.live)]

    async def check_restored(self, ecs_id: UUID) -> Entity:
        copy = await self.storage.get(Entity, ecs_id)
        restored = contents_of(copy)
        assert restored == {each: self.stored[each] for each in restored}
        return copy

    async def load_version(self, ecs_id: UUID, number: int, *, cold: bool) -> None:
        if cold:
            await self.hold_frozen(ecs_id, number)
            return
        copy = await self.check_restored(ecs_id)
        assert self.storage.submit(copy).versions == ()
        self.hold(copy)

    async def hold_frozen(self, ecs_id: UUID, number: int) -> None:
        """A cold snapshot holds what the version does, refuses every change, and may be held by what can change."""
        snapshot = await self.storage.get_cold_snapshot(Entity, ecs_id)
        frozen = reachable([snapshot])
        found = contents_of(snapshot)
        assert found == {each: self.stored[each] for each in found}
        for entity in frozen:
            with pytest.raises(FrozenSnapshot):
                setattr(entity, next(reversed(type(entity).model_fields)), None)
            for value in entity.__dict__.values():
                if isinstance(value, list | dict):
                    with pytest.raises(TypeError, match="cold snapshot"):
                        value.clear()
        holders = self.everything(Thing)
        if isinstance(snapshot, Thing) and holders and number % 2:
            self.cold.update({id(entity): entity for entity in frozen})
            edit_thing(pick(holders, number), pick(["one", "append", "pair", "named"], number // 2), snapshot, number, 3)
            self.tally["cold snapshots in warm trees"] += 1

    async def close_and_open(self) -> None:
        await self.settle()
        self.backend.faults.next = 0
        await self.storage.__aexit__(None, None, None)
        await self.check_rows()
        await self.open()

    async def edit_elsewhere(self, ecs_id: UUID, kind: str, one: int, two: int) -> None:
        """Another process loads a durable version, edits and saves it; a thread gets a message."""
        async with VersionedStorage(SqlBackend(self.url, durability="fast", migrate="auto")) as other:
            copy = await other.get(Entity, ecs_id)
            if isinstance(copy, Thing):
                edit_thing(copy, kind, Thing(name="from elsewhere"), one, two)
            elif isinstance(copy, ChatThread):
                edit_thread(copy, "append", [], one, two)
            changed = expected_changes([copy], self.stored)
            await other.register(copy)
            self.is_raced = self.is_raced or bool(self.waiting)
            self.add_all(changed)
            self.tally["commits of another process"] += 1

    async def check_rows(self) -> None:
        """No row that was ever written has changed, and no reference leads nowhere."""
        if self.url != "memory:":
            rows = await rows_of(self.url)
            assert {key: rows.get(key) for key in self.rows} == self.rows
            self.rows = rows
            assert await broken_rules(self.url) == []

    async def finish(self) -> None:
        await self.close_and_open()
        ids = list(self.stored)
        for ecs_id in ids[:: max(1, len(ids) // 25)]:
            await self.check_restored(ecs_id)
        count = Counter(content.lineage_id for content in self.stored.values())
        for place, (lineage_id, _) in enumerate(count.most_common()):
            await self.check_lineage(lineage_id, thoroughly=place < 5)
        if self.url != "memory:":
            assert await self.storage.check() == []
        await self.storage.__aexit__(None, None, None)

    async def check_lineage(self, lineage_id: UUID, *, thoroughly: bool) -> None:
        """Its versions are those that were made, each after its parent; heads are those that nothing was made from."""
        versions = await self.storage.lineage(lineage_id)
        expected = {ecs_id: content for ecs_id, content in self.stored.items() if content.lineage_id == lineage_id}
        assert {info.ecs_id: info.parent_id for info in versions} == {each: content.parent_id for each, content in expected.items()}
        for place, info in enumerate(versions):
            assert info.parent_id is None or info.parent_id in {each.ecs_id for each in versions[:place]}, "parents come first"
        if thoroughly:
            heads = {info.ecs_id for info in await self.storage.heads(lineage_id)}
            assert heads == {ecs_id for ecs_id in expected if ecs_id not in self.children}

    def teardown(self) -> None:
        try:
            self.runner.run(self.finish())
        finally:
            self.database.__exit__(None, None, None)


def contents(entities: Iterable[Entity]) -> dict[UUID, Content]:
    """What the versions that some objects stand on hold, by id."""
    return {entity.ecs_id: content_of(entity) for entity in entities}


async def _await(pending: Pending) -> None:
    await pending
