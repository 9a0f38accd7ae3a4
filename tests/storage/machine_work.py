"""The state machine on blocks of work: recordings and traced functions, one inside another, that end well or raise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from minference.ecs.entity import Entity
from minference.ecs.tracer import entity_tracer
from minference.errors import WriteFailed
from minference.storage.base import EntityStorage
from tests.storage.edits import THING_EDITS, Thing, numbers, pick
from tests.storage.failing import expect_told
from tests.storage.graphs import expected_changes
from tests.storage.machine_lineages import LineageMachine

Edit = Callable[[], list[Thing]]
Way = Callable[[EntityStorage, Sequence[Thing], Edit], Awaitable[None]]


class GaveUpError(Exception):
    """What work raises that does not end well."""


async def block(storage: EntityStorage, given: Sequence[Thing], edit: Edit) -> None:
    async with storage.recording(author="ann", note="at work"):
        edit()
        await storage.register(*given)


async def call(storage: EntityStorage, given: Sequence[Thing], edit: Edit) -> None:
    @entity_tracer
    async def call(things: Sequence[Thing]) -> list[Thing]:
        return edit()

    await call(given)


async def plain_call(storage: EntityStorage, given: Sequence[Thing], edit: Edit) -> None:
    @entity_tracer
    def call(things: Sequence[Thing]) -> list[Thing]:
        return edit()

    try:
        call(given)
    finally:
        await storage.flush()


async def call_in_a_block(storage: EntityStorage, given: Sequence[Thing], edit: Edit) -> None:
    async with storage.recording(author="ann"):
        await call(storage, given, edit)


async def block_in_a_call(storage: EntityStorage, given: Sequence[Thing], edit: Edit) -> None:
    @entity_tracer
    async def call(things: Sequence[Thing]) -> None:
        async with storage.recording(author="ann"):
            edit()

    await call(given)


CALLS: list[Way] = [call, plain_call, block_in_a_call]
"""Those that save what was modified before."""
WAYS: list[Way] = [block, call_in_a_block, *CALLS]


class WorkMachine(LineageMachine):
    """Knows which commits a block or call makes, and that one which raises saves nothing of what it did."""

    @precondition(lambda self: self.everything(Thing))
    @rule(
        way=st.sampled_from(WAYS),
        kinds=st.lists(st.sampled_from(THING_EDITS), min_size=1, max_size=4),
        place=numbers,
        one=numbers,
        two=numbers,
        ends_well=st.booleans(),
    )
    def work(self, way: Way, kinds: list[str], place: int, one: int, two: int, ends_well: bool) -> None:
        def edit(fresh: Thing) -> None:
            self.edit_somewhere(kinds, place, one, two, fresh)

        given = [pick(self.everything(Thing), place + 11 * i) for i in range(2)]
        self.runner.run(self.do(way, given, edit, ends_well=ends_well))

    async def do(self, way: Way, given: list[Thing], edit: Callable[[Thing], None], *, ends_well: bool) -> None:
        await self.settle()
        if way is plain_call:
            self.backend.faults.next = 0
        before = expected_changes(given, self.stored) if way in CALLS else []
        changed: list[Entity] = []
        shapes: list[Any] = []

        def work() -> list[Thing]:
            """What was changed before is saved; then something is changed somewhere, and something made."""
            self.add_all(before)
            fresh = Thing(name="made at work")
            edit(fresh)
            changed.extend(expected_changes([*given, fresh], self.stored))
            shapes.append(self.shape())
            if not ends_well:
                raise GaveUpError
            return [fresh]

        try:
            await way(self.storage, given, work)
        except GaveUpError:
            assert not ends_well
        except WriteFailed as error:
            expect_told(error)
        else:
            await self.check_commit(changed, way)
            self.add_all(changed)
        if shapes:
            assert self.shape() == shapes[0]
        unsaved = [entity.ecs_id for entity in changed if entity.ecs_id not in self.stored]
        assert not any([await self.storage.has_entity(ecs_id) for ecs_id in unsaved])
        self.tally[f"{way.__name__}{'' if ends_well else ' that raises'}"] += 1

    async def check_commit(self, changed: Sequence[Entity], way: Way) -> None:
        """It is one commit, made by whoever is outermost."""
        infos = [await self.storage.info(entity.ecs_id) for entity in changed[:4]]
        [commit] = {info.commit for info in infos}
        assert commit.author == ("ann" if way in (block, call_in_a_block) else f"{way.__name__}.<locals>.call")
