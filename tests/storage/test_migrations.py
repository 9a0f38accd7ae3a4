"""The revisions make exactly the tables that the models declare, on both databases."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Boolean, Connection, DateTime, MetaData, Text, Uuid, cast, inspect, literal
from sqlalchemy.ext.asyncio import AsyncEngine

import minference.threads.tables  # noqa: F401 - declares the tables
from minference.ecs.entity import Entity
from minference.storage.open import open_storage
from minference.storage.sql.dialects import open_engine
from minference.storage.sql.migrations import HEAD, PACKAGE_TABLES, REVISIONS, VERSION_TABLE
from minference.storage.sql.opening import open_database
from minference.storage.sql.schema import Base
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool


@pytest.fixture
async def engine(empty_sql_url: str) -> AsyncIterator[AsyncEngine]:
    """A database with the tables of the newest revision."""
    engine = open_engine(empty_sql_url)
    await open_database(engine)
    yield engine
    await engine.dispose()


def _differences(connection: Connection) -> list[Any]:
    options = {
        "version_table": VERSION_TABLE,
        "compare_type": True,
        "include_name": lambda name, kind, _parents: kind != "table" or name in PACKAGE_TABLES,
        "include_object": lambda found, name, kind, _reflected, _other: kind != "table" or name in PACKAGE_TABLES,
    }
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


async def test_the_revisions_make_what_the_models_declare(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []


async def test_every_constraint_has_the_name_that_its_violation_is_known_by(engine: AsyncEngine) -> None:
    def names(connection: Connection) -> tuple[set[Any], set[Any], set[Any]]:
        found = inspect(connection)
        return (
            {index["name"] for index in found.get_indexes("entity_version") if index["unique"]},
            {constraint["name"] for constraint in found.get_unique_constraints("entity_version")},
            {found.get_pk_constraint("run_item")["name"]},
        )

    async with engine.connect() as connection:
        indexes, constraints, keys = await connection.run_sync(names)
    assert {"uq_entity_version_child"} <= indexes
    assert (constraints, keys) == ({"uq_entity_version_ecs_id"}, {"pk_run_item"})


async def test_the_tables_of_the_package_are_those_that_the_revisions_make(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
    declared_by_tests = {name for name in Base.metadata.tables if name not in PACKAGE_TABLES}
    assert tables - declared_by_tests == PACKAGE_TABLES | {VERSION_TABLE}


async def test_foreign_keys_wait_for_the_end_of_the_transaction(engine: AsyncEngine) -> None:
    def not_deferred(connection: Connection) -> list[Any]:
        found = inspect(connection)
        keys = [(table, key) for table in PACKAGE_TABLES for key in found.get_foreign_keys(table)]
        return [(table, key["name"]) for table, key in keys if key["options"] != {"deferrable": True, "initially": "DEFERRED"}]

    async with engine.connect() as connection:
        assert await connection.run_sync(not_deferred) == []


@pytest.mark.parametrize("view", ["lineage_versions", "thread_heads", "thread_messages", "thread_usage"])
async def test_the_views_can_be_read(engine: AsyncEngine, view: str) -> None:
    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql(f"SELECT * FROM {view}")).all() == []


async def test_tools_from_before_they_could_be_source_or_resolve_references_load_without_both(empty_sql_url: str) -> None:
    tool = CallableTool(name="old", input_schema={"type": "object"}, resolve_references=True, source_text="def old(): ...")
    async with open_storage(empty_sql_url) as storage:
        await storage.register(tool)
    await _taken_back(empty_sql_url, "0006")
    async with open_storage(empty_sql_url) as storage:
        found = await storage.get(CallableTool, tool.ecs_id)
        assert (found.name, found.resolve_references, found.source_text) == ("old", False, None)


async def test_a_sound_database_without_the_newest_columns_is_checked_as_it_is(empty_sql_url: str) -> None:
    async with open_storage(empty_sql_url) as storage:
        thread = await storage.register(ChatThread(llm_config=LLMConfig(client="scripted", model="m")))
        await storage.runs().take("nightly", "me", 60, settings={})
        await storage.runs().add("nightly", [thread.lineage_id])
    await _taken_back(empty_sql_url, "0010")
    async with open_storage(empty_sql_url, migrate="off") as storage:
        assert await storage.check() == []


async def _taken_back(url: str, revision: str) -> None:
    """Make the database one from before this revision."""
    engine = open_engine(url)
    async with engine.connect() as connection:
        await connection.execution_options(writes=True)
        async with connection.begin():
            await connection.run_sync(_undo, revision)
    await engine.dispose()


def _undo(connection: Connection, revision: str) -> None:
    """Take back everything from this revision on."""
    config = _configuration(connection=connection)
    before = ScriptDirectory.from_config(config).get_revision(revision)
    assert before is not None
    command.downgrade(config, str(before.down_revision))


def _configuration(**attributes: Any) -> Config:
    config = Config(attributes=attributes)
    config.set_main_option("script_location", "minference:storage/sql/migrations")
    config.set_main_option("path_separator", "os")
    return config


def test_the_known_revisions_are_those_in_the_package() -> None:
    script = ScriptDirectory.from_config(_configuration())
    assert [each.revision for each in reversed(list(script.walk_revisions()))] == list(REVISIONS)
    assert script.get_heads() == [HEAD]


WRITTEN = Path(__file__).parent / "written"
"""What the package wrote at earlier revisions: the rows of every table, and dumps of the versions as they were loaded then."""


def _write(connection: Connection, revision: str, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Make the tables of an old revision, with rows as SQLite holds them."""
    command.upgrade(_configuration(connection=connection), revision)
    metadata = MetaData()
    metadata.reflect(connection)
    for table in metadata.sorted_tables:
        if table.name in tables:
            connection.execute(table.delete())
        for row in tables.get(table.name, ()):
            given = {name: _native(table.c[name].type, value) for name, value in row.items() if value is not None}
            connection.execute(table.insert().values(given))


