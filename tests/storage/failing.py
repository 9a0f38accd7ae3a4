"""The real backends, whose transactions fail when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from minference.ecs.state import Ledger
from minference.errors import WriteFailed
from minference.storage.base import Commit, Unit
from minference.storage.memory import MemoryBackend
from minference.storage.sql.backend import SqlBackend

DOOMED = "doomed"
"""The note of a commit that always fails."""
SAID_SO = "the test says so"
"""Why."""


def expect_told(error: BaseException) -> None:
    """It failed because the test said so."""
    assert isinstance(error, WriteFailed)
    assert SAID_SO in str(error)


class Faults:
    """Which transactions fail."""

    def __init__(self) -> None:
        self.next = 0
        """So many of the next ones."""
        self.transactions: list[int] = []
        """How many commits each transaction wanted to write."""
        self.gate = asyncio.Event()
        """Transactions wait for it."""
        self.gate.set()

    async def strike(self, units: Sequence[Unit]) -> None:
        """Let other tasks run first, as a database does; then fail, or not."""
        self.transactions.append(len(units))
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.next or any(unit.note == DOOMED for unit in units):
            self.next = max(0, self.next - 1)
            raise WriteFailed(SAID_SO)


class FailingMemory(MemoryBackend):
    """Memory that does not always work."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = Faults()
        self.ledger: Ledger

    async def open(self) -> Ledger:
        """See `Backend.open`."""
        self.ledger = await super().open()
        return self.ledger

    async def write(self, units: Sequence[Unit]) -> list[Commit]:
        """See `Backend.write`."""
        await self.faults.strike(units)
        return await super().write(units)


class FailingDatabase(SqlBackend):
    """A database that does not always work."""

    def __init__(self, url: str) -> None:
        super().__init__(url, durability="fast", migrate="auto")
        self.faults = Faults()
        self.ledger: Ledger

    async def open(self) -> Ledger:
        """See `Backend.open`."""
        self.ledger = await super().open()
        return self.ledger

    async def write(self, units: Sequence[Unit]) -> list[Commit]:
        """See `Backend.write`."""
        await self.faults.strike(units)
        return await super().write(units)
