"""Sessions for the SQL of whoever uses the storage. They cannot write, and share no connection with what does."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import ExceptionContext, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from minference.errors import ReadOnlySession
from minference.storage.sql.dialects import BUSY_TIMEOUT, async_url, is_damage, read_failed
from minference.storage.sql.driver import is_driver_error

_READ_ONLY_STATE = "25006"
"""PostgreSQL's SQLSTATE for writing in a transaction that only reads."""
_SETTINGS = {
    "application_name": "minference",
    "jit": "off",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "repeatable read",
}


class ReadOnlySessions:
    """Gives out sessions on one database. Its engine is made when somebody asks for the first."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: AsyncEngine | None = None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """See `Queries.sql`."""
        if self._engine is None:
            self._engine = _read_only_engine(self._url)
        async with AsyncSession(self._engine, expire_on_commit=False, autoflush=False) as session:
            try:
                await session.execute(text("SELECT 1 FROM storage_info"))  # from here on, both databases show this moment
            except Exception as error:
                if not is_driver_error(error):
                    raise
                raise read_failed(error) from error
            yield session

    async def close(self) -> None:
        """Give back every connection that nobody uses."""
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None


def _read_only_engine(url: str) -> AsyncEngine:
    target = async_url(url)
    if target.get_backend_name() == "sqlite":
        # A connection is a thread there: none stays behind when its session ends.
        engine = create_async_engine(
            target, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT, "isolation_level": None}
        )
        event.listen(engine.sync_engine, "connect", _forbid_writing)
        event.listen(engine.sync_engine, "begin", _begin)
    else:
        engine = create_async_engine(target, pool_pre_ping=True, hide_parameters=True, connect_args={"server_settings": _SETTINGS})
    event.listen(engine.sync_engine, "handle_error", _explain)
    return engine


def _forbid_writing(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")


def _explain(context: ExceptionContext) -> BaseException | None:
    """Our error for a statement that would write, or whose answer is damaged."""
    error = context.original_exception
    sqlite = isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY
    if sqlite or getattr(error, "sqlstate", None) == _READ_ONLY_STATE:
        return ReadOnlySession(" ".join((context.statement or "").split()))
    return read_failed(error) if is_damage(error) else None
