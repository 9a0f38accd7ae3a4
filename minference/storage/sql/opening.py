"""Opening a database: recognise it, create or upgrade its tables, or refuse without having changed anything."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterable, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from minference.errors import DatabaseUnreadable, ForeignDatabase, NewerDatabase, OutdatedDatabase, OutdatedTables, ReadFailed
from minference.storage.modules import table_modules
from minference.storage.sql.declared import do, work_for
from minference.storage.sql.dialects import (
    BUSY_TIMEOUT,
    READ_ONLY,
    Transient,
    diagnose,
    dialect_of,
    is_damage,
    reason_of,
    shown_engine,
    was_blocked,
    was_reached,
)
from minference.storage.sql.driver import Patience, is_driver_error
from minference.storage.sql.guards import NAMES, missing_guards, set_up_guards, take_away_guards
from minference.storage.sql.migrations import HEAD, PACKAGE_TABLES, REVISIONS, VERSION_TABLE
from minference.storage.sql.schema import Base
from minference.storage.sql.strangers import is_stranger

_log = logging.getLogger("minference.storage")

Migrate = Literal["auto", "check", "off"]
"""What to do with tables of an older minference: bring them up to date, refuse, or trust them."""

QUEUE_TABLES = "procrastinate_"
"""How the names of the tables of a work queue begin, which may have been there first: see `minference.distributed`."""
_WHAT_IT_IS = {
    dialect: f"SELECT r.version_num, i.database_id, ({names}) FROM {VERSION_TABLE} r CROSS JOIN storage_info i"
    for dialect, names in NAMES.items()
}
_ADVISORY_LOCK = 6_364_136_223_846_793
"""Held on PostgreSQL by whoever creates or upgrades tables."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a database says of itself; nothing if it is empty."""

    revision: str | None = None
    database_id: UUID | None = None
    guards: Set[str] = frozenset()


async def open_database(engine: AsyncEngine, *, migrate: Migrate = "auto") -> UUID:
    """The id of the database, whose tables are those of this minference when this returns.

    If they already are, that takes one SELECT. Any number of processes may open a new database at the same time. Triggers that are missing
    are set up if `migrate` is "auto"; where that cannot be done, the database is used without them, and a warning says so. A server that
    was reached and is lost, starts or stops is tried again for a while.

    Raises:
        ForeignDatabase: It holds tables of another application.
        NewerDatabase: A newer minference has upgraded it.
        OutdatedDatabase: It is empty or older, and `migrate` forbids to change that.
        OutdatedTables: Tables of the application lack what its classes need, and `migrate` forbids to change that, or it takes
            a decision.
        ReadFailed: A server that was reached once stayed away.
        DatabaseUnreadable: It is no database, or cannot be reached. In every case nothing was changed.
    """
    for module in table_modules():
        import_module(module)
    url, patience, reached = shown_engine(engine), Patience(), False
    while True:
        try:
            return await _open(engine, url, migrate)
        except Exception as error:
            if not is_driver_error(error):
                raise
            passes = _passes(error, engine)
            reached = reached or (passes and was_reached(error) and not await is_stranger(engine.url))
            if not (reached and passes):
                raise DatabaseUnreadable(url, _reason(error, engine.url.database)) from error
            if not await patience.wait():
                raise ReadFailed(f"{url} was busy or away for too long ({reason_of(error)})", retryable=True) from error


async def _open(engine: AsyncEngine, url: str, migrate: Migrate) -> UUID:
    _require_place(engine, url, migrate)
    known = await _recognise(engine, url)
    if _needs_upgrade(known.revision, url, migrate):
        known = await _upgrade(engine, url)
    if not await _prepare_declared(engine, url, migrate) and migrate == "auto":
        await _complete_guards(engine, url, known.guards)
    await _use_write_ahead_log(engine)
    assert known.database_id is not None, "a database of ours has an id"
    return known.database_id


