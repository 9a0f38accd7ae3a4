"""Threads for functions that block: a bounded number, none of which can hold up the event loop or the end of the program."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Returned:
    """The function returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The function raised, whatever it was: also what would end a program elsewhere."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The function did not finish in time. Its thread goes on, and nobody waits for it any more."""


class _Job:
    """One function on its way through a thread."""

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._function, self._loop = function, loop
        self._context = contextvars.copy_context()
        self.started: asyncio.Future[None] = loop.create_future()
        self.outcome: asyncio.Future[Returned | Raised] = loop.create_future()
        self.is_finished = False
        """Guarded by the pool's lock, like the next one."""
        self.is_abandoned = False

    def run(self) -> None:
        """Run the function in this thread and tell the loop."""
        self._tell(self.started, None)
        outcome: Returned | Raised
        try:
            outcome = Returned(self._context.run(self._function))
        except BaseException as error:  # noqa: BLE001 - anything that a tool raises is its outcome; in a thread no signal arrives
            outcome = Raised(error)
        self._tell(self.outcome, outcome)

    def fail(self, error: BaseException) -> None:
        """Tell the loop that the function could not run."""
        self._tell(self.started, None)
        self._tell(self.outcome, Raised(error))

    def _tell(self, future: asyncio.Future[Any], result: object) -> None:
        try:
            self._loop.call_soon_threadsafe(_settle, future, result)
        except RuntimeError:  # the loop is closed: nobody waits for the outcome of a thread that was left behind
            _log.debug("a tool outlived its event loop")


class ToolThreads:
    """Runs functions in daemon threads, at most `size` at once and first come first served. Serves any number of event loops.

    A function that hangs is left behind: it no longer counts, and the program can end without it.
    """

    def __init__(self, size: int = 32) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        self.size = size
        self._lock = threading.Lock()
        self._running = 0
        self._waiting: deque[_Job] = deque()

    async def run(self, function: Callable[[], Any], timeout: float | None) -> Returned | Raised | Abandoned:
        """Call `function` in a thread, in a copy of this context; `timeout` in seconds, from when it starts.

        If the caller is cancelled, a function that waits is not started, and one that runs is left behind.
        """
        job = _Job(function, asyncio.get_running_loop())
        self._submit(job)
        try:
            await job.started
            done, _ = await asyncio.wait({job.outcome}, timeout=timeout)
        except BaseException:
            self._abandon(job)
            raise
        if not done:
            self._abandon(job)
            return Abandoned()
        return job.outcome.result()

    def _submit(self, job: _Job) -> None:
        with self._lock:
            if self._running >= self.size:
                self._waiting.append(job)
                return
            self._running += 1
        self._start(job)

    def _start(self, job: _Job) -> None:
        """Give the job a thread, for which `_running` already counts."""
        following: _Job | None = job
        while following is not None:
            try:
                threading.Thread(target=self._work, args=(following,), name="minference-tool", daemon=True).start()
                return
            except RuntimeError as error:  # the system has no thread left
                following.fail(error)
                following = self._after(following)

    def _work(self, first: _Job) -> None:
        job: _Job | None = first
        while job is not None:
            if not job.is_abandoned:
                job.run()
            job = self._after(job)

    def _after(self, job: _Job) -> _Job | None:
        """The job that this thread does next, or `None` if it is to end."""
        with self._lock:
            job.is_finished = True
            if job.is_abandoned:
                return None
            if self._waiting:
                return self._waiting.popleft()
            self._running -= 1
            return None

    def _abandon(self, job: _Job) -> None:
        """Count the job no more, and let the next one have its place."""
        with self._lock:
            if job.is_finished or job.is_abandoned:
                return
            job.is_abandoned = True
            if job in self._waiting:
                self._waiting.remove(job)
                return
            following = self._waiting.popleft() if self._waiting else None
            if following is None:
                self._running -= 1
        if following is not None:
            self._start(following)


def _settle(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)
