"""What is to be written together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from minference.ecs.drafts import Draft
from minference.ecs.entity import Entity
from minference.ecs.recording import OnConflict
from minference.storage.commits import Commit


@dataclass(slots=True, eq=False)
class Unit:
    """What is written together or not at all."""

    drafts: list[Draft]
    author: str | None
    note: str | None
    created_at: datetime
    on_conflict: OnConflict
    done: asyncio.Future[Commit]
    """What came of it; see `succeed` and `fail`."""
    roots: tuple[Entity, ...] = ()
    """The objects whose save it is; none if it is imported."""
    listeners: int = 0
    """How many wait for the outcome, and so will learn of a failure."""
    heard: bool = False
    """Whether anybody has waited to the end."""
    after: tuple[Unit, ...] = field(default=())
    """Pending units that this one waits for without writing anything itself."""
    imported: bool = False
    """Whether it was saved elsewhere before, so that branches are nothing new."""
    joins: int | None = None
    """The stored commit that it belongs to, if there is one."""

    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    """What those wait for who wait for `done`, and can be cancelled without it."""

    def succeed(self, commit: Commit) -> None:
        """Say that it was written, unless something was said before."""
        if not self.done.done():
            self.done.set_result(commit)
            self._wake()

    def fail(self, error: Exception) -> None:
        """Say that it was not written."""
        self.done.set_exception(error)
        self.done.exception()  # or asyncio would complain of its own if nobody asks
        self._wake()

    async def ended(self) -> None:
        """Return when it is said what came of it. Cancelling whoever waits does not cancel the write."""
        if self.done.done():
            return
        waiter: asyncio.Future[None] = self.done.get_loop().create_future()
        self.waiters.append(waiter)
        try:
            await waiter
        finally:
            if not self.done.done():
                self.waiters.remove(waiter)

    def _wake(self) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.waiters.clear()

    @property
    def bulk(self) -> int:
        """Bytes of the blobs that it holds."""
        return sum(blob.size for draft in self.drafts for blob in draft.blobs)
