"""Random work on random graphs, against a model: a dictionary of what each version ever committed must be restored as.

Runs short by default, and shows what failed as it was found. To run so many examples on each storage, and see a failure shrunk:

    STATE_MACHINE_EXAMPLES=500 pytest -o faulthandler_timeout=0 tests/storage/test_state_machine.py
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from minference.ecs.changes import find_changes, find_changes_thoroughly
from minference.ecs.entity import Entity
from minference.errors import WriteFailed
from minference.storage.base import Pending
from minference.storage.sql.backend import SqlBackend
from minference.storage.versioned import VersionedStorage
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread
from tests.conftest import create_tables
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
from tests.storage.failing import DOOMED, SAID_SO, FailingDatabase, FailingMemory
from tests.storage.graphs import Content, content_of, contents_of, expected_changes, fields_of, reachable
from tests.storage.tables import Rows, broken_rules, rows_of
from tests.support.postgres import Postgres

EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "0"))
MOST_ROOTS = 6
ENDINGS = st.sampled_from(["save", "save", "save", "submit", "doomed", "cancel", "nothing"])

E = TypeVar("E", bound=Entity)
NewUrl = Callable[[], AbstractContextManager[str]]


class Machine(RuleBasedStateMachine):
    """Edits live objects at random, saves, fails, cancels, loads and reopens; the model says what must come of it."""

    def __init__(self, runner: asyncio.Runner, new_url: NewUrl) -> None:
        super().__init__()
        self.runner = runner
        self.database = new_url()
        self.url = self.database.__enter__()
        self.backend = FailingMemory() if self.url == "memory:" else FailingDatabase(self.url)
        self.live: list[Entity] = [*some_trees(), *some_talks()]
        """Roots in the hands of the user."""
        self.stored: dict[UUID, Content] = {}
        """What each durable version must be restored as."""
        self.waiting: list[tuple[Pending, dict[UUID, Content]]] = []
        """Submitted and not known to be durable, oldest first."""
        self.rows: Rows = {}
        self.runner.run(self.open())

    async def open(self) -> None:
        """Open the storage, anew if it was closed."""
        if self.url != "memory:":
            self.backend = FailingDatabase(self.url)
        self.storage = VersionedStorage(self.backend)
        await self.storage.__aenter__()

    def everything(self, kind: type[E]) -> list[E]:
        """Every live object of a class."""
        return [entity for entity in reachable(self.live) if isinstance(entity, kind)]

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
        for step, kind in enumerate(kinds):
            things = self.everything(Thing)
            roots = [each for each in self.live if isinstance(each, Thing)] or things
            target = pick(roots if (place + step) % 3 == 0 else things, place + 5 * step)
            source = pick([Thing(name=f"new {one}"), pick(things, two + step), pick(roots, two + step)], one + step)
            edit_thing(target, kind, source, one + step, two + step)
        self.save_somehow(then, place // 7, 1, inner=False)

    @precondition(lambda self: self.everything(ChatThread))
    @rule(kinds=st.lists(st.sampled_from(THREAD_EDITS), min_size=1, max_size=4), place=numbers, one=numbers, two=numbers, then=ENDINGS)
    def edit_threads(self, kinds: list[str], place: int, one: int, two: int, then: str) -> None:
        threads, messages = self.everything(ChatThread), self.everything(ChatMessage)
        for step, kind in enumerate(kinds):
            edit_thread(pick(threads, place), kind, messages, one + step, two + step)
        self.runner.run(self.submit_and_settle([pick(threads, place)])) if then == "save" else self.save_somehow(
            then, place, 1, inner=False
        )

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
            self.runner.run(self.load_version(pick(list(self.stored), number), cold=cold))

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.close_and_open())

    @precondition(lambda self: self.url != "memory:" and self.stored)
    @rule(number=numbers, kind=st.sampled_from(THING_EDITS), one=numbers, two=numbers)
    def edit_in_another_process(self, number: int, kind: str, one: int, two: int) -> None:
        self.runner.run(self.edit_elsewhere(pick(list(self.stored), number), kind, one, two))

    # What must come of it

    async def submit_only(self, roots: list[Entity], note: str | None = None) -> None:
        known = dict(self.stored)
        for pending, contents in self.waiting:
            known.update(contents if pending.error is None else {})
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
        self.waiting.append((pending, {entity.ecs_id: content_of(entity) for entity in changed}))
        assert self.storage.submit(*roots).versions == ()

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
        shape = self.shape()
        for pending, contents in self.waiting:
            await asyncio.gather(pending, return_exceptions=True)
            if pending.error is not None:
                assert SAID_SO in str(pending.error)
                continue
            assert set((await pending).versions) == contents.keys()
            assert not contents.keys() & self.stored.keys()
            self.stored.update(contents)
        has_failed = any(pending.error is not None for pending, _ in self.waiting)
        self.waiting = []
        try:
            await self.storage.flush()
        except WriteFailed:
            assert has_failed
        assert self.shape() == shape
        for entity in reachable(self.live):
            if entity.ecs_id not in self.stored:
                assert entity.parent_id is None, "only what was never stored stands on no durable version"

    def shape(self) -> Any:
        """What the live objects hold, without their versions."""
        return [(id(entity), fields_of(entity, id)) for entity in reachable(self.live)]

    async def check_restored(self, ecs_id: UUID) -> Entity:
        copy = await self.storage.get(Entity, ecs_id)
        restored = contents_of(copy)
        assert restored == {each: self.stored[each] for each in restored}
        return copy

    async def load_version(self, ecs_id: UUID, *, cold: bool) -> None:
        if cold:
            snapshot = contents_of(await self.storage.get_cold_snapshot(Entity, ecs_id))
            assert snapshot.keys() == contents_of(await self.check_restored(ecs_id)).keys()
            return
        copy = await self.check_restored(ecs_id)
        assert self.storage.submit(copy).versions == ()
        self.hold(copy)

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
            self.stored.update({entity.ecs_id: content_of(entity) for entity in changed})

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
        for lineage_id in {content.lineage_id for content in self.stored.values()}:
            versions = await self.storage.lineage(lineage_id)
            expected = {ecs_id: content for ecs_id, content in self.stored.items() if content.lineage_id == lineage_id}
            assert {info.ecs_id: info.parent_id for info in versions} == {each: content.parent_id for each, content in expected.items()}
            for place, info in enumerate(versions):
                assert info.parent_id is None or info.parent_id in {each.ecs_id for each in versions[:place]}, "parents come first"
        await self.storage.__aexit__(None, None, None)

    def teardown(self) -> None:
        try:
            self.runner.run(self.finish())
        finally:
            self.database.__exit__(None, None, None)


async def _await(pending: Pending) -> None:
    await pending


@contextmanager
def _the_same(url: str) -> Iterator[str]:
    yield url


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> NewUrl:
    """A new place for each example: copies of a database that has its tables."""
    if request.param == "memory":
        return lambda: _the_same("memory:")
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        template: str = request.getfixturevalue("postgresql_template")
        return lambda: server.database(template)
    original, copies = tmp_path / "original.db", count()
    asyncio.run(create_tables(f"sqlite:///{original}"))

    @contextmanager
    def copy() -> Iterator[str]:
        file = tmp_path / f"{next(copies)}.db"
        shutil.copy(original, file)
        yield f"sqlite:///{file}"
        file.unlink()

    return copy


BUDGETS = {"memory": (120, 40), "sqlite": (20, 30), "postgresql": (8, 30)}
"""Examples, and steps in each."""


def test_what_is_saved_is_restored_exactly_whatever_happens(
    new_url: NewUrl, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    kind = request.node.callspec.params["new_url"]
    examples, steps = BUDGETS[kind]
    budget = settings(
        max_examples=EXAMPLES or examples,
        phases=set(Phase) if EXAMPLES else set(Phase) - {Phase.shrink, Phase.explain},
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    caplog.set_level(logging.CRITICAL, "minference.storage")
    with asyncio.Runner() as runner:
        run_state_machine_as_test(partial(Machine, runner, new_url), settings=budget)  # type: ignore[arg-type]  # any factory will do
