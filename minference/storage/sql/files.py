"""`OpenFile`: whether the file of an SQLite database is still the one that was opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

from sqlalchemy.ext.asyncio import AsyncEngine

from minference.errors import DatabaseGone
from minference.storage.sql.dialects import dialect_of, shown_engine


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file by its number: SQLite goes on with the file that it has opened, whatever becomes of its name."""

    url: str
    path: str
    number: tuple[int, int]

    @classmethod
    def of(cls, engine: AsyncEngine) -> Self | None:
        """The file of a database that has just been opened; `None` if it has none."""
        name = engine.url.database
        if dialect_of(engine) != "sqlite" or not name:
            return None
        path = os.path.abspath(unquote(urlsplit(name).path) if name.startswith("file:") else name)
        number = _number(path)
        return cls(shown_engine(engine), path, number) if number is not None else None

    def require(self) -> None:
        """Return if the file still has its name.

        Raises:
            DatabaseGone: It was deleted or moved, or another one was put in its place.
        """
        if _number(self.path) != self.number:
            raise DatabaseGone(self.url, self.path)


def _number(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
