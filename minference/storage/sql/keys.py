"""Integer keys in blocks that are reserved ahead, so that every row of a commit is known before the first INSERT."""

from __future__ import annotations

from minference.errors import WriteFailed
from minference.storage.sql.driver import Driver

BLOCK = 65_536
"""Keys that a process reserves at once. What it does not use stays unused."""


class KeyBlock:
    """The keys that this process may give out."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._next = 0
        self._end = 0

    async def ensure(self, count: int) -> None:
        """Make sure that `take` can be called `count` times.

        Raises:
            WriteFailed: The row that says which are free is gone.
        """
        if self._end - self._next >= count:
            return
        size = max(BLOCK, count)
        parameter = "$1" if self._driver.dialect == "postgresql" else "?"
        sql = f"UPDATE storage_info SET next_id = next_id + {parameter} WHERE id = 1 RETURNING next_id"
        rows = await self._driver.write_returning(sql, size)
        if not rows:
            raise WriteFailed("table storage_info has no row with id 1, which says what keys are free", damaged=True)
        [[end]] = rows
        self._next, self._end = end - size, end

    def take(self) -> int:
        """A key that no other version, run, sequence or commit has."""
        assert self._next < self._end, "keys are reserved before they are taken"
        key = self._next
        self._next += 1
        return key
