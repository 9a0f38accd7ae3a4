"""What every storage that has tables promises to those who ask in SQL."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class Queries(Protocol):
    """A part of `EntityStorage`."""

    def sql(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A SQLAlchemy session that reads the tables and views: `async with storage.sql() as session:`.

        Everything saved before is there, as it is at one moment: what is saved meanwhile is seen after `session.commit()`.
        Rows stay usable when the block is left. Keep it short: an SQLite file grows while somebody reads it as it was.

        Raises:
            ConfigurationError: The storage is in memory, where there are no tables.
            ReadFailed: The database cannot be reached, or is damaged.
            ReadOnlySession: Inside, for a statement that would write. Other mistakes in SQL are SQLAlchemy's errors.
        """
        ...