def _passes(error: Exception, engine: AsyncEngine) -> bool:
    """Whether the same again can succeed. On SQLite, whoever met a lock has waited for it."""
    return dialect_of(engine) == "postgresql" and isinstance(diagnose(error), Transient)


def _require_place(engine: AsyncEngine, url: str, migrate: Migrate) -> None:
    name = engine.url.database
    if dialect_of(engine) != "sqlite" or name is None or name.startswith("file:"):
        return
    path = Path(name)
    if path.is_dir():
        raise DatabaseUnreadable(url, "that is a directory; name a file in it")
    if not path.parent.is_dir():
        raise DatabaseUnreadable(url, f"there is no directory {str(path.parent)!r}; create it first")
    if migrate != "auto" and not path.exists():
        raise OutdatedDatabase(url, None, HEAD)


def _needs_upgrade(revision: str | None, url: str, migrate: Migrate) -> bool:
    if revision is not None and revision not in REVISIONS:
        raise NewerDatabase(url, revision, HEAD)
    if revision == HEAD or (revision is not None and migrate == "off"):
        return False
    if migrate != "auto":
        raise OutdatedDatabase(url, revision, HEAD)
    return True


async def _recognise(engine: AsyncEngine, url: str) -> _Known:
    """What a database of ours is."""
    async with engine.connect() as connection:
        try:
            rows = (await connection.exec_driver_sql(_WHAT_IT_IS[dialect_of(engine)])).all()
        except DBAPIError as error:
            if _passes(error, engine):
                raise
            await connection.rollback()
            return await connection.run_sync(_examine, url)
    return _identity(rows, url)


def _examine(connection: Connection, url: str) -> _Known:
    """The same without relying on any table."""
    tables = [name for name in inspect(connection).get_table_names() if not name.startswith(QUEUE_TABLES)]
    if not tables:
        return _Known()
    if VERSION_TABLE not in tables or "storage_info" not in tables:
        raise ForeignDatabase(url, sorted(tables))
    return _identity(connection.exec_driver_sql(_WHAT_IT_IS[connection.dialect.name]).all(), url)


def _identity(rows: Iterable[Any], url: str) -> _Known:
    found = [(str(revision), str(database_id), names) for revision, database_id, names in rows]
    if len(found) != 1:
        raise DatabaseUnreadable(url, f"tables {VERSION_TABLE!r} and 'storage_info' must have one row each; restore it from a backup")
    [(revision, database_id, names)] = found
    try:
        return _Known(revision, UUID(database_id), frozenset(json.loads(names or "[]")))
    except ValueError as error:
        reason = f"table 'storage_info' holds {database_id!r:.50} where the id of the database belongs; restore it from a backup"
        raise DatabaseUnreadable(url, reason) from error


async def _upgrade(engine: AsyncEngine, url: str) -> _Known:
    """Create or upgrade the tables in one transaction, one process at a time; who comes second finds it done."""
    async with _changing_tables(engine) as connection:
        known = await connection.run_sync(_examine, url)
        if _needs_upgrade(known.revision, url, "auto"):
            guarded = await connection.run_sync(take_away_guards)
            await connection.run_sync(_run_alembic)
            await connection.run_sync(set_up_guards, guarded)
            await _refuse_broken_references(connection, url)
        return await connection.run_sync(_examine, url)


async def _complete_guards(engine: AsyncEngine, url: str, there: Set[str]) -> None:
    """Set up triggers that are missing. One that cannot be set up keeps nobody from reading what is there."""
    if not (missing := missing_guards(PACKAGE_TABLES | Base.metadata.tables.keys(), there)):
        return
    try:
        async with _changing_tables(engine) as connection:
            await connection.run_sync(set_up_guards)
    except (DBAPIError, sqlite3.Error) as error:
        if _passes(error, engine) and not was_blocked(error):
            raise
        reason = _reason(error, engine.url.database)
        _log.warning("%s lacks triggers that keep stored versions from changing, and they cannot be set up: %s", url, reason)
    else:
        _log.warning("%s lacked triggers that keep stored versions from changing: %d are set up now", url, len(missing))


