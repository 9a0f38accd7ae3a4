"""What a database keeps of erased content beside its tables: old pages, logs, dead rows."""

from __future__ import annotations

from minference.storage.sql.dialects import BUSY_TIMEOUT, reason_of
from minference.storage.sql.driver import Driver, Fetch, is_driver_error
from minference.storage.sql.holdings import TABLES
from minference.storage.sql.mapping import quoted
from minference.storage.sql.schema import Base
from minference.storage.sql.searching import index_names

CHECKPOINT_TIMEOUT = 2.0
"""Seconds to wait for readers that hold the write-ahead log."""

_AGAIN = "call scrub() again"
# A reader sees the rows as they were if it began before the transaction that erased them was over.
_OLD_READERS = """
    SELECT COUNT(*) FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_xmin IS NOT NULL
    AND EXISTS (SELECT 1 FROM erasure e WHERE age(e.xmin) <= age(a.backend_xmin))"""


_NOT_OURS = "SELECT relname FROM pg_class WHERE relname = ANY($1::text[]) AND relkind = 'r' AND NOT pg_has_role(relowner, 'USAGE')"


async def scrub(driver: Driver) -> tuple[str, ...]:
    """See `Eraser.scrub`."""
    try:
        return tuple(await (_scrub_sqlite(driver) if driver.dialect == "sqlite" else _scrub_postgresql(driver)))
    except Exception as error:
        if not is_driver_error(error):
            raise
        return (f"the database keeps whatever it keeps, since it did not let itself be scrubbed ({reason_of(error)}): {_AGAIN}",)


async def _scrub_sqlite(driver: Driver) -> list[str]:
    """Rebuild the file: when SQLite splits a page, it leaves copies of rows behind that nothing but VACUUM removes."""
    remains: list[str] = []
    async with driver.alone() as fetch:
        if (failed := await _attempt(fetch, "VACUUM")) is not None:
            remains.append(f"the file could not be rebuilt and may hold copies on its pages ({failed}): {_AGAIN}")
        await fetch(f"PRAGMA busy_timeout = {CHECKPOINT_TIMEOUT * 1000:.0f}")
        try:
            [(busy, _, _)] = await fetch("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            await fetch(f"PRAGMA busy_timeout = {BUSY_TIMEOUT * 1000:.0f}")
        if busy:
            remains.append(f"the file and its write-ahead log hold it until those who read or write now are done: then {_AGAIN}")
    return remains


async def _scrub_postgresql(driver: Driver) -> list[str]:
    remains: list[str] = []
    async with driver.alone() as fetch:
        there = {str(row[0]) for row in await fetch(TABLES["postgresql"])}
        names = sorted(there & {*Base.metadata.tables, *index_names()})
        refused = {str(row[0]) for row in await fetch(_NOT_OURS, names)}
        for name in names:
            failed = "it belongs to another role" if name in refused else await _attempt(fetch, f"VACUUM {quoted(name)}")
            if failed is not None:
                remains.append(f"table {name} could not be vacuumed and holds dead rows ({failed}): {_AGAIN}")
        [(readers,)] = await fetch(_OLD_READERS)
        if readers:
            remains.append(f"dead rows stay until {readers} transactions that began before the erasure end: then {_AGAIN}")
    return remains


async def _attempt(fetch: Fetch, sql: str) -> str | None:
    """Why a statement failed; `None` if it did not."""
    try:
        await fetch(sql)
    except Exception as error:
        if not is_driver_error(error):
            raise
        return reason_of(error)
    return None
