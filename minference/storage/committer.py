"""One writer for one storage: everything that waits goes into one transaction, and a bad unit fails alone."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from minference.ecs.entity import Entity
from minference.ecs.state import Ledger, Version
from minference.errors import StorageError, WriteFailed
from minference.storage.base import Backend, Commit, Unit
from minference.storage.failures import Failures

_log = logging.getLogger("minference.storage")

MAX_BATCH = 512
"""Units in one transaction."""
QUIET_TURNS = 3
"""Turns of the event loop without a new unit, after which those that are there are written."""
LONGEST_GATHERING = 0.05
"""Seconds after which they are written in any case."""
MAX_BULK = 64 * 2**20
"""Bytes of blobs in one transaction of several units: other processes wait for its end."""


class Committer:
    """Writes units in the order in which they were submitted."""

    def __init__(self, backend: Backend, ledger: Ledger) -> None:
        self._backend = backend
        self._queue: deque[Unit] = deque()
        self._writing: list[Unit] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._failures = Failures(ledger)
        self._task = asyncio.create_task(self._run(), name="minference storage writer")

    def add(self, unit: Unit) -> None:
        """Queue a unit behind those that are there."""
        for draft in unit.drafts:
            draft.version.unit = unit
        self._queue.append(unit)
        self._wake.set()

    def pending(self) -> tuple[Unit, ...]:
        """Units that are not durable yet, oldest first."""
        return (*self._writing, *self._queue)

    async def flush(self) -> None:
        """Return when everything that is queued now has been written or has failed.

        Raises:
            StorageError: A unit failed that nobody had awaited, and its objects still hold what it was to save. Of several this is
                the first; the next flush raises the next.
        """
        waiting = [unit.done for unit in self.pending()]
        if waiting:
            await asyncio.wait(waiting)
        if (unheard := self._failures.take()) is not None:
            unheard.done.result()

    async def close(self) -> None:
        """Write what is queued, and stop.

        Raises:
            StorageError: As `flush`.
        """
        self._closing = True
        self._wake.set()
        await self._task
        await self.flush()

    async def _run(self) -> None:
        try:
            await self._write_what_comes()
        finally:
            # Only if this task is cancelled or has a bug there is anything left. Nobody shall wait for ever.
            for unit in self.pending():
                self._report(unit, WriteFailed("the writer of the storage has ended"))

    async def _write_what_comes(self) -> None:
        while True:
            while not self._queue and not self._closing:
                self._wake.clear()
                await self._wake.wait()
            if not self._queue:
                return
            await self._gather()
            self._take_some()
            await self._write_all(self._writing)
            self._writing = []

    async def _gather(self) -> None:
        """Let whoever is about to submit do so: one transaction for many costs little more than one for a few.

        That is over when some turns of the event loop have brought nothing, which takes microseconds where nobody else is. Where
        each turn takes long, nobody's save is held up for that.
        """
        clock = asyncio.get_running_loop().time
        waiting, quiet, end = 0, 0, clock() + LONGEST_GATHERING
        while quiet < QUIET_TURNS and len(self._queue) < MAX_BATCH and not self._closing and clock() < end:
            quiet = quiet + 1 if waiting == len(self._queue) else 0
            waiting = len(self._queue)
            await asyncio.sleep(0)

    def _take_some(self) -> None:
        bulk = 0
        while self._queue and len(self._writing) < MAX_BATCH:
            bulk += self._queue[0].bulk
            if self._writing and bulk > MAX_BULK:
                return
            self._writing.append(self._queue.popleft())

    async def _write_all(self, units: list[Unit]) -> None:
        error = await self._try(units)
        if error is None:
            return
        # One by one finds the bad unit. If nobody is there to write to, each would wait as long again for nothing.
        alone = len(units) > 1 and not (isinstance(error, WriteFailed) and error.away)
        for unit in list(units):
            if not unit.done.done() and (failure := await self._try([unit]) if alone else error) is not None:
                self._fail(unit, failure)

    async def _try(self, units: list[Unit]) -> StorageError | None:
        writing = [unit for unit in units if unit.drafts]
        try:
            commits = iter(await self._backend.write(writing) if writing else [])
        except StorageError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a bug in writing must reach whoever saves, not end the writer
            failure = WriteFailed(f"{type(error).__name__}: {error}")
            failure.__cause__ = error
            return failure
        for unit in units:
            self._succeed(unit, next(commits) if unit.drafts else Commit(None, ()))
        return None

    def _succeed(self, unit: Unit, commit: Commit) -> None:
        self._failures.make_up_for(unit)
        for draft in unit.drafts:
            draft.version.unit = None
        for branch in () if unit.imported else commit.branches:
            _log.warning(
                "lineage %s branched: version %s was made from %s, as %s was before",
                branch.lineage_id,
                branch.version,
                branch.parent,
                branch.sibling,
            )
        unit.succeed(commit)

    def _fail(self, failed: Unit, error: StorageError) -> None:
        """Put back the objects of a unit and of all that stand on its versions, newest first. No await: one cut."""
        lost = {draft.version for draft in failed.drafts}
        failing = [failed]
        for unit in self.pending():
            if unit is not failed and not unit.done.done() and _stands_on(unit, lost):
                lost.update(draft.version for draft in unit.drafts)
                failing.append(unit)
        for unit in reversed(failing):
            for draft in reversed(unit.drafts):
                draft.undo()
                draft.version.unit = None
        for unit in failing:
            self._report(unit, error)
        self._queue = deque(unit for unit in self._queue if unit not in failing)

    def _report(self, unit: Unit, error: StorageError) -> None:
        if unit.done.done():
            return
        unit.fail(error)
        self._failures.add(unit)
        if not unit.listeners:
            _log.error("a save that nobody awaits failed: %s", error)


def _stands_on(unit: Unit, lost: set[Version]) -> bool:
    for draft in unit.drafts:
        if draft.previous in lost or not lost.isdisjoint(filter(None, draft.references.values())):
            return True
        if any(not lost.isdisjoint(edit.middle) for edit in draft.edits.values()):
            return True
    return any(waited in lost for waited in _waited(unit))


def _waited(unit: Unit) -> set[Version]:
    return {draft.version for other in unit.after for draft in other.drafts}


def pending_versions(roots: Sequence[Entity], ledger: Ledger) -> list[Unit]:
    """The units that are to write the versions on which objects stand, and have not yet."""
    states = [ledger.state_of(root) for root in roots]
    return [state.version.unit for state in states if state is not None and state.version.unit is not None]
