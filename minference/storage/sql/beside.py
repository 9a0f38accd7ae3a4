"""`TableBeside`: what tables that stand beside the versions have in common, which are read and written apart from those."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from minference.storage.sql.archive import Ask
from minference.storage.sql.driver import Driver, Rows
from minference.storage.sql.reader import Reader
from minference.storage.sql.retrying import Work, patiently, with_parameters
from minference.storage.sql.types import encode_time

T = TypeVar("T")


class TableBeside:
    """Reads such a table, and writes it in transactions of its own."""

    def __init__(self, ask: Ask, driver: Driver) -> None:
        self._ask = ask
        self._driver = driver
        self._dialect = driver.dialect

    async def _fetch(self, statement: str, *arguments: Any) -> Rows:
        async def answer(_reader: Reader) -> Rows:
            async with self._driver.reading() as fetch:
                rows: Rows = await fetch(self._sql(statement), *arguments)
            return rows

        found: Rows = await self._ask(answer)
        return found

    async def _write(self, work: Work[T]) -> T:
        """What `work` gives, once its transaction is durable."""

        async def attempt() -> T:
            async with self._driver.transaction() as transaction:
                return await work(transaction)

        return await patiently(attempt)

    def _sql(self, statement: str) -> str:
        return with_parameters(statement, self._dialect)

    def _time(self, moment: datetime) -> Any:
        return encode_time(moment) if self._dialect == "sqlite" else moment

    def _uuid(self, value: UUID) -> Any:
        return value.hex if self._dialect == "sqlite" else value
