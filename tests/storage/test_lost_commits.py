"""What becomes of a save when the connection is lost while PostgreSQL commits it: it is stored once, and known to be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from minference.ecs.recording import OnConflict
from minference.storage.base import Commit
from minference.storage.open import open_storage
from minference.storage.sql.dialects import open_engine
from tests.storage.edits import Thing
from tests.storage.proxy import PostgresProxy
from tests.storage.tables import broken_rules

_SLOW_COMMIT = (
    """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$""",
    "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON entity_commit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
)
_WAITING = """
    SELECT COUNT(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE a.datname = current_database() AND l.locktype = '{}' AND NOT l.granted"""


@asynccontextmanager
async def commits_that_wait(url: str) -> AsyncIterator[tuple[Callable[[str], Awaitable[None]], Callable[[], Awaitable[None]]]]:
    """PostgreSQL commits nothing until the second function is called; the first returns when a transaction waits for such a lock."""
    engine = open_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            for statement in (*_SLOW_COMMIT, "SELECT pg_advisory_lock(1)"):
                await connection.execute(text(statement))

            async def waits(kind: str) -> None:
                while not (await connection.execute(text(_WAITING.format(kind)))).scalar_one():
                    pass

            async def go_on() -> None:
                await connection.execute(text("SELECT pg_advisory_unlock(1)"))

            yield waits, go_on
    finally:
        await engine.dispose()


async def is_stored(url: str, commit: Commit, thing: Thing) -> bool:
    """Whether it is the commit of the version on which the thing stands."""
    engine = open_engine(url)
    try:
        async with engine.connect() as connection:
            found = await connection.execute(text("SELECT commit_id FROM entity_version WHERE ecs_id = :id"), {"id": thing.ecs_id})
            return commit.info is not None and commit.info.id == found.scalar_one()
    finally:
        await engine.dispose()


async def saved_while_cut_off(proxy: PostgresProxy, url: str, save: Callable[[], Awaitable[Commit]]) -> Commit:
    """What the save says whose connection is lost in the middle of COMMIT, which ends while the save is tried again."""
    async with commits_that_wait(url) as (waits, go_on):
        pending = save()
        await waits("advisory")
        proxy.refuse(0)
        await waits("transactionid")
        await go_on()
        return await pending


@pytest.mark.parametrize("on_conflict", ["branch", "raise"])
async def test_a_commit_that_ends_after_its_connection_is_one_successful_save(postgresql_url: str, on_conflict: OnConflict) -> None:
    async with PostgresProxy(postgresql_url) as proxy, open_storage(proxy.url) as storage:
        thing = Thing(items=[Thing(name="first")])
        await storage.register(thing)
        thing.items += [Thing(name="second"), Thing(name="third")]
        commit = await saved_while_cut_off(proxy, postgresql_url, lambda: storage.submit(thing, on_conflict=on_conflict))
        assert not commit.branched
        assert await is_stored(postgresql_url, commit, thing)
        thing.items.append(Thing(name="fourth"))
        assert not (await storage.submit(thing, on_conflict="raise")).branched
        assert len(await storage.heads(thing.lineage_id)) == 1
    assert await broken_rules(postgresql_url) == []
    async with open_storage(postgresql_url) as storage:
        assert [item.name for item in (await storage.get(Thing, thing.ecs_id)).items] == ["first", "second", "third", "fourth"]
        assert await storage.check() == []


async def test_a_new_object_whose_commit_ends_after_its_connection_can_be_saved_again(postgresql_url: str) -> None:
    async with PostgresProxy(postgresql_url) as proxy, open_storage(proxy.url) as storage:
        thing = Thing(name="new", items=[Thing()])
        await storage.register(Thing())
        commit = await saved_while_cut_off(proxy, postgresql_url, lambda: storage.submit(thing))
        assert await is_stored(postgresql_url, commit, thing)
        thing.name = "newer"
        await storage.register(thing)
        assert len(await storage.lineage(thing.lineage_id)) == 2
    assert await broken_rules(postgresql_url) == []


async def test_of_two_attempts_whose_answers_were_lost_that_is_told_which_is_stored(postgresql_url: str) -> None:
    async with PostgresProxy(postgresql_url) as proxy, open_storage(proxy.url) as storage:
        thing = Thing(items=[Thing(name="first")])
        await storage.register(thing)
        thing.items += [Thing(name="second"), Thing(name="third")]
        proxy.lose_answer_to(b"BEGIN", b"COMMIT")
        commit = await storage.submit(thing)
        assert proxy.lost == 2
        assert await is_stored(postgresql_url, commit, thing)
        thing.items.append(Thing(name="fourth"))
        assert not (await storage.submit(thing)).branched
        assert await storage.check() == []
    async with open_storage(postgresql_url) as storage:
        assert [item.name for item in (await storage.get(Thing, thing.ecs_id)).items] == ["first", "second", "third", "fourth"]
