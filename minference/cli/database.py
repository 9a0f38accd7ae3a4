"""Which database a command means, and opening it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

import minference.threads.tables  # noqa: F401 - defines every class that a database of threads holds
from minference.errors import DatabaseUnreadable, OutdatedDatabase, OutdatedTables
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage

_ANOTHER = "pass --database, or set MINFERENCE_DATABASE"


def url_of(database: str) -> str:
    """The URL of what a user wrote: a URL as it is, anything else as the path of an SQLite file."""
    if "://" in database or database == "memory:":
        return database
    # In a path these are characters like others, in a URL they are not.
    return f"sqlite:///{database.replace('%', '%25').replace('?', '%3F')}"


def file_of(url: str) -> Path | None:
    """The file of an SQLite URL; `None` for other databases."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    path = unquote(rest.removeprefix("/").partition("?")[0], errors="surrogateescape")
    if path.startswith("file:"):  # a URI, as SQLite reads it: with two slashes or none before the path
        path = path.removeprefix("file:").removeprefix("//")
    return Path(path) if path and path != ":memory:" else None


def is_new(path: Path) -> bool:
    """Whether a database would begin in this file: there is none, or nothing is in it."""
    try:
        return not path.exists() or (path.is_file() and path.stat().st_size == 0)
    except OSError:  # of a name that is too long, or in a folder that is closed to us: opening it says so
        return False


@asynccontextmanager
async def existing(database: str) -> AsyncIterator[EntityStorage]:
    """The storage for a command that works with what is there: where nothing was ever saved it is an error, and nothing is made.

    Tables of an older minference are brought up to date.

    Raises:
        DatabaseUnreadable: There is no such file, it is empty, or it cannot be opened.
    """
    url = require_file(database)
    async with AsyncExitStack() as stack:
        try:
            storage = await stack.enter_async_context(open_storage(url, migrate="check"))
        except (OutdatedDatabase, OutdatedTables) as outdated:
            if isinstance(outdated, OutdatedDatabase) and outdated.revision is None:
                raise DatabaseUnreadable(outdated.url, f"it has no tables, so that nothing was ever saved in it; {_ANOTHER}") from None
            storage = await stack.enter_async_context(open_storage(url))
        yield storage


def require_file(database: str) -> str:
    """The URL of a database, of which a file is there with something in it if it has one.

    Raises:
        DatabaseUnreadable: There is no such file, or it is empty.
    """
    url = url_of(database)
    path = file_of(url)
    if path is not None and is_new(path):
        what = "the file is empty, so that nothing was ever saved in it" if path.exists() else "there is no such file"
        raise DatabaseUnreadable(url, f"{what}; {_ANOTHER}")
    return url


@asynccontextmanager
async def writing(database: str) -> AsyncIterator[EntityStorage]:
    """The storage for a command that saves something new; a missing SQLite file is created, an empty one filled.

    Raises:
        DatabaseUnreadable: It cannot be opened.
    """
    async with open_storage(url_of(database)) as storage:
        yield storage
