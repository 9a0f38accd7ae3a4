"""`Journal`: writes down how far the threads of a named run are, and keeps other processes out of it meanwhile."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Self
from uuid import UUID, uuid4

from pydantic import JsonValue

from minference.ecs.identity import utc_now
from minference.errors import RunBusy, StorageError
from minference.inference.outcomes import Completed, Outcome
from minference.inference.together import Together
from minference.storage.runs import Began, Ended, RunInfo, Runs, Step

_log = logging.getLogger("minference.inference")

LEASE = 30.0
"""Seconds without a sign of life after which others may take a run over."""


class Holder:
    """Whoever works on runs, under a name that nobody else has: what it could not let go of, it may take again."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:12]}"
        self._works_on: set[str] = set()

    @contextmanager
    def working_on(self, run: str) -> Iterator[None]:
        """Inside, the holder works on a run.

        Raises:
            RunBusy: It does already.
        """
        if run in self._works_on:
            raise RunBusy(run, self.name, utc_now() + timedelta(seconds=LEASE))
        self._works_on.add(run)
        try:
            yield
        finally:
            self._works_on.discard(run)


class Journal:
    """One named run while this process works on it. Writes that come together become one transaction."""

    def __init__(self, runs: Runs, name: str, settings: Mapping[str, JsonValue] | None, holder: Holder | None = None) -> None:
        self._runs = runs
        self.name = name
        self._settings = settings
        self._worker = holder or Holder()
        self._holder = self._worker.name
        self._work = ExitStack()
        self._entered: set[UUID] = set()
        """Threads that are in the work list, and have not begun since."""
        self._steps: Together[Step] = Together(self._write)
        self._alive: asyncio.Task[None] | None = None
        self._owner: asyncio.Task[object] | None = None
        self._lost: RunBusy | None = None
        self.info: RunInfo
        """How the run was when this process began with it."""

    async def __aenter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._worker.working_on(self.name))
            self.info = await self._take()
            self._work = stack.pop_all()
        self._owner = asyncio.current_task()
        self._alive = asyncio.create_task(self._say_alive())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with self._work:
            await self._leave()

    async def _leave(self) -> None:
        assert self._alive is not None, "the journal is open"
        self._alive.cancel()
        await asyncio.wait((self._alive,))
        await self._steps.idle()
        if self._lost is not None:
            if self._owner is not None:
                self._owner.uncancel()
            raise self._lost
        try:
            await self._runs.release(self.name, self._holder)
        except StorageError as error:
            _log.warning("run %s stays held until its time is over: %s", self.name, error)

    async def enter(self, lineages: Sequence[UUID]) -> None:
        """Put threads at the end of the work list, in one transaction."""
        await self._runs.add(self.name, lineages)
        self._entered.update(lineages)

    async def begin(self, lineage_id: UUID) -> None:
        """Note that a thread is being worked on; it is in the work list when this returns."""
        await self._steps.add(Began(lineage_id))

    async def end(self, outcome: Outcome) -> None:
        """Note how a thread ended; of one that failed, the error and then each failed attempt on a line of its own.

        What cannot be noted is no failure of the thread: whoever resumes the run looks at the thread, and finds how far it is.
        """
        error = (
            None if isinstance(outcome, Completed) else "\n".join((f"{type(outcome.error).__name__}: {outcome.error}", *outcome.attempts))
        )
        spent = outcome.spent
        try:
            await self._steps.add(Ended(outcome.thread_id, error, spent.replies, spent.tokens, spent.cost))
        except StorageError as failure:
            _log.warning("how a thread of run %s ended could not be noted: %s", self.name, failure)

    async def _take(self) -> RunInfo:
        """The run as this holder's own; also if the process that held it is known to be dead."""
        try:
            return await self._runs.take(self.name, self._holder, LEASE, settings=self._settings)
        except RunBusy as busy:
            if not _is_dead(busy.holder):
                raise
            return await self._runs.take(self.name, self._holder, LEASE, settings=self._settings, instead_of=busy.holder)

    async def _say_alive(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            try:
                held = await self._runs.hold(self.name, self._holder, LEASE)
            except StorageError as error:
                _log.warning("run %s could not be held: %s", self.name, error)
                continue
            if not held:
                self._lost = RunBusy(self.name, "another process", utc_now())
                assert self._owner is not None, "set before this task was made"
                self._owner.cancel()  # what is under way is saved, and the error is raised where the journal is left
                return

    async def _write(self, steps: list[Step]) -> None:
        begun = [step.lineage_id for step in steps if isinstance(step, Began)]
        if new := [lineage_id for lineage_id in begun if lineage_id not in self._entered]:
            await self._runs.add(self.name, new)
        await self._runs.note(self.name, steps)
        self._entered.difference_update(begun)


def _is_dead(holder: str) -> bool:
    """Whether the holder is a process of this machine that is there no more."""
    host, _, rest = holder.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not rest.isdigit():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
