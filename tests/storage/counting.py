"""Backends that count what is read of versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from minference.storage.base import Record
from minference.storage.memory import MemoryBackend
from minference.storage.sequences import Span
from minference.storage.shallow import Shallow
from minference.storage.sql.backend import SqlBackend


class CountingShallow:
    """A `Shallow` that keeps account."""

    def __init__(self, shallow: Shallow, read: Counter[str]) -> None:
        self._shallow, self._read = shallow, read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shallow, name)

    async def records(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Shallow.records`."""
        found = await self._shallow.records(keys)
        self._read["versions"] += len(found)
        return found

    async def cells(self, spans: Sequence[Span]) -> list[list[int]]:
        """See `Shallow.cells`."""
        found = await self._shallow.cells(spans)
        self._read["cells"] += sum(map(len, found))
        return found

    async def trees(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Shallow.trees`."""
        found = await self._shallow.trees(keys)
        self._read["versions"] += len(found)
        return found


class CountingMemory(MemoryBackend):
    """In memory."""

    def __init__(self) -> None:
        super().__init__()
        self.read_so_far: Counter[str] = Counter()

    def shallow(self) -> Any:
        """See `Backend.shallow`."""
        return CountingShallow(super().shallow(), self.read_so_far)


class CountingDatabase(SqlBackend):
    """In a database."""

    def __init__(self, url: str) -> None:
        super().__init__(url, durability="fast", migrate="auto")
        self.read_so_far: Counter[str] = Counter()

    def shallow(self) -> Any:
        """See `Backend.shallow`."""
        return CountingShallow(super().shallow(), self.read_so_far)


def counting(url: str) -> CountingMemory | CountingDatabase:
    """A backend for this URL."""
    return CountingMemory() if url == "memory:" else CountingDatabase(url)
