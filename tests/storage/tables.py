"""The rows of a database, read by SQLAlchemy alone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect, text

from minference.storage.sql.dialects import open_engine
from minference.storage.sql.guards import set_up_guards, take_away_guards

Rows = dict[tuple[Any, ...], tuple[Any, ...]]
"""Table name and primary key, to the whole row."""

CHANGING = {"cached_reply", "run", "run_entry", "storage_info", "tag"}


async def rows_of(url: str) -> Rows:
    """Every row that must never change."""
    engine = open_engine(url)
    try:
        async with engine.connect() as connection:
            keys: dict[str, list[str]] = await connection.run_sync(
                lambda sync: {
                    table: inspect(sync).get_pk_constraint(table)["constrained_columns"] for table in inspect(sync).get_table_names()
                }
            )
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
            await connection.execution_options(writes=True)
            await connection.run_sync(take_away_guards)
            await connection.commit()
            driver: Any = (await connection.get_raw_connection()).driver_connection
            for sql in ("PRAGMA foreign_keys = OFF" if url.startswith("sqlite") else "SET session_replication_role = replica", *statements):
                await driver.execute(sql.replace("{bytes}", "BLOB" if url.startswith("sqlite") else "BYTEA"))
            await connection.run_sync(set_up_guards)
            await connection.commit()
    finally:
        await engine.dispose()


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
