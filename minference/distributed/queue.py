"""`WorkQueue`: enters threads into a named run, and leaves them to whichever workers there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack
from uuid import UUID

from pydantic import JsonValue

from minference.distributed.extra import require_extra
from minference.distributed.parts import LIMITS, Part, QueueSettings, remembered
from minference.errors import ConfigurationError, InvalidRunName, UnknownChoice
from minference.inference.arguments import a_count
from minference.inference.budgets import Budget
from minference.inference.caching import ResponseCache, check_cache
from minference.inference.entering import save_threads
from minference.inference.holders import Crew
from minference.inference.journal import Journal
from minference.inference.limits import Limits, checked_limits
from minference.inference.options import RunOptions, check_budget, check_options, listed, refuse_unknown, settings_of
from minference.storage.base import EntityStorage
from minference.storage.lineages import is_tag_name
from minference.storage.openness import Openness
from minference.storage.runs import EntryState, RunEntry, RunInfo
from minference.threads.thread import ChatThread
from minference.threads.turns import Done, next_step

if TYPE_CHECKING:
    from procrastinate import App

PART = 50
"""Threads of one job."""


class QueueOptions(TypedDict, total=False):
    """What a run can be told that workers do; each may be left out. As in `run`, unless something else is said."""

    until: Literal["done", "turn"]
    """No function: it could not travel."""
    max_turns: int
    thread_deadline: float | None
    budget: Budget | None
    """Is shared out among the jobs by their threads, so that together they keep to it. What one job does not use, no other gets."""
    limits: Limits
    """What the providers allow. Workers share it through Redis if they are told of one; else each keeps to it by itself."""
    cache: bool | ResponseCache
    """Whether replies that the storage keeps are given again."""
    about: Mapping[str, JsonValue]


class WorkQueue:
    """The work queue in a PostgreSQL database.

    ```python
    async with WorkQueue(url) as queue:
        await queue.submit(storage, threads, run_id="night")
    ```
    """

    def __init__(self, url: str) -> None:
        """Set up; nothing is connected.

        Raises:
            MissingExtra: procrastinate or psycopg is not installed.
            QueueNeedsPostgres: The URL is that of another kind of database.
        """
        require_extra()
        from minference.distributed.engine import conninfo_of

        self._conninfo = conninfo_of(url)
        self._app: App | None = None
        self._openness = Openness("the queue")
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect, and make the tables of the queue if they are missing.

        Raises:
            QueueFailed: The database cannot be reached or refuses, or the tables are of another procrastinate.
            AlreadyOpen: It is open; it stays so.
        """
        from minference.distributed import engine

        with self._openness.beginning():
            await engine.ensure_tables(self._conninfo)
            self._app = await self._stack.enter_async_context(engine.opened(self._conninfo, connections=2))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._app = None
        with self._openness.ending():
            await self._stack.aclose()

    async def submit(
        self, storage: EntityStorage, threads: Sequence[ChatThread], *, run_id: str, part: int = PART, **options: Unpack[QueueOptions]
    ) -> RunInfo:
        """The run, with these threads saved, in its work list, and in jobs of so many threads each, deferred together.

        Threads that have their answer are not queued; those that failed are, and so are those that wait already: a job whose threads
        are done finds nothing to do. So the same again is how to retry, and what to do after a crash in here. A run may get
        more threads while workers are at it.

        Args:
            storage: The storage of the database that the queue is in.
            threads: What is to be done.
            run_id: The name of the run; `storage.runs()` and `minference runs` say how far it is.
            part: Threads of one job.
            options: See `QueueOptions`.

        Raises:
            InvalidRunName: No run can be called so; nothing was saved.
            RunBusy: A process that is no worker works on the run; nothing was saved.
            ConfigurationError, ValueError: Something else cannot be used, or the storage is of another database; nothing was saved.
            StorageError: A thread cannot be saved, or the work list or the queue cannot be written; nothing was queued.
        """
        from minference.distributed import engine

        app = self._opened()
        settings = self._settings(run_id, part, options)
        threads = listed(threads)
        if await engine.database_id(app) != await _database_id(storage):
            raise ConfigurationError(f"the queue is in another database than the storage {storage.url}: give both the same URL")
        async with Journal(storage.runs(), run_id, settings, Crew()) as journal:
            await save_threads(threads, storage, author=f"run {run_id}")
            await journal.enter([thread.lineage_id for thread in threads])
            waiting = await _waiting(storage, run_id, threads)
            await engine.defer(app, _parts(run_id, waiting, part, options.get("budget")))
        return await storage.runs().get(run_id)

    def _opened(self) -> App:
        if self._app is None:
            raise ConfigurationError("the queue is not open: use it as `async with WorkQueue(url) as queue:`")
        return self._app

    def _settings(self, run_id: str, part: int, options: QueueOptions) -> dict[str, JsonValue]:
        """What the run is to remember."""
        if not isinstance(run_id, str) or not is_tag_name(run_id):
            raise InvalidRunName(run_id)
        refuse_unknown(options, QueueOptions, "run_id", "part")
        a_count("part", part, "a job has at least one thread")
        check_budget(options.get("budget"))
        if (goal := options.get("until", "done")) not in ("done", "turn"):
            raise UnknownChoice("until", goal, ("done", "turn"))
        own = RunOptions(until=goal, max_turns=options.get("max_turns", 10), thread_deadline=options.get("thread_deadline"))
        own["about"] = options.get("about", {})
        check_options(own)
        cache = check_cache(options.get("cache", False))
        checked_limits(options.get("limits"))
        queue = QueueSettings(
            limits=LIMITS.validate_python(options.get("limits")),
            cache=bool(cache),
            cache_max_age=cache.max_age if isinstance(cache, ResponseCache) else None,
            thread_deadline=options.get("thread_deadline"),
        )
        own["about"] = {**own["about"], **remembered(queue)}
        return settings_of(own)


async def _database_id(storage: EntityStorage) -> UUID:
    """What tells the storage's database from every other."""
    async with storage.sql() as session:
        told = await (await session.connection()).exec_driver_sql("SELECT CAST(database_id AS text) FROM storage_info")
        return UUID(told.scalar_one())


async def _waiting(storage: EntityStorage, run_id: str, threads: Sequence[ChatThread]) -> list[UUID]:
    """The threads that are to be done, in the order of the work list; those that have ended before are pending again."""
    asked = {thread.lineage_id: thread for thread in threads}
    entries = await storage.runs().of(run_id, list(asked))
    waiting = [entry for entry in entries if _waits(entry, asked[entry.lineage_id])]
    await storage.runs().again(run_id, [entry.lineage_id for entry in waiting])
    return [entry.lineage_id for entry in waiting]


def _waits(entry: RunEntry, thread: ChatThread) -> bool:
    return entry.state is not EntryState.done or not isinstance(next_step(thread), Done)


def _parts(run_id: str, lineages: Sequence[UUID], size: int, budget: Budget | None) -> list[Part]:
    """The threads in jobs of this size, each with its share of what may be spent."""
    parts = []
    for start in range(0, len(lineages), size):
        some = tuple(lineages[start : start + size])
        share = len(some) / len(lineages)
        cost = float(budget.max_cost) * share if budget is not None and budget.max_cost is not None else None
        tokens = int(budget.max_tokens * share) if budget is not None and budget.max_tokens is not None else None
        parts.append(Part(run=run_id, threads=some, max_cost=cost, max_tokens=tokens))
    return parts
