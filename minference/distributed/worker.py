"""`Worker`: does jobs of the queue until it is told to stop, or until there are none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from minference.clients.base import Client
from minference.distributed.extra import require_extra
from minference.distributed.parts import Desk, Part, PartDone, require_all
from minference.errors import QueueFailed
from minference.inference.arguments import a_count, an_amount
from minference.storage.base import EntityStorage

if TYPE_CHECKING:
    from procrastinate import App
    from procrastinate.worker import Worker as EngineWorker

STALL_SECONDS = 30.0
"""Seconds without a sign of life after which the jobs of a worker are given to others."""
_LOOK = 0.5
"""Seconds between two looks at whether the queue is empty, for a worker that ends then."""


class Worker:
    """Does the jobs of a queue with the machinery of `resume`: `await Worker(url, storage).run()`.

    Each thread is claimed before it is loaded, so that no two workers are at one, whatever the queue says; each step of it is
    saved before the next. A worker that is killed loses no answer: others find its jobs, and go on from what is saved.
    """

    def __init__(
        self,
        url: str,
        storage: EntityStorage,
        *,
        concurrency: int = 4,
        until_empty: bool = False,
        stall_seconds: float = STALL_SECONDS,
        redis: str | None = None,
        clients: Mapping[str, Client] | None = None,
        report: Callable[[PartDone], None] | None = None,
    ) -> None:
        """Set up; nothing is connected.

        Args:
            url: The database.
            storage: The open storage of the same database.
            concurrency: Jobs at once; all threads of a job are under way together.
            until_empty: Whether to end when no job waits or is being done, by whichever worker.
            stall_seconds: Seconds without a sign of life after which the jobs of a worker are given to others.
            redis: Where limits are shared with other workers; `None` to keep to them alone.
            clients: Clients to use under these names before those of the catalog.
            report: Is told how each job ended.

        Raises:
            MissingExtra: procrastinate, psycopg, or redis if it is asked for, is not installed.
            QueueNeedsPostgres: The URL is that of another kind of database.
            ConfigurationError: The address of Redis is none.
            WrongArgument: Something is of a type that is not taken.
            UnusableValue: A number is too small.
        """
        require_extra()
        from minference.distributed.engine import conninfo_of

        a_count("concurrency", concurrency, "a worker does at least one job at once")
        an_amount("stall_seconds", stall_seconds, "a number of seconds", "a sign of life takes its time, allow at least 1", least=1)
        self._conninfo = conninfo_of(url)
        self._concurrency = concurrency
        self._until_empty = until_empty
        self._stall_seconds = stall_seconds
        self._desk = Desk(storage, clients, redis)
        self._report = report
        self._engine: EngineWorker | None = None
        self._stopped = False
        self._jobs: set[asyncio.Task[object]] = set()
        """Those that are being done."""

    def stop(self) -> None:
        """Let `run` return: no further job is taken, replies that are on their way are waited for and saved, and what is left of
        jobs goes back into the queue."""
        self._finish()
        for job in self._jobs:
            job.cancel()

    async def run(self) -> None:
        """Do jobs until stopped, or, if asked so, until there are none. Cancelling it stops it first, as `stop` does.

        Raises:
            QueueFailed: The queue cannot be used, or the database was away for too long.
        """
        from minference.distributed import engine

        await engine.ensure_tables(self._conninfo)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._desk.aclose)
            app = await stack.enter_async_context(engine.opened(self._conninfo, connections=self._concurrency + 4))
            self._engine = engine.worker_of(app, self._do, concurrency=self._concurrency, stall_seconds=self._stall_seconds)
            watch = asyncio.create_task(self._watch(app)) if self._until_empty else None
            try:
                if not self._stopped:
                    await self._until_stopped(asyncio.create_task(engine.work(self._engine)))
            finally:
                self._engine = None
                if watch is not None:
                    watch.cancel()
                    await asyncio.wait({watch})
        if not self._stopped:
            raise QueueFailed("the database was away, or refused: start the worker again")

    async def _until_stopped(self, work: asyncio.Task[None]) -> None:
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self.stop()
            await work
            raise

    async def _do(self, part: Part, job: int) -> None:
        from minference.distributed.engine import again_after

        began = time.monotonic()
        try:
            await self._claim_and_do(part)
        except (Exception, asyncio.CancelledError) as error:
            await self._tell(part, job, began, error, again=again_after(error) is not None)
            raise
        await self._tell(part, job, began, None, again=False)

    async def _claim_and_do(self, part: Part) -> None:
        from minference.distributed.claims import claimed
        from minference.distributed.engine import again_after

        if self._stopped:
            raise asyncio.CancelledError  # it was being fetched meanwhile
        task = asyncio.current_task()
        assert task is not None, "a job is done in a task of the engine"
        self._jobs.add(task)
        try:
            async with claimed(self._conninfo, part.run, part.threads) as claims:
                try:
                    await claims.during(self._desk.do(part, claims.held))
                except Exception as error:
                    if again_after(error) is None:
                        await self._desk.give_up(part, claims.held, error)
                    raise
            require_all(part, claims.elsewhere)
        finally:
            self._jobs.discard(task)

    async def _tell(self, part: Part, job: int, began: float, error: BaseException | None, *, again: bool) -> None:
        if self._report is not None:
            self._report(await self._desk.report(part, job, began, error, again=again))

    async def _watch(self, app: App) -> None:
        """Stop the worker as soon as no job is left."""
        from minference.distributed.engine import unfinished

        while True:
            with suppress(QueueFailed):  # away; the engine's own signs of life say if it stays so
                if not await unfinished(app):
                    break
            await asyncio.sleep(_LOOK)
        self._finish()

    def _finish(self) -> None:
        """Take no more jobs."""
        from minference.distributed import engine

        self._stopped = True
        if self._engine is not None:
            engine.stop(self._engine)
