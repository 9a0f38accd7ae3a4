"""Rows through the bare drivers, in a transaction that is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from minference.ecs.entity import Entity, plan_of
from minference.ecs.values import dump_json
from minference.storage.sql.among import id_parameter
from minference.storage.sql.decoding import Loaded
from minference.storage.sql.dialects import dialect_of, open_engine
from minference.storage.sql.mapping import Mapping, TableInsert, insert_order
from minference.storage.sql.opening import open_database

Rows = list[tuple[TableInsert, tuple[Any, ...]]]


class RawDatabase:
    """A database for synchronous tests."""

    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._engine = open_engine(url)
        self.dialect = dialect_of(self._engine)
        runner.run(open_database(self._engine))

    def close(self) -> None:
        """Give back the connections."""
        self._runner.run(self._engine.dispose())

    def insert_and_select(self, mapping: Mapping, rows: Rows, ids: Sequence[int]) -> Loaded:
        """What is loaded after the rows were inserted. Nothing stays."""
        results = self._runner.run(self._execute(mapping, rows, ids))
        return mapping.decode(self.dialect, results, lambda key: UUID(int=key))

    async def _execute(self, mapping: Mapping, rows: Rows, ids: Sequence[int]) -> list[list[Any]]:
        connection = await self._engine.raw_connection()
        driver: Any = connection.driver_connection
        await driver.execute("BEGIN")
        try:
            for insert in insert_order({insert for insert, _ in rows}):
                await driver.executemany(insert.sql(self.dialect), [row for each, row in rows if each is insert])
            return [await self._fetch(driver, sql, ids) for sql in mapping.selects(self.dialect)]
        finally:
            await driver.execute("ROLLBACK")
            connection.close()

    async def _fetch(self, driver: Any, sql: str, ids: Sequence[int]) -> list[Any]:
        parameter = id_parameter(self.dialect, ids)
        if self.dialect == "postgresql":
            return list(await driver.fetch(sql, parameter))
        return list(await driver.execute_fetchall(sql, (parameter,)))


@contextmanager
def raw_database(url: str) -> Iterator[RawDatabase]:
    """A database with the tables of the package and of all test modules."""
    with asyncio.Runner() as runner:
        database = RawDatabase(url, runner)
        try:
            yield database
        finally:
            database.close()


def documents_of(entity: Entity) -> dict[str, bytes]:
    """The stored form of the values that can change in place."""
    cls = type(entity)
    return {name: dump_json(cls, name, entity.__dict__[name]) for name in plan_of(cls).mutable}


def same(one: Any, other: Any) -> bool:
    """Equal with equal types, where NaN is NaN and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
