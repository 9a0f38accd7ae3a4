"""What differs between the databases: URLs, connections, and what their exceptions mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from json import JSONDecodeError
from typing import Any, Literal

from pydantic import ValidationError
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from minference.errors import ConfigurationError, ReadFailed, WriteFailed
from minference.storage.arguments import without_password
from minference.storage.sql.types import DamagedCell, DialectName

BUSY_TIMEOUT = 30.0
"""Seconds to wait for the lock that another process holds."""

READ_ONLY = "it cannot be written; check the permissions of the file and its directory"

ERASED_LINEAGE = "ck_entity_version_erased_lineage"
"""What the trigger says that refuses new versions of erased lineages."""

_LAST_PORT = 65_535
_DRIVERS: dict[str, str] = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


def async_url(url: str) -> URL:
    """The URL with the name of the async driver.

    Raises:
        ConfigurationError: It is no URL of a database that can be used.
    """
    try:
        parsed = make_url(url)
        if parsed.port is not None and parsed.port > _LAST_PORT:
            raise ValueError(parsed.port)
    except (ArgumentError, ValueError) as error:
        reason = "" if isinstance(error, ArgumentError) else f" (a port is a number up to {_LAST_PORT})"
        raise ConfigurationError(
            f"{without_password(url)!r} is no database URL{reason}: use sqlite:///file.db or postgresql://user@host/database"
        ) from None  # its text could quote the password
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise ConfigurationError(f"database driver {parsed.drivername!r} is not supported: use sqlite:///file.db or postgresql://")
    if driver.startswith("sqlite") and parsed.database in (None, "", ":memory:"):
        raise ConfigurationError(f"{url!r} names no file: use sqlite:///file.db, or memory: to keep nothing")
    if "\0" in url:
        raise ConfigurationError(f"{url!r} holds a NUL character, which no name can: take it out")
    if driver.startswith("sqlite") and "?" in url:
        _require_heard(url, parsed)
    return parsed.set(drivername=driver)


def _require_heard(url: str, parsed: URL) -> None:
    """Refuse settings of an SQLite URL that nobody would read: only those of a `file:` URI reach SQLite."""
    asked = parsed.query.get("uri")
    if not (isinstance(asked, str) and asked.lower() in ("true", "1") and (parsed.database or "").startswith("file:")):
        file = (parsed.database or "").removeprefix("file:")
        raise ConfigurationError(
            f"nothing would heed what follows the question mark in {url!r}: leave it out, or pass it to SQLite in a URI, "
            f"such as sqlite:///file:{file}?mode=ro&uri=true to read only"
        )


def shown_url(url: str) -> str:
    """The URL as the user wrote it, without its password: for messages and logs."""
    return make_url(url).render_as_string(hide_password=True)


def shown_engine(engine: AsyncEngine) -> str:
    """The URL of an engine, without its password and the name of the driver."""
    return engine.url.set(drivername=engine.url.get_backend_name()).render_as_string(hide_password=True)


def dialect_of(engine: AsyncEngine) -> DialectName:
    """Which of the two databases this is."""
    return "sqlite" if engine.dialect.name == "sqlite" else "postgresql"


def open_engine(url: str, *, durability: Literal["full", "fast"] = "full") -> AsyncEngine:
    """An engine; nothing is connected yet, and nothing is changed by connecting.

    On SQLite a transaction begins when SQLAlchemy begins one, with the write lock if the connection has the execution
    option `writes=True`. On a bare driver connection there is none until somebody executes BEGIN, and who does also ends
    it: the pool does not reset connections, so that a bare one can be given back without awaiting.

    Raises:
        ConfigurationError: As `async_url`.
    """
    target = async_url(url)
    if target.get_backend_name() == "sqlite":
        return _sqlite_engine(target, "FULL" if durability == "full" else "NORMAL")
    settings = {"application_name": "minference", "jit": "off", "synchronous_commit": "on" if durability == "full" else "off"}
    return create_async_engine(
        target, pool_pre_ping=True, pool_reset_on_return=None, hide_parameters=True, connect_args={"server_settings": settings}
    )


def _sqlite_engine(target: URL, synchronous: str) -> AsyncEngine:
    engine = create_async_engine(
        target, pool_reset_on_return=None, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT, "isolation_level": None}
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        # What is freed is overwritten. Versions are only ever added, so there is nothing to free until somebody erases.
        cursor.execute("PRAGMA secure_delete = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")

    return engine


class Conflict(Enum):
    """Another writer was first."""

    child = "child"
    """It made a version from the same parent."""
    run_cell = "run cell"
    """It wrote the same cell of a run."""
    version_exists = "version exists"
    """A version with this id is stored."""
    erased = "erased"
    """It erased the lineage."""


@dataclass(frozen=True, slots=True)
class Transient:
    """The database is busy or away: the same again can succeed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Permanent:
    """The same again would fail again."""

    reason: str
    damaged: bool = False
    """Whether that is because of what is stored: pages or rows are not what was written."""


