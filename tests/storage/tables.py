"""The rows of a database, read by SQLAlchemy alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import text

from minference.storage.sql.dialects import open_engine

Rows = dict[tuple[Any, ...], tuple[Any, ...]]
"""Table name and primary key, to the whole row."""

CHANGING = {"cached_reply", "run", "run_entry", "storage_info", "tag"}
_KEYS = {
    "sqlite": """
        SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c
        WHERE t.type = 'table' AND c.pk > 0 ORDER BY t.name, c.pk""",
    "postgresql": """
        SELECT t.relname, a.attname FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        JOIN pg_class t ON t.oid = i.indrelid
        WHERE i.indisprimary AND t.relnamespace = current_schema()::regnamespace ORDER BY 1, array_position(i.indkey::int2[], a.attnum)""",
}
"""The columns of each table's primary key."""


async def rows_of(url: str) -> Rows:
    """Every row that must never change."""
    engine = open_engine(url)
    try:
        async with engine.connect() as connection:
            keys: dict[str, list[str]] = {}
            for table, column in await connection.execute(text(_KEYS[connection.dialect.name])):
                keys.setdefault(table, []).append(column)
            found: Rows = {}
            for table in sorted(keys.keys() - CHANGING):
                for row in (await connection.execute(text(f'SELECT * FROM "{table}"'))).mappings():
                    found[(table, *(row[column] for column in keys[table]))] = tuple(map(repr, row.values()))
            return found
    finally:
        await engine.dispose()


async def damage(url: str, *statements: str) -> None:
    """Execute statements with all checks and guards of the database switched off; the guards are up again afterwards."""
    engine = open_engine(url)
    try:
        async with engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            for sql in _unguarded(statements, await _triggers(driver)) if url.startswith("sqlite") else (_REPLICA, *statements):
                await driver.execute(sql.replace("{bytes}", "BLOB" if url.startswith("sqlite") else "BYTEA"))
    finally:
        await engine.dispose()


_REPLICA = "SET session_replication_role = replica"
"""Neither foreign keys nor triggers are heeded by this connection."""


async def _triggers(driver: Any) -> dict[str, str]:
    async with driver.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'guard%'") as cursor:
        return dict(await cursor.fetchall())


def _unguarded(statements: Sequence[str], triggers: Mapping[str, str]) -> Iterator[str]:
    """In one transaction: the guards of a table that is gone afterwards went with it."""
    yield "PRAGMA foreign_keys = OFF"
    yield "BEGIN IMMEDIATE"
    yield from (f'DROP TRIGGER "{name}"' for name in triggers)
    yield from statements
    yield from triggers.values()
    yield "COMMIT"


async def broken_rules(url: str) -> list[Any]:
    """What SQLite's own checks find; PostgreSQL does not commit what would break a rule."""
    if not url.startswith("sqlite"):
        return []
    engine = open_engine(url)
    try:
        async with engine.connect() as connection:
            broken = list((await connection.exec_driver_sql("PRAGMA foreign_key_check")).all())
            verdict = (await connection.exec_driver_sql("PRAGMA integrity_check")).scalars().all()
            return [*broken, *(line for line in verdict if line != "ok")]
    finally:
        await engine.dispose()
