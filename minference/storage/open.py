"""`open_storage`: the door to every storage."""

from __future__ import annotations

from typing import Literal

from minference.ecs.choices import a_choice
from minference.errors import ConfigurationError
from minference.storage.arguments import without_password
from minference.storage.memory import MemoryBackend
from minference.storage.versioned import VersionedStorage

Durability = Literal["full", "fast"]
Migrate = Literal["auto", "check", "off"]


def open_storage(url: str, *, durability: Durability = "full", migrate: Migrate = "auto") -> VersionedStorage:
    """A storage to enter: `async with open_storage("sqlite:///chats.db") as storage:`. Inside, it is the current storage.

    Args:
        url: `memory:`, `sqlite:///relative.db`, `sqlite:////absolute.db`, or `postgresql://user@host/database`.
            `sqlite:///file:chats.db?mode=ro&uri=true` only reads; where the directory cannot be written either, and nobody
            writes to the file, `sqlite:///file:chats.db?immutable=1&uri=true` does.
        durability: With `full`, what was saved survives a power failure; with `fast` it survives the end of the process,
            and the last commits may be lost when the machine stops (SQLite only).
        migrate: What to do with tables of an older minference: bring them up to date, refuse, or trust them.

    Raises:
        ConfigurationError: The URL names no storage, or asks for what is not done.
        UnknownChoice: `durability` or `migrate` is none of its values.
        DatabaseUnreadable: On entering: the database cannot be used, or cannot be reached.
        ReadFailed: On entering: the server was reached, and then was lost for too long (PostgreSQL only).
        DatabaseGone: On leaving: something was saved, and the file of the database does not stand under its name any more (SQLite only).
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"the URL of a storage is a str such as 'sqlite:///chats.db', and got one of type {type(url).__name__}")
    a_choice("durability", durability, Durability)
    a_choice("migrate", migrate, Migrate)
    scheme, colon, _ = url.partition(":")
    if url == "memory:":
        return VersionedStorage(MemoryBackend())
    if colon and scheme.partition("+")[0] in ("sqlite", "postgresql", "postgres"):
        from minference.storage.sql.backend import SqlBackend

        return VersionedStorage(SqlBackend(url, durability=durability, migrate=migrate))
    raise ConfigurationError(
        f"{without_password(url)!r} names no storage: use memory:, sqlite:///file.db or postgresql://user@host/database"
    )
