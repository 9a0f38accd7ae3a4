"""The least that any program pays: the very rows that we wrote, inserted and committed again with the bare driver."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Protocol

import aiosqlite
import asyncpg

from tests.support.postgres import Postgres

Rows = list[tuple[Any, ...]]
Batches = list[tuple[str, Rows]]
"""The rows of one turn, by table."""

DURABLE = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL")


class Database(Protocol):
    """A database that a storage of ours uses, and what its bare driver does with it."""

    @property
    def url(self) -> str:
        """Where our storage finds it."""
        ...

    def size(self) -> int:
        """Bytes that it takes on disk."""
        ...

    async def copy(self) -> Database:
        """Another one with the same contents and without triggers, which are ours; nobody is connected meanwhile."""
        ...

    async def rows(self) -> dict[str, Rows]:
        """All rows of every table, in the order of their keys."""
        ...

    async def insert(self, turns: Iterable[Batches]) -> list[float]:
        """Insert the rows of each turn in a transaction, as durable as ours; the seconds that each took."""
        ...


def seconds_to_be_durable(directory: Path) -> float:
    """What the disk takes until one more page of a file would survive a power cut, median: what group commit shares."""
    seconds = []
    with (directory / "durable").open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            begin = perf_counter()
            os.fsync(file.fileno())
            seconds.append(perf_counter() - begin)
    return median(seconds)


@dataclass(frozen=True)
class Written:
    """What a number of equal turns added to a database."""

    turns: int
    rows: dict[str, Rows]
    """Rows per table, in the order of the table."""
    bytes: int
    """Growth of the file, whole pages."""

    def per_turn(self) -> dict[str, float]:
        """Rows that one turn added, per table."""
        return {table: len(rows) / self.turns for table, rows in self.rows.items()}

    def each_turn(self) -> Iterator[Batches]:
        """The rows of one turn after the other. Every turn adds equally many to a table."""
        for turn in range(self.turns):
            yield [
                (table, rows[len(rows) * turn // self.turns : len(rows) * (turn + 1) // self.turns]) for table, rows in self.rows.items()
            ]


async def what_was_written(before: Database, after: Database, turns: int) -> Written:
    """The rows that `after` has beyond `before`. A table with as many rows as before was at most updated, and is left out."""
    known, found = await before.rows(), await after.rows()
    added: dict[str, Rows] = {}
    for table, rows in found.items():
        if len(rows) > len(known[table]):
            old = set(known[table])
            added[table] = [row for row in rows if row not in old]
    return Written(turns, added, after.size() - before.size())


class SqliteFile:
    """A file, and the bare driver aiosqlite."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._copies = count(1)

    @property
    def url(self) -> str:
        """See `Database.url`."""
        return f"sqlite:///{self._path}"

    def size(self) -> int:
        """See `Database.size`."""
        with closing(sqlite3.connect(self._path)) as connection:
            return int(connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0])

    async def copy(self) -> Database:
        """See `Database.copy`."""
        target = self._path.with_suffix(f".copy{next(self._copies)}")
        with closing(sqlite3.connect(self._path)) as origin, closing(sqlite3.connect(target)) as copy:
            origin.backup(copy)
            for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                copy.execute(f'DROP TRIGGER "{name}"')
            copy.commit()
        return SqliteFile(target)

    async def rows(self) -> dict[str, Rows]:
        """See `Database.rows`."""
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        with closing(sqlite3.connect(self._path)) as connection:
            return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in connection.execute(names).fetchall()}

    async def insert(self, turns: Iterable[Batches]) -> list[float]:
        """See `Database.insert`."""
        seconds = []
        async with aiosqlite.connect(self._path) as connection:
            for pragma in DURABLE:
                await connection.execute(pragma)
            for batches in turns:
                statements = [(f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(rows[0]))})', rows) for table, rows in batches if rows]
                begin = perf_counter()
                for statement, rows in statements:
                    await connection.executemany(statement, rows)
                await connection.commit()
                seconds.append(perf_counter() - begin)
        return seconds


class PostgresqlDatabase:
    """A database of the test server, and the bare driver asyncpg."""

    def __init__(self, server: Postgres, name: str) -> None:
        self._server, self._name = server, name
        self._copies = count(1)

    @property
    def url(self) -> str:
        """See `Database.url`."""
        return self._server.url(self._name)

    def size(self) -> int:
        """See `Database.size`."""
        return int(self._server.execute(f"SELECT pg_database_size('{self._name}')"))

    async def copy(self) -> Database:
        """See `Database.copy`."""
        target = f"{self._name}_copy{next(self._copies)}"
        self._server.execute(f"CREATE DATABASE {target} TEMPLATE {self._name}")
        copy = PostgresqlDatabase(self._server, target)
        connection = await asyncpg.connect(copy.url)
        try:
            for table, trigger in await connection.fetch("SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal"):
                await connection.execute(f'DROP TRIGGER "{trigger}" ON {table}')
        finally:
            await connection.close()
        return copy

    async def rows(self) -> dict[str, Rows]:
        """See `Database.rows`."""
        connection = await asyncpg.connect(self.url)
        try:
            names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
            found = {}
            for (name,) in names:
                records = await connection.fetch(f'SELECT * FROM "{name}"')
                found[name] = sorted((tuple(record) for record in records), key=_key)
        finally:
            await connection.close()
        return found

    async def insert(self, turns: Iterable[Batches]) -> list[float]:
        """See `Database.insert`."""
        seconds = []
        connection = await asyncpg.connect(self.url)
        try:
            for batches in turns:
                statements = [
                    (f'INSERT INTO "{table}" VALUES ({", ".join(f"${number + 1}" for number in range(len(rows[0])))})', rows)
                    for table, rows in batches
                    if rows
                ]
                begin = perf_counter()
                async with connection.transaction():
                    for statement, rows in statements:
                        await connection.executemany(statement, rows)
                seconds.append(perf_counter() - begin)
        finally:
            await connection.close()
        return seconds


def _key(row: tuple[Any, ...]) -> tuple[int, int]:
    """Keys are one or two integers; tables with other keys get no rows from a turn."""
    first, second = row[0], row[1] if len(row) > 1 else 0
    return first if isinstance(first, int) else 0, second if isinstance(second, int) else 0
