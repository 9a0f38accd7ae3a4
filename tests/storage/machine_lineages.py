"""The state machine on lineages: branches on purpose, races that are refused, merges, rebases, reverts and tags."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from minference.ecs.entity import Entity
from minference.ecs.merge import Conflict
from minference.ecs.merge_lists import Strategy
from minference.errors import StaleVersion, TagTaken, WriteFailed
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread
from tests.storage.edits import THING_EDITS, THREAD_EDITS, Thing, edit_thing, edit_thread, numbers, pick
from tests.storage.failing import expect_told
from tests.storage.graphs import children_of, content_of, expected_changes, fields_of, reachable
from tests.storage.machine import Machine, NewUrl
from tests.storage.merge_model import Forecast, forecast, held_by, renamed, reported, side_of_objects, side_of_version

Script = list[tuple[int, int, int, int]]
"""Edits of a tree: which kind, where, and two numbers more."""
STRATEGIES = st.sampled_from([None, None, "ours", "theirs", "append"])
SCRIPTS = st.lists(st.tuples(st.sampled_from(range(len(THING_EDITS))), numbers, numbers, numbers), min_size=1, max_size=4)
VALUES = st.lists(st.tuples(st.sampled_from(range(3)), numbers, numbers, numbers), min_size=1, max_size=4)
"""Scripts that change plain values only: those edits come first in the list of edits."""


class LineageMachine(Machine):
    """Knows of each version what it was made from, and merges by a simple model of its own."""

    def __init__(self, runner: asyncio.Runner, new_url: NewUrl, tally: Counter[str]) -> None:
        super().__init__(runner, new_url, tally)
        self.tags: dict[tuple[UUID, str], UUID] = {}
        """The version that has each name, by lineage and name."""

    def some_standing(self, number: int) -> Entity | None:
        """A live object, root or not, that stands on a durable version and can be edited; `None` if there is none."""
        entities = self.live if number % 2 else reachable(self.live)
        standing = [entity for entity in entities if entity.ecs_id in self.stored and id(entity) not in self.cold]
        return pick(standing, number // 2) if standing else None

    def versions_like(self, entity: Entity) -> list[UUID]:
        """The durable versions of its lineage."""
        return [ecs_id for ecs_id, content in self.stored.items() if content.lineage_id == entity.lineage_id]

    def line(self, ecs_id: UUID) -> list[UUID]:
        """A durable version and what it came from, nearest first."""
        found = [ecs_id]
        while (parent_id := self.stored[found[-1]].parent_id) is not None:
            found.append(parent_id)
        return found

    def common_ancestor(self, one: UUID, other: UUID) -> UUID:
        line = set(self.line(one))
        return next(each for each in self.line(other) if each in line)

    async def merge_base(self, one: UUID, other: UUID) -> UUID | None:
        """The version that both came from last, also by merges; `None` if there are several."""
        merges = await self.storage.merges(self.stored[one].lineage_id)
        ours, theirs = (self.everything_before(each, merges) for each in (one, other))
        shared = ours & theirs
        last = [each for each in shared if not any(each in self.everything_before(later, merges) for later in shared - {each})]
        return last[0] if len(last) == 1 else None

    def everything_before(self, version: UUID, merges: Mapping[UUID, Sequence[UUID]]) -> set[UUID]:
        found = {version}
        for each in self.line(version):
            for merged in merges.get(each, ()):
                found |= self.everything_before(merged, merges)
            found.add(each)
        return found

    # Branches

    @rule(number=numbers, script=SCRIPTS)
    def branch_on_purpose(self, number: int, script: Script) -> None:
        """Load an old version, edit it, save it."""
        self.runner.run(self.settle())
        if self.stored:
            copy = self.runner.run(self.check_restored(pick(list(self.stored), number)))
            run_script(copy, script)
            self.hold(copy)
            self.runner.run(self.submit_and_settle([copy]))

    @rule(number=numbers, roots=st.integers(1, 2))
    def save_unless_somebody_was_first(self, number: int, roots: int) -> None:
        self.runner.run(self.save_or_be_refused([pick(self.live, number + i) for i in range(roots)]))

    async def save_or_be_refused(self, roots: list[Entity]) -> None:
        await self.settle()
        self.backend.faults.next = 0
        changed = expected_changes(roots, self.stored)
        bases = [entity.ecs_id for entity in changed if entity.ecs_id in self.stored]
        taken = {base for base in bases if base in self.children or bases.count(base) > 1}
        before = [(entity.ecs_id, content_of(entity)) for entity in reachable(self.live)]
        if not taken:
            commit = await self.storage.submit(*roots, on_conflict="raise")
            assert not commit.branched
            self.learn(commit, {entity.ecs_id: content_of(entity) for entity in changed})
            return
        with pytest.raises(StaleVersion) as raised:
            await self.storage.register(*roots, on_conflict="raise")
        assert raised.value.base in taken
        assert raised.value.lineage_id == self.stored[raised.value.base].lineage_id
        assert [(entity.ecs_id, content_of(entity)) for entity in reachable(self.live)] == before
        self.tally["refused saves"] += 1

    # Merging

    @rule(number=numbers, ours=SCRIPTS | VALUES, theirs=SCRIPTS | VALUES, strategy=STRATEGIES, rebases=st.booleans())
    def part_and_meet(self, number: int, ours: Script, theirs: Script, strategy: Strategy | None, rebases: bool) -> None:
        """Two copies of one version are edited and saved, and become one again."""
        self.runner.run(self.settle())
        roots = [ecs_id for ecs_id, content in self.stored.items() if issubclass(content.kind, Thing | ChatThread)]
        if roots:
            self.runner.run(self.meet(pick(roots, number), ours, theirs, strategy, rebases=rebases))

    async def meet(self, ecs_id: UUID, ours: Script, theirs: Script, strategy: Strategy | None, *, rebases: bool) -> None:
        mine, yours = await self.storage.get(Entity, ecs_id), await self.storage.get(Entity, ecs_id)
        self.hold(mine)
        run_script(mine, ours)
        run_script(yours, theirs)
        await self.submit_and_settle([yours])
        if len(ours) % 2:
            await self.submit_and_settle([mine])
        await (self.rebase(mine, yours.ecs_id, strategy) if rebases else self.merge(mine, yours.ecs_id, strategy))

    @rule(one=numbers, version=numbers, strategy=STRATEGIES)
    def merge_with_any_version(self, one: int, version: int, strategy: Strategy | None) -> None:
        self.runner.run(self.settle())
        if (entity := self.some_standing(one)) is not None:
            self.runner.run(self.merge(entity, pick(self.versions_like(entity), version), strategy))

    @rule(one=numbers, version=numbers, strategy=STRATEGIES, by_default=st.booleans())
    def rebase_onto_any_version(self, one: int, version: int, strategy: Strategy | None, by_default: bool) -> None:
        self.runner.run(self.settle())
        if (entity := self.some_standing(one)) is not None:
            onto = None if by_default else pick(self.versions_like(entity), version)
            self.runner.run(self.rebase(entity, onto, strategy))

    async def merge(self, entity: Entity, theirs: UUID, strategy: Strategy | None) -> None:
        if entity.ecs_id not in self.stored:
            return  # it could not be saved
        standing, expected = entity.ecs_id, await self.forecast(entity, theirs, strategy)
        base, shape = await self.merge_base(standing, theirs), self.shape()
        try:
            result = await self.storage.merge(entity, theirs, strategy)
        except WriteFailed as error:
            expect_told(error)
            assert entity.ecs_id == (theirs if base == standing else standing)
            return
        assert result.entity is entity
        if base == theirs:
            assert (result.conflicts, self.shape(), entity.ecs_id) == ((), shape, standing)
            return
        self.compare(entity, expected, result.conflicts)
        if result.conflicts:
            assert entity.ecs_id == (theirs if base == standing else standing)
        else:
            await self.learn_of(entity, theirs if base == standing else standing)
            if base != standing and entity.ecs_id != standing:
                assert theirs in (await self.storage.merges(entity.lineage_id))[entity.ecs_id]
        self.tally["merges with conflicts" if result.conflicts else "merges"] += 1

    async def rebase(self, entity: Entity, onto: UUID | None, strategy: Strategy | None) -> None:
        if entity.ecs_id not in self.stored or (onto is not None and onto not in self.stored):
            return  # it could not be saved
        standing, shape = entity.ecs_id, self.shape()
        held = [each for each in reachable([entity]) if each is not entity] if onto is None else []
        ends = [each for each in self.versions_like(entity) if each not in self.children] if onto is None else [onto]
        # What is held, also by where it goes, and has been continued may be taken along.
        moves = any(each.ecs_id in self.children for each in held) or (onto is None and any(map(self.holds_what_moved_on, ends)))
        foretold = {each: await self.forecast(entity, each, strategy) for each in ends}
        result = await self.storage.rebase(entity, onto, strategy=strategy)
        if onto is None:
            times = Counter(each.lineage_id for each in reachable([entity]))
            left = [each for each in expected_changes([entity], self.stored) if each.ecs_id in self.children]
            assert all(times[each.lineage_id] > 1 for each in left)
        if moves:
            self.tally["rebases that the model cannot tell"] += 1
            return
        if entity.ecs_id == standing:
            assert (result.conflicts, self.shape()) == ((), shape)
            assert onto is None or await self.merge_base(standing, onto) == onto
            assert onto is not None or standing not in self.children
            return
        assert entity.ecs_id == onto if onto is not None else entity.ecs_id not in self.children
        self.compare(entity, foretold[entity.ecs_id], result.conflicts)
        assert (entity.parent_id, entity.created_at) == (self.stored[entity.ecs_id].parent_id, self.stored[entity.ecs_id].created_at)
        self.tally["rebases with conflicts" if result.conflicts else "rebases"] += 1

    def holds_what_moved_on(self, version: UUID) -> bool:
        """Whether there is something below a version that others were made from."""
        below, waiting = {version}, [version]
        while waiting:
            found = [each for each in held_by(self.stored[waiting.pop()]) if each not in below]
            below.update(found)
            waiting.extend(dict.fromkeys(found))
        return any(each in self.children for each in below - {version})

    async def forecast(self, entity: Entity, theirs: UUID, strategy: Strategy | None) -> Forecast | None:
        """What the model says; `None` if a side holds some lineage twice, or if they were merged into each other."""
        common = await self.merge_base(entity.ecs_id, theirs)
        base = side_of_version(common, self.stored) if common is not None else None
        mine, yours = side_of_objects(entity), side_of_version(theirs, self.stored)
        return None if base is None or mine is None or yours is None else forecast(base, mine, yours, strategy)

    def compare(self, entity: Entity, expected: Forecast | None, conflicts: Sequence[Conflict]) -> None:
        """What both changed differently is in conflict; else both changes are in."""
        if expected is None:
            self.tally["merges that the model cannot tell"] += 1
            return
        clashes, others = reported(conflicts)
        assert expected.clashes <= clashes
        assert conflicts or expected.written <= {each.lineage_id for each in reachable([entity])}
        if expected.merged is None:
            self.tally["merges that the model tells in part"] += 1
            return
        assert (clashes, others) == (expected.clashes, 0)
        assert side_of_objects(entity) == expected.merged
        self.tally["merges that the model tells"] += 1

    async def learn_of(self, root: Entity, base: UUID) -> None:
        """What was saved under a root is as it is in memory, and nothing but a merge has a version that says the same as the one before."""
        made = [entity for entity in reachable([root]) if entity.ecs_id not in self.stored]
        assert root.ecs_id == base or (root in made and root.parent_id == base)
        for entity in made:
            content = content_of(entity)
            is_new = content.parent_id is None or content.fields != self.stored[content.parent_id].fields
            assert is_new or entity.ecs_id in await self.storage.merges(entity.lineage_id)
        self.add_all(made)
        await self.check_restored(root.ecs_id)
        assert self.storage.submit(root).versions == ()

    # Going back

    @rule(one=numbers, version=numbers)
    def revert_to_any_version(self, one: int, version: int) -> None:
        self.runner.run(self.settle())
        if (entity := self.some_standing(one)) is not None:
            self.runner.run(self.revert(entity, pick(self.versions_like(entity), version)))

    async def revert(self, entity: Entity, to: UUID) -> None:
        standing = entity.ecs_id
        try:
            assert await self.storage.revert(entity, to) is entity
        except WriteFailed as error:
            expect_told(error)
            assert entity.ecs_id == standing
        else:
            await self.learn_of(entity, standing)
            self.tally["reverts"] += 1
        self.check_alike(entity, to)

    def check_alike(self, root: Entity, ecs_id: UUID) -> None:
        """A live tree holds what a version does, wherever its entities stand."""
        waiting, seen = [(root, ecs_id)], {(id(root), ecs_id)}
        while waiting:
            entity, version = waiting.pop()
            content = self.stored[version]
            assert (type(entity), entity.lineage_id) == (content.kind, content.lineage_id)
            assert fields_of(entity, lambda _: None) == [(name, renamed(value, lambda _: None)) for name, value in content.fields]
            for pair in zip(children_of(entity), held_by(content), strict=True):
                if (key := (id(pair[0]), pair[1])) not in seen:
                    seen.add(key)
                    waiting.append(pair)

    @rule(one=numbers, version=numbers, way=st.sampled_from(["merge", "rebase", "revert"]), passes=st.integers(0, 15))
    def give_up_half_way(self, one: int, version: int, way: str, passes: int) -> None:
        self.runner.run(self.settle())
        if (entity := self.some_standing(one)) is not None:
            self.runner.run(self.move_and_cancel(entity, pick(self.versions_like(entity), version), way, passes))

    async def move_and_cancel(self, entity: Entity, version: UUID, way: str, passes: int) -> None:
        """It is moved and saved, or only moved, or not at all: what stands on a new version is durable."""
        self.backend.faults.next = 0
        move: Callable[[Entity, UUID], Coroutine[Any, Any, Any]] = getattr(self.storage, way)
        moving = asyncio.create_task(move(entity, version))
        for _ in range(passes):
            await asyncio.sleep(0)
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
        await self.storage.flush()
        fresh = [each for each in reachable([entity]) if each.ecs_id not in self.stored]
        saved = [each for each in fresh if each.parent_id is not None or await self.storage.has_entity(each.ecs_id)]
        self.add_all(saved)
        for each in saved:
            await self.check_restored(each.ecs_id)
        self.tally["cancelled moves"] += 1

    # Names

    @rule(number=numbers, name=st.sampled_from(["main", "Größe"]), move=st.booleans())
    def tag_any_version(self, number: int, name: str, move: bool) -> None:
        self.runner.run(self.settle())
        holders = [ecs_id for ecs_id, content in self.stored.items() if (content.lineage_id, name) in self.tags]
        if self.stored:
            versions = holders if holders and number % 2 else list(self.stored)
            self.runner.run(self.tag(pick(versions, number // 2), name, move=move))

    async def tag(self, ecs_id: UUID, name: str, *, move: bool) -> None:
        place = (self.stored[ecs_id].lineage_id, name)
        holder = self.tags.get(place, ecs_id)
        if holder == ecs_id or move:
            assert (await self.storage.tag(name, ecs_id, move=move)).ecs_id == ecs_id
            self.tags[place] = ecs_id
        else:
            with pytest.raises(TagTaken) as raised:
                await self.storage.tag(name, ecs_id)
            assert raised.value.holder == holder
            self.tally["tags that were taken"] += 1
        await self.check_tags(place[0])
        self.tally["tags"] += 1

    @rule(number=numbers)
    def untag_any_version(self, number: int) -> None:
        if self.tags:
            lineage_id, name = pick(list(self.tags), number)
            self.runner.run(self.storage.untag(name, lineage_id))
            del self.tags[lineage_id, name]
            self.runner.run(self.check_tags(lineage_id))

    async def check_tags(self, lineage_id: UUID) -> None:
        expected = {name: ecs_id for (lineage, name), ecs_id in sorted(self.tags.items()) if lineage == lineage_id}
        assert {name: info.ecs_id for name, info in (await self.storage.tags(lineage_id)).items()} == expected
        for name, ecs_id in expected.items():
            assert (await self.storage.tagged(Entity, lineage_id, name)).ecs_id == ecs_id

    async def check_lineage(self, lineage_id: UUID, *, thoroughly: bool) -> None:
        await super().check_lineage(lineage_id, thoroughly=thoroughly)
        if not thoroughly:
            return
        await self.check_tags(lineage_id)
        versions = await self.storage.lineage(lineage_id)
        for one, other in zip(versions[-3:], versions[:3], strict=False):
            assert [each.ecs_id for each in await self.storage.ancestors(one.ecs_id)] == self.line(one.ecs_id)[1:]
            found = await self.storage.common_ancestor(one.ecs_id, other.ecs_id)
            assert found is not None
            assert found.ecs_id == self.common_ancestor(one.ecs_id, other.ecs_id)
            assert (await self.storage.at(Entity, lineage_id, one.created_at)).created_at <= one.created_at


def run_script(root: Entity, script: Script) -> None:
    """Edit a tree that shares nothing with others."""
    for kind, place, one, two in script:
        entities = reachable([root])
        things = [entity for entity in entities if isinstance(entity, Thing)]
        if isinstance(root, ChatThread):
            messages = [entity for entity in entities if isinstance(entity, ChatMessage)]
            edit_thread(root, pick(THREAD_KINDS, kind), messages, one, two)
        elif things:
            source = pick([Thing(name=f"new {one}"), pick(things, two)], one)
            edit_thing(things[0] if place % 2 else pick(things, place), THING_EDITS[kind], source, one, two)


THREAD_KINDS = ["text", "settings", "schema", *THREAD_EDITS]
"""Edits of plain values first, as among those of things."""
