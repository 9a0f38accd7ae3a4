"""Stored versions are protected by triggers of the database, whichever program made its tables."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from minference.storage.open import open_storage
from minference.storage.sql.dialects import open_engine
from minference.storage.sql.guards import EXISTING, take_away_guards
from minference.storage.sql.migrations import PACKAGE_TABLES
from minference.threads.thread import ChatThread
from tests.storage.lineage_samples import a_thread
from tests.storage.programs import run_program

ONLY_ENTITIES = """
import asyncio, sys
from minference import Entity, open_storage

class Note(Entity, kind="guards_note"):
    title: str

async def main():
    async with open_storage(sys.argv[1]) as storage:
        await storage.register(Note(title="x"))
        print(any(name.startswith("minference.threads.tables") for name in sys.modules))

asyncio.run(main())
"""


async def _guards(url: str) -> dict[str, str]:
    """The names of the triggers, with those of their tables."""
    engine = open_engine(url)
    async with engine.connect() as connection:
        rows: list[Any] = list(await connection.exec_driver_sql(EXISTING[connection.dialect.name]))
    await engine.dispose()
    return {str(name): str(table) for name, table in rows}


async def _unguard(url: str) -> None:
    engine = open_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(take_away_guards)
    await engine.dispose()


async def _forge(url: str) -> None:
    engine = open_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE chat_message SET content = 'forged'")
    finally:
        await engine.dispose()


async def test_messages_are_protected_although_the_program_that_made_the_tables_knew_none(empty_sql_url: str) -> None:
    made = subprocess.run([sys.executable, "-c", ONLY_ENTITIES, empty_sql_url], check=True, capture_output=True, text=True)
    assert made.stdout == "False\n"
    guards = await _guards(empty_sql_url)
    async with open_storage(empty_sql_url, migrate="off") as storage:
        await storage.register(a_thread("original"))
    with pytest.raises(DBAPIError, match="stored versions never change"):
        await _forge(empty_sql_url)
    await _unguard(empty_sql_url)
    async with open_storage(empty_sql_url):  # of a program that has imported every class
        assert guards == {name: table for name, table in (await _guards(empty_sql_url)).items() if table in PACKAGE_TABLES}


async def test_opening_sets_up_guards_that_are_missing_and_says_so(sql_url: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = await _guards(sql_url)
    await _unguard(sql_url)
    async with open_storage(sql_url, migrate="check") as storage:
        assert {finding.rule for finding in await storage.check()} == {"guards"}
    with caplog.at_level(logging.WARNING, "minference.storage"):
        async with open_storage(sql_url) as storage:
            assert await storage.check() == []
            await storage.register(a_thread("original"))
    assert await _guards(sql_url) == whole
    assert [record.getMessage().partition(" lacked ")[2] for record in caplog.records] == [
        f"triggers that keep stored versions from changing: {len(whole)} are set up now"
    ]
    with pytest.raises(DBAPIError, match="stored versions never change"):
        await _forge(sql_url)


async def test_a_database_that_cannot_be_written_is_read_without_its_guards(
    sqlite_storage_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_storage(sqlite_storage_url) as storage:
        thread = await storage.register(a_thread("original"))
    await _unguard(sqlite_storage_url)
    path = sqlite_storage_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    async with open_storage(f"sqlite:///file:{path}?immutable=1&uri=true") as storage:
        assert (await storage.get(ChatThread, thread.ecs_id)).history[0].content == "original"
    assert ["they cannot be set up" in record.getMessage() for record in caplog.records] == [True]


async def test_tables_that_only_another_program_declares_stay_guarded_when_tables_are_made(empty_sql_url: str) -> None:
    declare = """
class {0}(Entity, kind="{1}"):
    title: str

class {0}SQL(EntityTable, entity={0}):
    __tablename__ = "{1}"
    title: Mapped[str] = mapped_column(ExactText)

async def main(storage):
    await storage.register({0}(title="x"))
"""
    note, long_name = "guards_note", "guards_" + "very_" * 9 + "long"
    await run_program(declare.format("Note", note), empty_sql_url)
    await run_program(declare.format("Other", long_name), empty_sql_url)
    found = await _guards(empty_sql_url)
    assert {f"guard_delete_{note}", f"guard_update_{note}"} <= found.keys()
    look = declare.format("Other", long_name).partition("async def main")[0]
    look += "async def main(storage):\n    return [each.rule for each in await storage.check()]\n"
    assert "guards" not in await run_program(look, empty_sql_url)


@pytest.mark.parametrize("setting", ["lock_timeout", "statement_timeout"])
async def test_guards_that_a_lock_keeps_from_being_set_up_keep_nobody_out(
    postgresql_url: str, setting: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_storage(postgresql_url) as storage:
        thread = await storage.register(a_thread("original"))
    await _unguard(postgresql_url)
    monkeypatch.setattr("minference.storage.sql.driver.PATIENCE", 0.2)
    engine = open_engine(postgresql_url)
    async with engine.connect() as connection, connection.begin():
        name = (await connection.exec_driver_sql("SELECT current_database()")).scalar_one()
        await connection.exec_driver_sql("LOCK TABLE entity_version IN ROW EXCLUSIVE MODE")  # as whoever is writing holds it
        async with engine.begin() as other:
            await other.exec_driver_sql(f"ALTER DATABASE {name} SET {setting} = '200ms'")
        async with open_storage(postgresql_url) as storage:
            assert (await storage.get(ChatThread, thread.ecs_id)).history[0].content == "original"
    await engine.dispose()
    assert ["they cannot be set up" in record.getMessage() for record in caplog.records] == [True]
