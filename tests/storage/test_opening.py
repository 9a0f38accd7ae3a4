"""A database is recognised before anything in it is changed."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, inspect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.pool import Pool

from minference.ecs.entity import Entity
from minference.errors import ConfigurationError, DatabaseUnreadable, ForeignDatabase, NewerDatabase, OutdatedDatabase, OutdatedTables
from minference.storage.open import open_storage
from minference.storage.sql.dialects import open_engine
from minference.storage.sql.migrations import HEAD, VERSION_TABLE
from minference.storage.sql.opening import Migrate, open_database
from minference.storage.sql.recent import FEWEST_ROWS
from minference.storage.sql.tables import EntityTable
from minference.storage.sql.types import ExactText
from minference.threads.thread import ChatThread
from tests.storage.lineage_samples import a_thread
from tests.storage.test_faults import said_at_the_end


class Boat(Entity, kind="test_opening_boat"):
    """An application's entity."""

    name: str


class BoatSQL(EntityTable, entity=Boat):
    """An application's table: no revision makes it."""

    __tablename__ = "test_opening_boat"

    name: Mapped[str] = mapped_column(ExactText)


@pytest.fixture
async def engine(empty_sql_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on an empty database."""
    engine = open_engine(empty_sql_url)
    yield engine
    await engine.dispose()


async def _execute(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


async def _tables(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_an_empty_database_is_created_once_and_keeps_its_id(engine: AsyncEngine) -> None:
    first = await open_database(engine)
    assert isinstance(first, UUID)
    assert await open_database(engine) == first


async def test_opening_a_current_database_takes_one_select_for_the_package(engine: AsyncEngine) -> None:
    await open_database(engine)
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement))
    await open_database(engine, migrate="off")
    [only] = [statement for statement in statements if statement != "BEGIN"]
    assert only.startswith("SELECT r.version_num, i.database_id, (SELECT json")
    assert only.endswith(f") FROM {VERSION_TABLE} r CROSS JOIN storage_info i")


async def test_however_many_tables_the_application_declares_looking_at_them_takes_one_more(engine: AsyncEngine) -> None:
    await open_database(engine)
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement))
    await open_database(engine)
    ours = [statement for statement in statements if statement != "BEGIN"]
    assert len(ours) == 2, ours


async def test_opening_a_current_database_does_not_import_alembic(sqlite_url: str) -> None:
    program = f"""
import asyncio, sys
from minference.storage.open import open_storage
from minference.storage.sql.dialects import open_engine
from minference.storage.sql.opening import open_database
async def main():
    engine = open_engine({sqlite_url!r})
    print(await open_database(engine), "alembic" in sys.modules)
    await engine.dispose()
asyncio.run(main())
"""
    outputs = [subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split() for _ in "12"]
    assert [imported for _, imported in outputs] == ["True", "False"]
    assert outputs[0][0] == outputs[1][0]


async def test_tables_of_the_application_are_created_when_they_are_missing(engine: AsyncEngine) -> None:
    await open_database(engine)
    await _execute(engine, "DROP TABLE test_opening_boat")
    with pytest.raises(OutdatedTables, match=r"it lacks the table test_opening_boat; .*open it once with migrate='auto'"):
        await open_database(engine, migrate="check")
    await open_database(engine)
    assert "test_opening_boat" in await _tables(engine)


@pytest.mark.parametrize("migrate", ["check", "off"])
async def test_an_empty_database_stays_empty_unless_it_may_be_created(engine: AsyncEngine, empty_sql_url: str, migrate: Migrate) -> None:
    with pytest.raises(OutdatedDatabase, match="holds no tables yet") as caught:
        await open_database(engine, migrate=migrate)
    assert caught.value.known == HEAD
    if empty_sql_url.startswith("sqlite"):
        assert not Path(empty_sql_url.removeprefix("sqlite:///")).exists()
    else:
        assert await _tables(engine) == set()


async def test_an_older_database_is_named_and_left_alone_when_checking(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    await open_database(engine)
    monkeypatch.setattr("minference.storage.sql.opening.HEAD", "9998")
    monkeypatch.setattr("minference.storage.sql.opening.REVISIONS", (HEAD, "9998"))
    with pytest.raises(OutdatedDatabase, match=f"revision is '{HEAD}' and this minference needs '9998'; run `minference db upgrade`"):
        await open_database(engine, migrate="check")
    assert isinstance(await open_database(engine, migrate="off"), UUID)


@pytest.mark.parametrize("migrate", ["auto", "check", "off"])
async def test_a_newer_database_is_refused_in_every_mode(engine: AsyncEngine, migrate: Migrate) -> None:
    await open_database(engine)
    await _execute(engine, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(NewerDatabase, match="'9999'") as caught:
        await open_database(engine, migrate=migrate)
    assert (caught.value.revision, caught.value.known) == ("9999", HEAD)


async def test_the_tables_of_another_application_are_not_touched(engine: AsyncEngine) -> None:
    await _execute(engine, "CREATE TABLE invoice (id INTEGER)", "CREATE TABLE alembic_version (version_num TEXT)")
    with pytest.raises(ForeignDatabase) as caught:
        await open_database(engine)
    assert caught.value.tables == ("alembic_version", "invoice")
    assert await _tables(engine) == {"alembic_version", "invoice"}


async def test_a_foreign_sqlite_file_keeps_every_byte(tmp_path: Path) -> None:
    file = tmp_path / "theirs.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE invoice (id INTEGER)")
    connection.close()
    before = file.read_bytes()
    engine = open_engine(f"sqlite:///{file}")
    with pytest.raises(ForeignDatabase):
        await open_database(engine)
    await engine.dispose()
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["theirs.db"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("notes.txt", "it is no SQLite database, or its beginning was overwritten: choose another file"),
        ("missing/chats.db", "there is no directory '.*/missing'; create it first"),
        ("folder", "that is a directory; name a file in it"),
    ],
)
async def test_what_cannot_be_an_sqlite_file_is_named(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "notes.txt").write_text("Dear diary, " * 100)
    (tmp_path / "folder").mkdir()
    engine = open_engine(f"sqlite:///{tmp_path / name}")
    with pytest.raises(DatabaseUnreadable, match=reason) as caught:
        await open_database(engine)
    await engine.dispose()
    assert caught.value.url == f"sqlite:///{tmp_path / name}"
    assert not (tmp_path / "missing").exists()


async def test_a_postgresql_database_that_is_not_there_is_named(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url.replace("/test_", "/gone_"))
    with pytest.raises(DatabaseUnreadable, match=r'database "gone_[0-9]+" does not exist'):
        await open_database(engine)
    await engine.dispose()


async def test_a_server_that_is_not_there_is_named_without_the_password(tmp_path: Path) -> None:
    engine = open_engine(f"postgresql://me:secret@/chats?host={tmp_path}")
    with pytest.raises(DatabaseUnreadable, match=r"cannot open the database postgresql://me:\*\*\*@/chats") as caught:
        await open_database(engine)
    await engine.dispose()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://x/y", "postgresql+psycopg://x/y", "chats.db"])
def test_a_url_that_cannot_be_used_says_what_can(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"use sqlite:///file\.db"):
        open_engine(url)


async def test_a_creation_that_fails_leaves_nothing(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "minference.storage.sql.opening._run_alembic",
        lambda connection: connection.exec_driver_sql("CREATE TABLE half (id INTEGER)") and connection.exec_driver_sql("nonsense"),
    )
    with pytest.raises(DatabaseUnreadable, match="syntax error"):
        await open_database(engine)
    monkeypatch.undo()
    assert await _tables(engine) == set()
    assert isinstance(await open_database(engine), UUID)


async def test_eight_processes_that_open_a_new_database_at_once_agree(empty_sql_url: str, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stderr:
        ids = await said_at_the_end(*[("open", empty_sql_url)] * 8, stderr=stderr)
        assert Path(stderr.name).read_text() == ""
    assert len(set(ids)) == 1
    assert UUID(ids[0])


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every statement that SQLite executes on connections that are made from now on."""
    seen: list[str] = []

    def watch(connection: Any, _record: Any) -> None:
        connection.run_async(lambda driver: driver.set_trace_callback(seen.append))

    event.listen(Pool, "connect", watch)
    yield seen
    event.remove(Pool, "connect", watch)


async def test_loading_takes_as_many_statements_at_any_length_and_one_more_from_where_much_is_remembered(
    sqlite_url: str, statements: list[str]
) -> None:
    counts: list[int] = []
    threads = [a_thread(*map(str, range(length))) for length in (2, FEWEST_ROWS // 2, FEWEST_ROWS, 5 * FEWEST_ROWS)]
    async with open_storage(sqlite_url) as storage:
        await storage.register(*threads)
    async with open_storage(sqlite_url) as storage:
        await storage.get(ChatThread, threads[0].ecs_id)  # so that the kinds are known
        for thread in threads:
            statements.clear()
            await storage.get(ChatThread, thread.ecs_id)
            counts.append(len(statements))
    assert counts[0] == counts[1] < 20
    assert counts[2] == counts[3] == counts[0] + 1


async def test_closing_ends_every_thread_of_the_database(sqlite_url: str) -> None:
    before = set(threading.enumerate())
    async with open_storage(sqlite_url) as storage:
        thing = a_thread("a")
        await storage.register(thing)
        await asyncio.gather(*(storage.get(ChatThread, thing.ecs_id) for _ in range(3)))
        threads = set(threading.enumerate()) - before
    assert len(threads) > 1
    for thread in threads:
        thread.join(timeout=5)
    assert [thread for thread in threads if thread.is_alive()] == []
