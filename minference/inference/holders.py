"""Who works on a named run, and keeps others out of it meanwhile: one process alone, or all workers of a queue together."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

from pydantic import JsonValue

from minference.ecs.identity import utc_now
from minference.errors import RunBusy
from minference.storage.runs import RunInfo, Runs

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

    async def take(self, runs: Runs, run: str, settings: Mapping[str, JsonValue] | None) -> RunInfo:
        """The run as this holder's own; also if the process that held it is known to be dead.

        Raises:
            RunBusy: Another process works on it.
            RunNotFound: There is no such run, and no settings for a new one.
        """
        try:
            return await runs.take(run, self.name, LEASE, settings=settings)
        except RunBusy as busy:
            if not _is_dead(busy.holder):
                raise
            return await runs.take(run, self.name, LEASE, settings=settings, instead_of=busy.holder)

    async def begun(self, runs: Runs, run: str) -> None:
        """Threads have been noted as begun. One that holds a run alone need not look again."""

    async def stay(self, runs: Runs, run: str) -> bool:
        """Say that the holder is alive; whether the run is still its own."""
        return await runs.hold(run, self.name, LEASE)

    async def leave(self, runs: Runs, run: str) -> None:
        """Let others in."""
        await runs.release(run, self.name)


class Crew(Holder):
    """All workers of a database: they hold runs together, under one name, and keep everybody else out.

    Whoever leaves last lets others in: nobody is left when no thread has begun without having ended. So that nobody who only
    begins is overlooked, threads are noted as begun first, and then the run is taken once more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name = "workers"

    @contextmanager
    def working_on(self, run: str) -> Iterator[None]:  # noqa: ARG002 - a process may do several parts of a run at once
        """Nothing to keep apart: the queue gives each part to one."""
        yield

    async def begun(self, runs: Runs, run: str) -> None:
        """Make sure that the run did not become another's between taking it and beginning.

        Raises:
            RunBusy: It did.
        """
        await self.take(runs, run, None)

    async def stay(self, runs: Runs, run: str) -> bool:
        """Say that a worker is alive; whether the run is still the workers'."""
        try:
            await self.take(runs, run, None)
        except RunBusy:
            return False
        return True

    async def leave(self, runs: Runs, run: str) -> None:
        """Let others in if this was the last worker."""
        await runs.leave(run, self.name)


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
