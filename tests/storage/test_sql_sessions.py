"""One's own SELECTs on an open storage: everything saved is there, as at one moment, and nothing can be written."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import Executable, func, insert, make_url, select, text, update
from sqlalchemy.exc import DBAPIError

from minference.errors import ConfigurationError, ReadFailed, ReadOnlySession, StorageClosed
from minference.storage.open import open_storage
from minference.storage.sql import EntityVersion
from minference.threads.messages import SystemPrompt
from minference.threads.tables import SystemPromptSQL
from tests.storage.tables import rows_of
from tests.support.postgres import Postgres

COUNT = select(func.count()).select_from(SystemPromptSQL)


async def test_what_was_submitted_before_is_there(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        storage.submit(SystemPrompt(content="a"))
        async with storage.sql() as session:
            assert (await session.execute(select(SystemPromptSQL.content))).scalars().all() == ["a"]
            assert (await session.execute(text("SELECT kind FROM lineage_versions"))).scalars().all() == ["system_prompt"]


async def test_a_session_shows_one_moment_and_holds_nobody_up(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        await storage.register(SystemPrompt(content="a"))
        async with storage.sql() as session:
            await storage.register(SystemPrompt(content="b"))
            assert await session.scalar(COUNT) == 1
            await session.commit()
            assert await session.scalar(COUNT) == 2
        async with storage.sql() as one, storage.sql() as other:
            assert (await one.scalar(COUNT), await other.scalar(COUNT)) == (2, 2)


async def test_rows_outlive_the_session(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        await storage.register(SystemPrompt(content="a"), author="ann")
        async with storage.sql() as session:
            row = (await session.scalars(select(SystemPromptSQL))).one()
    assert (row.content, row.entity_version.author) == ("a", "ann")


WRITING: list[Executable] = [
    insert(EntityVersion).values(id=1, ecs_id=uuid4(), lineage_id=uuid4(), fork_no=0, kind_id=1, commit_id=1, created_at=None),
    update(SystemPromptSQL).values(content="changed"),
    text("DELETE FROM system_prompt"),
    text("CREATE TABLE mine (a INTEGER)"),
    text("DROP VIEW thread_usage"),
]


async def test_whatever_would_write_is_refused(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        await storage.register(SystemPrompt(content="a"))
        before = await rows_of(sql_url)
        for statement in WRITING:
            async with storage.sql() as session:
                with pytest.raises(ReadOnlySession, match=r"storage.sql\(\) only reads, and this would write: [A-Z]"):
                    await session.execute(statement)
                await session.rollback()
                with pytest.raises(ReadOnlySession):
                    await session.execute(statement)
        assert await rows_of(sql_url) == before
        await storage.register(SystemPrompt(content="b"))
        assert (await storage.status()).versions == 2


async def test_a_mistake_in_sql_is_the_error_that_sqlalchemy_makes_of_it(sql_url: str) -> None:
    async with open_storage(sql_url) as storage, storage.sql() as session:
        with pytest.raises(DBAPIError, match="nonsense"):
            await session.execute(text("SELECT nonsense FROM system_prompt"))


async def test_memory_has_no_tables_and_says_so() -> None:
    async with open_storage("memory:") as storage:
        with pytest.raises(ConfigurationError, match="in memory has no tables to query: open an SQLite file or PostgreSQL"):
            async with storage.sql():
                pytest.fail("it has none")


async def test_a_closed_storage_gives_no_session(storage_url: str) -> None:
    async with open_storage(storage_url) as storage:
        pass
    with pytest.raises(StorageClosed):
        async with storage.sql():
            pytest.fail("it is closed")


async def test_a_database_that_is_gone_is_told_as_that(postgres: Postgres, postgresql_storage_url: str) -> None:
    async with open_storage(postgresql_storage_url) as storage:
        postgres.execute(f'ALTER DATABASE "{make_url(postgresql_storage_url).database}" ALLOW_CONNECTIONS false')
        with pytest.raises(ReadFailed, match="not currently accepting connections"):
            async with storage.sql():
                pytest.fail("nobody answers")
