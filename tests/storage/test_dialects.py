"""What drivers raise is recognised by the names of constraints and by codes, never by guessing."""

from __future__ import annotations

import sqlite3
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Insert, insert, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

import minference.threads.tables  # noqa: F401 - declares the tables
from minference.storage.sql.dialects import (
    Conflict,
    Permanent,
    Transient,
    async_url,
    diagnose,
    dialect_of,
    open_engine,
    read_failed,
    reason_of,
    shown_url,
)
from minference.storage.sql.driver import PostgresDriver, SqliteDriver
from minference.storage.sql.opening import open_database
from minference.storage.sql.schema import EntityCommit, EntityKind, EntityVersion, RunItem
from minference.storage.sql.sessions import ReadOnlySessions

NOW = datetime(2026, 11, 21, tzinfo=UTC)
FIRST = UUID(int=1)


@pytest.fixture
async def engine(sql_url: str) -> AsyncIterator[AsyncEngine]:
    """A database that holds version 1, its child 2, and the first cell of run 9."""
    engine = open_engine(sql_url)
    await open_database(engine)
    async with engine.begin() as connection:
        await connection.execute(insert(EntityKind).values(id=1, name="note", revision=1, fields={}))
        await connection.execute(insert(EntityCommit).values(id=1, created_at=NOW))
        await connection.execute(version(1, None, 0, FIRST))
        await connection.execute(version(2, 1, 0))
        await connection.execute(cell(9, 0))
    yield engine
    await engine.dispose()


def version(id: int, parent_id: int | None, fork_no: int, ecs_id: UUID | None = None) -> Insert:
    """A version of lineage 1."""
    row = {"id": id, "parent_id": parent_id, "fork_no": fork_no, "ecs_id": ecs_id or uuid4(), "lineage_id": UUID(int=7)}
    return insert(EntityVersion).values(kind_id=1, commit_id=1, created_at=NOW, **row)


def cell(run_id: int, position: int, child_id: int = 1) -> Insert:
    """A cell of a run."""
    return insert(RunItem).values(run_id=run_id, position=position, child_id=child_id, owner_id=1)


@pytest.mark.parametrize(
    ("statement", "conflict"),
    [
        (lambda: version(3, 1, 0), Conflict.child),
        (lambda: cell(9, 0), Conflict.run_cell),
        (lambda: version(3, None, 0, FIRST), Conflict.version_exists),
    ],
    ids=["child", "run cell", "version"],
)
async def test_a_key_that_is_taken_says_which(engine: AsyncEngine, statement: Callable[[], Insert], conflict: Conflict) -> None:
    with pytest.raises(Exception, match=r"(?i)unique") as caught:
        async with engine.begin() as connection:
            await connection.execute(statement())
    assert diagnose(caught.value) is conflict
    assert diagnose(caught.value.__cause__ or caught.value) is conflict