Diagnosis = Conflict | Transient | Permanent

_CONSTRAINTS = {
    "uq_entity_version_child": Conflict.child,
    "entity_version.parent_id, entity_version.fork_no": Conflict.child,
    "pk_run_item": Conflict.run_cell,
    "run_item.run_id, run_item.position": Conflict.run_cell,
    "uq_entity_version_ecs_id": Conflict.version_exists,
    "entity_version.ecs_id": Conflict.version_exists,
    ERASED_LINEAGE: Conflict.erased,
}
"""What a violation means, by name of the constraint (PostgreSQL), of its columns or of the trigger (SQLite)."""

_LOST_REFERENCE = (
    "a reference leads to a row that is not in the table it names. If its class was given that table later, "
    "call `storage.move_rows` for it first"
)

_OTHER_TABLES = (
    "its tables are not those of this minference. If it was opened with migrate='off', bring them up to date first: "
    "run `minference db upgrade`"
)

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_DAMAGED_SAYINGS = ("Could not decode to UTF-8", "vtable constructor failed", "malformed database schema")
"""Beginnings of what is said of a damaged text, index or schema without a code of its own."""
_DAMAGED_STATES = ("XX001", "XX002")
"""SQLSTATEs: data corrupted, index corrupted."""
_REFUSES_TLS = "rejected SSL upgrade"
"""What asyncpg says then, in an exception without a code."""
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_BLOCKED_STATES = ("40", "55P03")
_BUSY_STATES = ("08", "57P", "53300", *_BLOCKED_STATES)
"""Beginnings of SQLSTATEs: connection lost, shutdown and start, too many connections; serialization and deadlocks, locked."""


def diagnose(error: BaseException) -> Diagnosis:
    """What an exception of a driver, bare or wrapped by SQLAlchemy, means for whoever was writing."""
    chain = list(_chain(error))
    for each in reversed(chain):
        if isinstance(each, sqlite3.Error):
            return _of_sqlite(each)
        if isinstance(each, UnicodeDecodeError | JSONDecodeError | DamagedCell):
            return Permanent(str(each), damaged=True)
        if isinstance(each, ValidationError):
            [first, *_] = each.errors(include_url=False, include_input=False)
            return Permanent(f"a row holds what was never written to it ({first['msg']})", damaged=True)
        if isinstance(state := getattr(each, "sqlstate", None), str):
            return _of_postgresql(each, state)
    if any(isinstance(each, (OSError, PoolTimeout)) for each in chain) or _is_lost(chain):
        return Transient(f"the database is not reachable ({error})")
    return Permanent(f"{type(error).__name__}: {error}")


def read_failed(error: BaseException) -> ReadFailed:
    """Our error for a question that a driver's exception left without an answer."""
    return ReadFailed(reason_of(error), retryable=isinstance(diagnose(error), Transient), damaged=is_damage(error))


def write_failed(error: BaseException) -> WriteFailed:
    """Our error for a transaction that a driver's exception undid."""
    return WriteFailed(reason_of(error), away=isinstance(diagnose(error), Transient), damaged=is_damage(error))


