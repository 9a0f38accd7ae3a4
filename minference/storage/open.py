"""`open_storage`: the door to every storage."""

from __future__ import annotations

from typing import Literal

from minference.errors import ConfigurationError
from minference.storage.memory import MemoryBackend
from minference.storage.versioned import VersionedStorage

Durability = Literal["full", "fast"]


def open_storage(url: str, *, durability: Durability = "full", migrate: Literal["auto", "check", "off"] = "auto") -> VersionedStorage:
    """A storage to enter: `async with open_storage("sqlite:///chats.db") as storage:`. Inside, it is the current storage.

    Args:
        url: `memory:`, `sqlite:///relative.db`, `sqlite:////absolute.db`, or `postgresql://user@host/database`.
        durability: With `full`, what was saved survives a power failure; with `fast` it survives the end of the process,
            and the last commits may be lost when the machine stops (SQLite only).
        migrate: What to do with tables of an older minference: bring them up to date, refuse, or trust them.

    Raises:
        ConfigurationError: The URL names no storage.
        DatabaseUnreadable: On entering: the database cannot be used.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme == "memory":
        return VersionedStorage(MemoryBackend())
    if scheme in ("sqlite", "postgresql", "postgres"):
        from minference.storage.sql.backend import SqlBackend

        return VersionedStorage(SqlBackend(url, durability=durability, migrate=migrate))
    raise ConfigurationError(f"{url!r} names no storage: use memory:, sqlite:///file.db or postgresql://user@host/database")