async def test_first_versions_and_branches_do_not_collide(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(version(3, None, 0))
        await connection.execute(version(4, 1, 1))
        await connection.execute(version(5, 2, 0))
        assert (await connection.execute(text("SELECT COUNT(*) FROM entity_version"))).scalar_one() == 5


async def test_versions_of_one_commit_may_refer_to_each_other_in_cycles(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(cell(10, 0, child_id=3))
        await connection.execute(version(3, None, 0))


async def test_a_reference_to_nothing_is_permanent(engine: AsyncEngine) -> None:
    with pytest.raises(Exception, match=r"(?i)foreign key") as caught:
        async with engine.begin() as connection:
            await connection.execute(cell(10, 0, child_id=999))
    assert isinstance(diagnose(caught.value), Permanent)


async def test_after_a_commit_that_failed_the_next_transaction_works(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    await open_database(engine)
    driver = SqliteDriver(engine)
    insert_tag = "INSERT INTO tag (lineage_id, name, version_id, updated_at) VALUES (?, ?, ?, '')"
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):  # which SQLite finds at COMMIT
        await driver.write([(insert_tag, [("00", "main", 999)])])
    await driver.write([("INSERT INTO entity_commit (id, created_at) VALUES (?, ?)", [(1, "")])])
    async with driver.reading() as fetch:
        assert await fetch("SELECT (SELECT COUNT(*) FROM tag), (SELECT COUNT(*) FROM entity_commit)") == [(0, 1)]
    await driver.close()
    await engine.dispose()


async def test_a_locked_file_is_transient(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    await open_database(engine)
    async with engine.connect() as holder, engine.connect() as waiter:
        await (await holder.execution_options(writes=True)).begin()
        raw: Any = (await waiter.get_raw_connection()).driver_connection
        await raw.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(Exception, match="locked") as caught:
            await raw.execute("BEGIN IMMEDIATE")
        assert diagnose(caught.value) == Transient("the database is locked by another process")
        await raw.execute("PRAGMA busy_timeout = 30000")
    await engine.dispose()


async def test_a_full_disk_is_permanent_and_named(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    await open_database(engine)
    async with engine.connect() as connection:
        await connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(Exception, match="full") as caught:
            await connection.execute(insert(EntityCommit).values(id=1, created_at=NOW, note="x" * 1_000_000))
    assert diagnose(caught.value) == Permanent("the disk is full")
    await engine.dispose()


@pytest.mark.parametrize("state", ["XX001", "XX002"])
async def test_damage_that_a_server_tells_of_is_permanent_and_no_reason_to_ask_again(postgresql_url: str, state: str) -> None:
    engine = open_engine(postgresql_url)
    async with engine.connect() as connection:
        with pytest.raises(Exception, match="invalid page") as caught:
            await connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'invalid page' USING ERRCODE = '{state}'; END $$"))
    await engine.dispose()
    assert diagnose(caught.value) in [
        Permanent(f"{name}: invalid page", damaged=True) for name in ("DataCorruptedError", "IndexCorruptedError")
    ]
    assert (read_failed(caught.value).damaged, read_failed(caught.value).retryable) == (True, False)


async def test_a_connection_that_the_server_ended_is_transient(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    victim = await engine.raw_connection()
    raw: Any = victim.driver_connection
    async with engine.connect() as killer:
        await killer.execute(text("SELECT pg_terminate_backend(:number)"), {"number": raw.get_server_pid()})
    try:
        for _ in range(2):
            # Asked in the very moment in which the news arrives, asyncpg says that another operation is in progress.
            with pytest.raises(Exception, match=r"clos|terminat|another operation") as caught:
                await raw.execute("SELECT 1")
            assert isinstance(diagnose(caught.value), Transient), repr(caught.value)
    finally:
        victim.invalidate()
        await engine.dispose()


@pytest.mark.parametrize("error", [ConnectionRefusedError("no"), TimeoutError("slow"), TimeoutError()])
def test_a_server_that_cannot_be_reached_is_transient(error: Exception) -> None:
    assert isinstance(diagnose(error), Transient)


def test_a_bug_of_ours_is_permanent() -> None:
    assert diagnose(KeyError("x")) == Permanent("KeyError: 'x'")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite:///a.db"),
        ("sqlite+aiosqlite:////tmp/a.db", "sqlite+aiosqlite:////tmp/a.db"),
        ("postgres://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u@/d?host=/run", "postgresql+asyncpg://u@/d?host=%2Frun"),
    ],
)
def test_plain_urls_get_the_async_driver(url: str, target: str) -> None:
    assert async_url(url).render_as_string() == target


def test_a_shown_url_has_no_password() -> None:
    assert shown_url("postgresql://u:secret@h/d") == "postgresql://u:***@h/d"


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("fast", 1)])
async def test_sqlite_connections_enforce_references_and_the_durability_asked_for(sqlite_url: str, durability: Any, level: int) -> None:
    engine = open_engine(sqlite_url, durability=durability)
    await open_database(engine)
    async with engine.connect() as first, engine.connect() as second:  # the first has created the tables
        for connection in (first, second):
            found = [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in _PRAGMAS]
            assert found == [1, level, "wal", 30_000]
    await engine.dispose()


_PRAGMAS = ("foreign_keys", "synchronous", "journal_mode", "busy_timeout")


SECRET = "what somebody said"


async def test_a_statement_that_fails_quotes_no_value(sql_url: str) -> None:
    engine = open_engine(sql_url)
    driver = SqliteDriver(engine) if dialect_of(engine) == "sqlite" else PostgresDriver(engine)
    into = "INSERT INTO tag (name, lineage_id) VALUES "
    values = "(?, ?)" if driver.dialect == "sqlite" else "($1, $2)"
    for row in ((SECRET, None), (SECRET, SECRET), (len(SECRET), SECRET)):
        with pytest.raises(Exception, match=r"(?i)null|invalid input") as caught:
            async with driver.transaction() as transaction:
                await transaction.execute(into + values, [row])
        expect_silence(caught.value)
    sessions = ReadOnlySessions(sql_url)
    async with sessions.session() as session:
        with pytest.raises(DBAPIError, match="SQL parameters hidden") as wrapped:
            await session.execute(text("SELECT no_such_column FROM tag WHERE name = :name"), {"name": SECRET})
    expect_silence(wrapped.value)
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="SQL parameters hidden") as wrapped:
            await connection.execute(text("SELECT no_such_column FROM tag WHERE name = :name"), {"name": SECRET})
    expect_silence(wrapped.value)
    await sessions.close()
    await driver.close()
    await engine.dispose()


def expect_silence(error: BaseException) -> None:
    """Neither what we tell of an exception nor its traceback quotes a value."""
    told = [reason_of(error), "".join(traceback.format_exception(error))]
    assert [text for text in told if SECRET in text] == []
