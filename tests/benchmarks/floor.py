"""The least that any program pays: the very rows that we wrote, inserted and committed again with the bare driver."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import aiosqlite

Rows = list[tuple[Any, ...]]

DURABLE = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL")


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


def copy_database(source: Path, target: Path) -> Path:
    """A consistent copy of a database that may be open elsewhere."""
    with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
        origin.backup(copy)
    return target


def what_was_written(before: Path, after: Path, turns: int) -> Written:
    """The rows that `after` has beyond `before`. A table with as many rows as before was at most updated, and is left out."""
    added: dict[str, Rows] = {}
    with closing(sqlite3.connect(before)) as old, closing(sqlite3.connect(after)) as new:
        for table in _tables(new):
            known, found = set(_all(old, table)), _all(new, table)
            if len(found) > len(known):
                added[table] = [row for row in found if row not in known]
    return Written(turns, added, _size(after) - _size(before))


async def insert_again(base: Path, written: Written) -> list[float]:
    """Seconds for each turn: its rows into a copy of the database as it was, one transaction a turn, as durable as ours."""
    seconds = []
    async with aiosqlite.connect(base) as connection:
        for pragma in DURABLE:
            await connection.execute(pragma)
        for batches in _turns(written):
            begin = perf_counter()
            for statement, rows in batches:
                await connection.executemany(statement, rows)
            await connection.commit()
            seconds.append(perf_counter() - begin)
    return seconds


def insert_again_in_one_thread(base: Path, written: Written) -> list[float]:
    """The same without asyncio: `sqlite3` in the calling thread, which blocks everybody else meanwhile."""
    seconds = []
    with closing(sqlite3.connect(base)) as connection:
        for pragma in DURABLE:
            connection.execute(pragma)
        for batches in _turns(written):
            begin = perf_counter()
            for statement, rows in batches:
                connection.executemany(statement, rows)
            connection.commit()
            seconds.append(perf_counter() - begin)
    return seconds


def _turns(written: Written) -> Iterator[list[tuple[str, Rows]]]:
    """For each turn, one statement per table with its rows. Every turn adds equally many to a table."""
    for turn in range(written.turns):
        yield [
            (_insert(table, rows), rows[len(rows) * turn // written.turns : len(rows) * (turn + 1) // written.turns])
            for table, rows in written.rows.items()
        ]


def _tables(connection: sqlite3.Connection) -> list[str]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid")
    return [name for (name,) in names]


def _all(connection: sqlite3.Connection, table: str) -> Rows:
    return connection.execute(f'SELECT * FROM "{table}"').fetchall()


def _insert(table: str, rows: Rows) -> str:
    return f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(rows[0]))})'


def _size(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0])
