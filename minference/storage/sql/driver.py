"""The hot path to a database: compiled statements on the raw driver, few round trips, one writing connection."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from json import JSONDecodeError
from typing import Any, Protocol

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from minference.errors import MinferenceError
from minference.storage.sql.files import OpenFile
from minference.storage.sql.types import DamagedCell, DialectName

Statement = tuple[str, Sequence[tuple[Any, ...]]]
"""SQL in the driver's own parameter style, and the rows to execute it with."""
Rows = list[tuple[Any, ...]]
Fetch = Callable[..., Awaitable[Rows]]
"""`await fetch(sql, *arguments)` gives all rows."""


_UNFIT = "invalid input for query argument"
"""What asyncpg says of a value that no column takes, before it quotes it."""

PATIENCE = 30.0
"""Seconds for which a database that is locked or away is tried again."""


def is_driver_error(error: BaseException) -> bool:
    """Whether the database or the way to it failed, and not our code."""
    # Of a damaged file, sqlite3 may have messages that it cannot decode, and rows that are none of ours.
    ours = sqlite3.Error | SQLAlchemyError | OSError | UnicodeDecodeError | JSONDecodeError | ValidationError | DamagedCell
    return isinstance(error, ours) or type(error).__module__.startswith("asyncpg.")


class Patience:
    """The pauses between attempts on a database that is busy or away."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._pause = 0.05

    async def wait(self) -> bool:
        """Pause, longer each time; at once `False` when that was long enough."""
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
        if now - self._began >= PATIENCE:
            return False
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, 2.0)
        return True


_VIOLATION = "23"
"""How the SQLSTATEs of violated constraints begin: they are expected, and leave the connection as it was."""


class Transaction(Protocol):
    """A transaction that reads what it goes on to write."""

    async def fetch(self, sql: str, *arguments: Any) -> Rows:
        """All rows of one statement."""
        ...

    async def execute(self, sql: str, rows: Sequence[tuple[Any, ...]] = ((),)) -> None:
        """Execute one statement with each of the rows."""
        ...


class Driver(Protocol):
    """One database through its own driver."""

    dialect: DialectName

    async def write(self, statements: Sequence[Statement]) -> None:
        """Execute everything in one transaction. The driver's exception passes; then nothing was written."""
        ...

    async def write_returning(self, sql: str, *arguments: Any) -> Rows:
        """Execute one statement in a transaction of its own, and return its rows."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """One transaction for as many statements as one likes, committed at the end of the block, undone if that is left otherwise."""
        ...

    def reading(self) -> Any:
        """A context manager that lends a connection: `async with driver.reading() as fetch`."""
        ...

    def alone(self) -> AbstractAsyncContextManager[Fetch]:
        """A connection outside of any transaction, for what does not work inside one. On SQLite nothing else is written meanwhile."""
        ...

    @property
    def wrote(self) -> bool:
        """Whether there is a writing connection: something was written, or was to be."""
        ...

    async def close(self) -> None:
        """Give back the writing connection."""
        ...


class SqliteDriver:
    """aiosqlite: a whole transaction is one visit to the connection's thread."""

    dialect: DialectName = "sqlite"

    def __init__(self, engine: AsyncEngine, file: OpenFile | None = None) -> None:
        self._engine = engine
        self._file = file
        self._lock = asyncio.Lock()
        self._connection: AsyncConnection | None = None

    async def write(self, statements: Sequence[Statement]) -> None:
        """See `Driver.write`."""
        await self._in_transaction(lambda connection: _execute_all(connection, statements))

    async def write_returning(self, sql: str, *arguments: Any) -> Rows:
        """See `Driver.write_returning`."""
        return list(await self._in_transaction(lambda connection: connection.execute(sql, arguments).fetchall()))

    async def _in_transaction(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        async with self._lock:
            connection = await self._writer()
            return await _visit(connection, lambda: _transaction(connection._conn, work))

    async def _writer(self) -> Any:
        if self._connection is None:
            if self._file is not None:
                self._file.require()  # or SQLite would make an empty one
            self._connection = await self._engine.connect()
        return await _driver_connection(self._connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See `Driver.transaction`."""
        async with self._lock:
            connection = await self._writer()
            try:  # who is cancelled while it begins has begun it: what the thread was given, it does, and then what comes after
                await _visit(connection, lambda: connection._conn.execute("BEGIN IMMEDIATE"))
                yield _SqliteTransaction(connection)
                await _visit(connection, lambda: connection._conn.execute("COMMIT"))
            except BaseException:
                await _visit(connection, connection._conn.rollback)
                raise

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Fetch]:
        """See `Driver.alone`."""
        async with self._lock:
            yield _SqliteTransaction(await self._writer()).fetch

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Fetch]:
        """See `Driver.reading`."""
        async with self._engine.connect() as lent:
            connection = await _driver_connection(lent)

            yield _SqliteTransaction(connection).fetch

    @property
    def wrote(self) -> bool:
        """See `Driver.wrote`."""
        return self._connection is not None

    async def close(self) -> None:
        """See `Driver.close`."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


class _SqliteTransaction:
    """Statements on one aiosqlite connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *arguments: Any) -> Rows:
        """See `Transaction.fetch`."""
        return list(await _visit(self._connection, lambda: self._connection._conn.execute(sql, arguments).fetchall()))

    async def execute(self, sql: str, rows: Sequence[tuple[Any, ...]] = ((),)) -> None:
        """See `Transaction.execute`."""
        await _visit(self._connection, lambda: _execute_all(self._connection._conn, [(sql, rows)]))


async def _driver_connection(connection: AsyncConnection) -> Any:
    """The driver's own connection under one of SQLAlchemy's."""
    return (await connection.get_raw_connection()).driver_connection


async def _visit(connection: Any, work: Callable[[], Any]) -> Any:
    """Run `work` in the thread of an aiosqlite connection. Its public calls make one visit for each statement."""
    return await connection._execute(work)


def _transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], Any]) -> Any:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        # A COMMIT that fails leaves the transaction open.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _execute_all(connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    for sql, rows in statements:
        if len(rows) == 1:
            connection.execute(sql, rows[0])
        else:
            connection.executemany(sql, rows)


class PostgresDriver:
    """asyncpg: each statement is prepared once, its rows are sent in one round trip."""

    dialect: DialectName = "postgresql"

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._lock = asyncio.Lock()
        self._connection: AsyncConnection | None = None

    async def _writer(self) -> Any:
        if self._connection is not None:
            connection = await _driver_connection(self._connection)
            if not connection.is_closed():
                return connection
            broken, self._connection = self._connection, None
            await broken.invalidate()
            await broken.close()
        self._connection = await self._engine.connect()
        return await _driver_connection(self._connection)

    async def write(self, statements: Sequence[Statement]) -> None:
        """See `Driver.write`."""
        async with self.transaction() as transaction:
            for sql, rows in statements:
                await transaction.execute(sql, rows)

    async def write_returning(self, sql: str, *arguments: Any) -> Rows:
        """See `Driver.write_returning`."""
        async with self._transaction() as connection:
            return await _PostgresTransaction(connection).fetch(sql, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See `Driver.transaction`."""
        async with self._transaction() as connection:
            yield _PostgresTransaction(connection)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        async with self._lock:
            connection = await self._writer()
            try:
                async with connection.transaction():
                    yield connection
            except BaseException as error:
                if not isinstance(error, MinferenceError) and not str(getattr(error, "sqlstate", "")).startswith(_VIOLATION):
                    # A connection that is about to be lost may not know it yet, and fail in ways that say nothing.
                    connection.terminate()
                raise

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Fetch]:
        """See `Driver.reading`."""
        async with self._engine.connect() as lent:
            yield _PostgresTransaction(await _driver_connection(lent)).fetch

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Fetch]:
        """See `Driver.alone`."""
        async with self.reading() as fetch:
            yield fetch

    @property
    def wrote(self) -> bool:
        """See `Driver.wrote`."""
        return self._connection is not None

    async def close(self) -> None:
        """See `Driver.close`."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


class _PostgresTransaction:
    """Statements on one asyncpg connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *arguments: Any) -> Rows:
        """See `Transaction.fetch`."""
        with _without_values():
            return [tuple(row) for row in await self._connection.fetch(sql, *arguments)]

    async def execute(self, sql: str, rows: Sequence[tuple[Any, ...]] = ((),)) -> None:
        """See `Transaction.execute`."""
        with _without_values():
            if len(rows) == 1:
                await self._connection.execute(sql, *rows[0])
            else:
                await self._connection.executemany(sql, rows)


@contextmanager
def _without_values() -> Iterator[None]:
    """A block whose exceptions of asyncpg quote no value: the details of a violation hold whole rows, and those what was said."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith("asyncpg."):
            error.__dict__["detail"] = None  # without one, its exceptions about connections cannot be shown
            if (told := str(error.args[0] if error.args else "")).startswith(_UNFIT):
                error.args = (told.partition(":")[0],)
                error.__cause__ = None
        raise
