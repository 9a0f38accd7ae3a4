"""Which database a command means, and opening it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import minference.threads.tables  # noqa: F401 - defines every class that a database of threads holds
from minference.errors import DatabaseUnreadable
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage


def url_of(database: str) -> str:
    """The URL of what a user wrote: a URL as it is, anything else as the path of an SQLite file."""
    return database if "://" in database or database == "memory:" else f"sqlite:///{database}"


def file_of(url: str) -> Path | None:
    """The file of an SQLite URL; `None` for other databases."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    path = rest.removeprefix("/").partition("?")[0]
    return Path(path) if path and path != ":memory:" else None


def is_new(path: Path) -> bool:
    """Whether a database would begin in this file: there is none, or nothing is in it."""
    return not path.exists() or (path.is_file() and path.stat().st_size == 0)


@asynccontextmanager
async def existing(database: str) -> AsyncIterator[EntityStorage]:
    """The storage for a command that works with what is there: a missing or empty file is an error, not a new database.

    Raises:
        DatabaseUnreadable: There is no such file, or it cannot be opened.
    """
    url = url_of(database)
    path = file_of(url)
    if path is not None and path.is_dir():
        raise DatabaseUnreadable(url, "that is a directory; name a file in it")
    if path is not None and is_new(path):
        what = "the file is empty, so that nothing was ever saved in it" if path.exists() else "there is no such file"
        raise DatabaseUnreadable(url, f"{what}; pass --database, or set MINFERENCE_DATABASE")
    async with open_storage(url) as storage:
        yield storage


@asynccontextmanager
async def writing(database: str) -> AsyncIterator[EntityStorage]:
    """The storage for a command that saves something new; a missing SQLite file is created, an empty one filled.

    Raises:
        DatabaseUnreadable: It cannot be opened.
    """
    async with open_storage(url_of(database)) as storage:
        yield storage