def _native(kind: Any, value: Any) -> Any:
    """The value of a cell for a column of this type."""
    match kind:
        case Text():
            return value
        case Boolean():
            return bool(value)
        case DateTime():
            return datetime.fromisoformat(value)
        case Uuid():
            return UUID(value)
        case JSON():
            return cast(literal(value, Text()), kind)  # the very text
        case _:
            return value


@pytest.mark.parametrize("file", sorted(WRITTEN.glob("revision_*.json")), ids=lambda file: file.stem)
async def test_a_database_of_an_earlier_revision_is_upgraded_and_every_version_is_as_it_was(empty_sql_url: str, file: Path) -> None:
    written, revision = json.loads(file.read_text(encoding="utf-8")), file.stem.removeprefix("revision_")
    engine = open_engine(empty_sql_url)
    async with engine.connect() as connection:
        await connection.execution_options(writes=True)
        async with connection.begin():
            await connection.run_sync(_write, revision, written["tables"])
    await engine.dispose()
    async with open_storage(empty_sql_url) as storage:
        assert await storage.check() == []
        for ecs_id, (_, dumped) in written["versions"].items():
            assert _dump(await storage.get(Entity, UUID(ecs_id))) == dumped
        [head] = await storage.list_by_type(ChatThread)
        thread = await storage.get(ChatThread, head.ecs_id)
        thread.add_user_message("Go on.")
        assert len((await storage.submit(thread)).versions) == 2
        assert await storage.check() == []


def _dump(entity: Entity) -> Any:
    """The entity as JSON data, without fields that came later and names of objects in memory."""
    return _stripped(json.loads(json.dumps(entity.model_dump(mode="python"), default=str)))


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stripped(each) for key, each in value.items() if key not in ("live_id", *ADDED_SINCE)}
    return [_stripped(each) for each in value] if isinstance(value, list) else value


ADDED_SINCE = ("attachments", "resolve_references", "source_text", "cost_usd", "from_cache")
"""Fields that the first revision had not."""
