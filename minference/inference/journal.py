"""`Journal`: writes down how far the threads of a named run are, and keeps other processes out of it meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from pydantic import JsonValue

from minference.ecs.identity import utc_now
from minference.errors import MinferenceError, RunBusy, StorageError
from minference.inference.budgets import NOTHING, Spent
from minference.inference.holders import LEASE, Holder
from minference.inference.outcomes import Completed, Outcome
from minference.inference.together import Together
from minference.storage.runs import Began, Ended, EntryState, LetGo, Regained, RunEntry, RunInfo, Runs, Step
from minference.waiting import to_the_end

_log = logging.getLogger("minference.inference")


@dataclass(frozen=True, slots=True)
class _Listed:
    """A thread is to be in the work list, whether somebody begins with it or not."""

    lineage_id: UUID


class Journal:
    """One named run while this process works on it. Writes that come together become one transaction."""

    def __init__(self, runs: Runs, name: str, settings: Mapping[str, JsonValue] | None, holder: Holder | None = None) -> None:
        self._runs = runs
        self.name = name
        self._settings = settings
        self._holder = holder or Holder()
        self._work = ExitStack()
        self._entered: set[UUID] = set()
        """Threads that are in the work list, and have not begun since."""
        self._steps: Together[Step | _Listed] = Together(self._write)
        self._begun_before: dict[UUID, RunEntry] = {}
        """Threads that somebody had begun with, and not said how they ended, when this process began with the run."""
        self._alive: asyncio.Task[None] | None = None
        self._owner: asyncio.Task[object] | None = None
        self._lost: RunBusy | None = None
        self.info: RunInfo
        """How the run was when this process began with it."""

    async def __aenter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._holder.working_on(self.name))
            self.info = await self._holder.take(self._runs, self.name, self._settings)
            if self.info.counts.get(EntryState.running):
                self._begun_before = await self._running()
            self._work = stack.pop_all()
        self._owner = asyncio.current_task()
        self._alive = asyncio.create_task(self._say_alive())
        return self

    async def _running(self) -> dict[UUID, RunEntry]:
        """The threads that somebody has begun with. If they cannot be read, others are let in again."""
        try:
            running = await self._runs.entries(self.name, [EntryState.running])
        except BaseException:
            await to_the_end(self._holder.leave(self._runs, self.name))
            raise
        return {entry.lineage_id: entry for entry in running}

    async def __aexit__(self, *exc_info: object) -> None:
        with self._work:
            await to_the_end(self._leave())

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
            await self._holder.leave(self._runs, self.name)
        except StorageError as error:
            _log.warning("run %s stays held until its time is over: %s", self.name, error)

    async def enter(self, lineages: Sequence[UUID]) -> None:
        """Put threads at the end of the work list, in one transaction."""
        await self._runs.add(self.name, lineages)
        self._entered.update(lineages)

    async def put_down(self, lineage_id: UUID) -> None:
        """Put a thread that nobody begins with for now at the end of the work list, if it is not in it."""
        await self._steps.add(_Listed(lineage_id))

    def begun_before(self, lineage_id: UUID) -> RunEntry | None:
        """How far a thread was when this process began with the run, if somebody had begun with it and it has not begun since."""
        return self._begun_before.get(lineage_id)

    async def begin(self, lineage_id: UUID, version: UUID | None, regained: Regained | None) -> None:
        """Note that this version of a thread is being worked on, and what came of it before; it is in the work list when this returns."""
        if regained is not None:
            await self._steps.add(regained)
        await self._steps.add(Began(lineage_id, version))
        self._begun_before.pop(lineage_id, None)

    async def refuse(self, lineage_id: UUID, error: MinferenceError, regained: Regained | None) -> None:
        """Note that a thread cannot even be begun with, and what came of it before."""
        await self.begin(lineage_id, None, regained)
        await self._steps.add(Ended(lineage_id, f"{type(error).__name__}: {error}", 0, 0, 0.0))

    async def end(self, outcome: Outcome) -> None:
        """Note how a thread ended; of one that failed, the error and then each failed attempt on a line of its own.

        What cannot be noted is no failure of the thread: whoever resumes the run looks at the thread, and finds how far it is.
        """
        error = (
            None if isinstance(outcome, Completed) else "\n".join((f"{type(outcome.error).__name__}: {outcome.error}", *outcome.attempts))
        )
        spent = outcome.spent
        await self._try_to_note(Ended(outcome.thread_id, error, spent.replies, spent.tokens, spent.cost))

    async def let_go(self, lineage_id: UUID, version: UUID, spent: Spent) -> None:
        """Note what came of a thread, up to this version of it, that is not gone on with here, if anything did.

        It is noted also if the caller is cancelled meanwhile.
        """
        if spent != NOTHING:
            await self._try_to_note(LetGo(lineage_id, utc_now(), spent.replies, spent.tokens, spent.cost, version))

    async def _try_to_note(self, step: Step) -> None:
        try:
            await self._steps.add(step)
        except StorageError as failure:
            _log.warning("how a thread of run %s ended could not be noted: %s", self.name, failure)

    async def _say_alive(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            try:
                held = await self._holder.stay(self._runs, self.name)
            except StorageError as error:
                _log.warning("run %s could not be held: %s", self.name, error)
                continue
            if not held:
                self._lost = RunBusy(self.name, "another process", utc_now())
                assert self._owner is not None, "set before this task was made"
                self._owner.cancel()  # what is under way is saved, and the error is raised where the journal is left
                return

    async def _write(self, steps: list[Step | _Listed]) -> None:
        begun = [step.lineage_id for step in steps if isinstance(step, Began)]
        if new := [step.lineage_id for step in steps if isinstance(step, Began | _Listed) and step.lineage_id not in self._entered]:
            await self._runs.add(self.name, new)
        await self._runs.note(self.name, [step for step in steps if not isinstance(step, _Listed)])
        if begun:
            await self._holder.begun(self._runs, self.name)
        self._entered.difference_update(begun)