def is_damage(error: BaseException) -> bool:
    """Whether a driver's exception tells that what is stored is damaged."""
    cause = diagnose(error)
    return isinstance(cause, Permanent) and cause.damaged


def was_reached(error: BaseException) -> bool:
    """Whether there is a server at the other end of a connection that failed: it answered, or broke off what it had accepted.

    Whoever refuses TLS where it is demanded speaks no PostgreSQL, or is set up not to have it.
    """
    failed = [each for each in _chain(error) if isinstance(each, OSError)]
    return not any(
        isinstance(each, ConnectionRefusedError) or not isinstance(each, ConnectionError) or _REFUSES_TLS in str(each) for each in failed
    )


def was_blocked(error: BaseException) -> bool:
    """Whether PostgreSQL was reached, and others were in the way: a lock that they hold, or a deadlock with them."""
    return any(str(getattr(each, "sqlstate", None)).startswith(_BLOCKED_STATES) for each in _chain(error))


def is_no_key(error: BaseException) -> bool:
    """Whether SQLite was asked for rows by something from another row that is no number."""
    # Keys are all that is put into JSON without being written as JSON.
    return isinstance(error, sqlite3.OperationalError) and str(error) == "malformed JSON"


def reason_of(error: BaseException) -> str:
    """What to tell of an exception that a driver raised."""
    cause = diagnose(error)
    return cause.reason if isinstance(cause, Transient | Permanent) else f"{type(error).__name__}: {error}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that it wraps, down to the driver's own."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.orig if isinstance(seen, DBAPIError) and seen.orig is not None else seen.__cause__


def _of_sqlite(error: sqlite3.Error) -> Diagnosis:
    message = str(error)
    conflict = _CONSTRAINTS.get(message.removeprefix("UNIQUE constraint failed: "))
    if conflict is not None:
        return conflict
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _BUSY:
        return Transient("the database is locked by another process")
    if is_no_key(error):
        return Permanent("a row holds something else than a number where the key of another one belongs", damaged=True)
    if primary in _DAMAGED or message.startswith(_DAMAGED_SAYINGS):
        return Permanent(f"{message:.200}", damaged=True)  # it may quote a whole message of somebody's
    if primary == sqlite3.SQLITE_READONLY:
        return Permanent(READ_ONLY)
    if primary == sqlite3.SQLITE_FULL:
        return Permanent("the disk is full")
    if primary == sqlite3.SQLITE_IOERR:
        return Permanent(f"{message}: the disk may be full or failing, or a limit on files reached")
    if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return Permanent(_LOST_REFERENCE)
    if message.startswith(("no such table", "no such column")) or " has no column named " in message:
        return Permanent(f"{message}: {_OTHER_TABLES}")
    return Permanent(f"{type(error).__name__}: {message}")


def _of_postgresql(error: BaseException, state: str) -> Diagnosis:
    conflict = _CONSTRAINTS.get(str(getattr(error, "constraint_name", None)))
    if state in ("23505", "23514") and conflict is not None:
        return conflict
    if state.startswith(_BUSY_STATES):
        return Transient(f"{type(error).__name__}: {error}")
    if state in _DAMAGED_STATES:
        return Permanent(f"{type(error).__name__}: {error}", damaged=True)
    if state == "23503":
        return Permanent(f"{_LOST_REFERENCE} ({error})")
    if state in ("42P01", "42703"):
        return Permanent(f"{error}: {_OTHER_TABLES}")
    if state == "53100":
        return Permanent("the disk of the database server is full")
    return Permanent(f"{type(error).__name__}: {error}")


def _is_lost(chain: list[BaseException]) -> bool:
    """asyncpg's own exceptions about a connection that is closed, or was while it was used, carry no state."""
    ours = [each for each in chain if type(each).__module__.startswith("asyncpg.")]
    return any("clos" in str(each) or type(each).__name__ == "InternalClientError" for each in ours)
