"""Reading the tables of threads with SQL of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from minference.storage.base import EntityStorage
from minference.storage.sql.dialects import read_failed
from minference.storage.sql.driver import is_driver_error


@asynccontextmanager
async def reading(storage: EntityStorage) -> AsyncIterator[AsyncSession]:
    """A session for statements that are right, so that only the database can be at fault.

    Raises:
        ConfigurationError: The storage has no tables.
        ReadFailed: The database cannot be read, e.g. since its file is damaged.
    """
    async with storage.sql() as session:
        try:
            yield session
        except Exception as error:
            if not is_driver_error(error):
                raise
            raise read_failed(error) from error