@asynccontextmanager
async def _changing_tables(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction in which tables may be created and rebuilt, while no other process does so."""
    async with engine.connect() as connection:
        await connection.execution_options(writes=True)
        await _check_foreign_keys(connection, "OFF")
        try:
            async with connection.begin():
                if dialect_of(engine) == "postgresql":
                    await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
                yield connection
        finally:
            await _check_foreign_keys(connection, "ON")


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "minference:storage/sql/migrations")
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")


async def _check_foreign_keys(connection: AsyncConnection, state: Literal["ON", "OFF"]) -> None:
    """On SQLite: rebuilding a table would delete the rows that refer to it. Has no effect inside a transaction."""
    if connection.dialect.name == "sqlite":
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None, "the connection is open"
        await (await raw.execute(f"PRAGMA foreign_keys = {state}")).close()


async def _refuse_broken_references(connection: AsyncConnection, url: str) -> None:
    if connection.dialect.name != "sqlite":
        return
    broken = (await connection.exec_driver_sql("PRAGMA foreign_key_check")).all()
    if broken:
        tables = ", ".join(sorted({str(row[0]) for row in broken}))
        raise DatabaseUnreadable(url, f"after the upgrade {len(broken)} references were broken (in {tables}), so it was undone")


async def _prepare_declared(engine: AsyncEngine, url: str, migrate: Migrate) -> bool:
    """Make the tables that the application declares for its own entities, and bring them up to what its classes need.

    Returns whether there was anything to do: then every table is guarded, too.
    """
    if migrate == "off":
        return False
    async with engine.connect() as connection:
        work = await connection.run_sync(work_for)
    if not work:
        return False
    if work.impossible:
        raise OutdatedTables(url, work.impossible)
    if migrate == "check":
        raise OutdatedTables(url, [*work.described(), "open it once with migrate='auto'"])
    async with _changing_tables(engine) as connection:
        guarded = await connection.run_sync(take_away_guards)
        await connection.run_sync(lambda sync: do(sync, work_for(sync)))
        await connection.run_sync(set_up_guards, guarded)
        await _refuse_broken_references(connection, url)
    return True


async def _use_write_ahead_log(engine: AsyncEngine) -> None:
    """On SQLite: readers do not wait for the writer. The setting stays with the file."""
    if dialect_of(engine) != "sqlite":
        return
    pause, waited = 0.01, 0.0
    async with engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None, "the connection is open"
        while True:
            try:
                await (await raw.execute("PRAGMA journal_mode = WAL")).close()
                return
            except sqlite3.OperationalError as error:
                # Several processes that switch at once refuse each other without waiting.
                if not isinstance(diagnose(error), Transient) or waited > BUSY_TIMEOUT:
                    raise
            await asyncio.sleep(pause)
            waited += pause
            pause = min(pause * 2, 0.5)


def _reason(error: BaseException, database: str | None) -> str:
    """What to tell the user of a driver's exception."""
    cause: BaseException = error
    while isinstance(cause, DBAPIError) and cause.orig is not None:
        cause = cause.orig
    match str(cause):
        case "file is not a database":
            return "it is no SQLite database, or its beginning was overwritten: choose another file, or restore a backup"
        case "unable to open database file":
            return "the file cannot be opened; check that you may read and write it and its directory"
        case "attempt to write a readonly database":
            path = (database or "").removeprefix("file:").partition("?")[0]
            return f"{READ_ONLY}. Where nobody writes, it can be read as sqlite:///file:{path}?immutable=1&uri=true"
        case "database is locked":
            return f"another process held its lock for more than {BUSY_TIMEOUT:g} s; try again when it is done"
        case "database or disk is full":
            return "the disk is full"
        case "disk I/O error":
            return "its file could not be read or written (disk I/O error): the disk may be full or failing, or a limit on files reached"
        case text if is_damage(error):
            return f"it is damaged ({text}): restore a backup"
        case text:
            return f"{type(cause.__cause__ or cause).__name__}: {text}"
