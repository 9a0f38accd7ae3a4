"""Everything that knows procrastinate: its tables, its jobs, its worker, and its way of finding the jobs of dead workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from uuid import UUID

import psycopg
from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import DeleteJobCondition, Job, Status
from procrastinate.schema import SchemaManager
from procrastinate.worker import Worker as EngineWorker
from psycopg.conninfo import make_conninfo
from psycopg_pool import PoolTimeout

from minference.distributed.parts import Part
from minference.errors import ClaimsLost, QueueFailed, RunBusy, ThreadsElsewhere
from minference.storage.sql.addresses import libpq_settings

QUEUE = "minference"
TASK = "minference.part"
UPKEEP = "minference.upkeep"
LOOK_AFTER = 1.0
"""Seconds after which an idle worker looks for jobs that were put back; of new ones it is told at once."""
AGAIN_AFTER = 2
"""Seconds until a job is done again whose run or threads are with others."""

_ONE_AT_A_TIME = 0x6D696E66
"""The advisory lock of whoever makes the tables."""
_NEEDED = ("procrastinate_defer_jobs_v1", "procrastinate_fetch_job_v2", "procrastinate_retry_job_v2", "procrastinate_register_worker_v1")
"""Functions of the tables' version without which this procrastinate does not work."""

_WORKER_IS_KNOWN = "procrastinate_jobs_worker_id_fkey"
"""The constraint that a worker breaks which others have taken off the list."""

Do = Callable[[Part, int], Awaitable[None]]
"""Does a part, of the job with this number."""


def conninfo_of(url: str) -> str:
    """The URL of a storage as libpq reads it.

    Raises:
        QueueNeedsPostgres: It is another kind of database.
        ConfigurationError: It is no URL of a database that can be used.
    """
    return make_conninfo(**libpq_settings(url), application_name="minference worker")


async def ensure_tables(conninfo: str) -> None:
    """Make procrastinate's tables if there are none, in one transaction; who comes second finds them.

    Raises:
        QueueFailed: The database cannot be reached or refuses, or the tables are of another procrastinate.
    """
    with _translated():
        async with await psycopg.AsyncConnection.connect(conninfo) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ONE_AT_A_TIME])
            if await _answer(connection, "SELECT to_regclass('procrastinate_jobs') IS NULL"):
                await connection.execute(SchemaManager.get_schema())
            missing = [name for name in _NEEDED if await _answer(connection, "SELECT to_regproc(%s) IS NULL", name)]
    if missing:
        raise QueueFailed(f"its tables are of another version of procrastinate ({missing[0]} is missing): apply procrastinate's migrations")


async def _answer(connection: psycopg.AsyncConnection, question: str, *arguments: str) -> bool:
    row = await (await connection.execute(question.encode(), arguments)).fetchone()
    return row is not None and bool(row[0])


@asynccontextmanager
async def opened(conninfo: str, connections: int) -> AsyncIterator[App]:
    """Procrastinate on this database, with so many connections at most.

    Raises:
        QueueFailed: The database cannot be reached.
    """
    app = App(connector=PsycopgConnector(conninfo=conninfo, min_size=1, max_size=connections))
    with _translated():
        await app.open_async()
    try:
        yield app
    finally:
        await app.close_async()


async def defer(app: App, parts: Sequence[Part]) -> None:
    """Put a job for each part into the queue: all or none.

    Raises:
        QueueFailed: The database refused.
    """
    arguments = [part.model_dump(mode="json", exclude_none=True) for part in parts]
    if arguments:
        with _translated():
            await app.configure_task(TASK, queue=QUEUE).batch_defer_async(*arguments)


async def database_id(app: App) -> UUID | None:
    """The id of the storage whose tables are in the queue's database; `None` if there are none.

    Raises:
        QueueFailed: The database cannot be asked.
    """
    with _translated():
        asked = await app.connector.execute_query_one_async("SELECT to_regclass('storage_info') IS NOT NULL AS found")
        if not asked["found"]:
            return None
        told = await app.connector.execute_query_one_async("SELECT CAST(database_id AS text) AS id FROM storage_info")
    return UUID(told["id"])


async def unfinished(app: App) -> int:
    """Jobs that wait or are being done, by whichever worker.

    Raises:
        QueueFailed: The database cannot be asked.
    """
    with _translated():
        found = list(await app.job_manager.list_queues_async(queue=QUEUE, task=TASK))
    return sum(each["todo"] + each["doing"] for each in found)


class Retrying(BaseRetryStrategy):
    """Jobs are done again that were stopped, or whose threads were with others; not those that cannot be done."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:  # noqa: ARG002 - procrastinate's signature
        """When the job is done again, if it is."""
        return RetryDecision(retry_in={"seconds": wait}) if (wait := again_after(exception)) is not None else None


def again_after(error: BaseException) -> int | None:
    """Seconds after which a job that ended so is done again; `None` if it is not."""
    if isinstance(error, asyncio.CancelledError):
        return 0
    return AGAIN_AFTER if isinstance(error, (RunBusy, ThreadsElsewhere, ClaimsLost, QueueFailed)) else None


def worker_of(app: App, do: Do, *, concurrency: int, stall_seconds: float) -> EngineWorker:
    """A worker that does parts, and puts back the jobs of workers from which nothing was heard for so long."""

    async def part(context: JobContext, /, **arguments: object) -> None:
        assert context.job.id is not None, "a job that is being done is stored"
        await do(Part.model_validate(arguments), context.job.id)

    async def upkeep(context: JobContext, timestamp: int) -> None:  # noqa: ARG001 - procrastinate tells when it was due
        manager = context.app.job_manager
        await manager.prune_stalled_workers(stall_seconds)
        for job in await manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=stall_seconds):
            with suppress(ConnectorException):  # somebody else has put it back already
                if job.task_name != TASK:  # another upkeep, of which there will be more
                    await manager.finish_job(job, Status.FAILED, delete_job=True)
                    continue
                await manager.retry_job(job)
                logging.getLogger("minference.distributed").warning("job %s of a worker that is gone is done again", job.id)

    app.task(name=TASK, queue=QUEUE, pass_context=True, retry=Retrying())(part)
    # One that waits is enough, and it comes before all jobs that wait.
    kept = app.task(name=UPKEEP, queue=QUEUE, pass_context=True, queueing_lock=UPKEEP, priority=100)(upkeep)
    app.periodic(cron=f"* * * * * */{max(1, min(30, int(stall_seconds / 3)))}")(kept)
    return EngineWorker(
        app,
        queues=[QUEUE],
        name="minference",
        concurrency=concurrency,
        install_signal_handlers=False,
        fetch_job_polling_interval=LOOK_AFTER,
        update_heartbeat_interval=stall_seconds / 3,
        stalled_worker_timeout=stall_seconds,
        delete_jobs=DeleteJobCondition.SUCCESSFUL,
    )


async def work(worker: EngineWorker) -> None:
    """Let a worker do jobs until it is stopped.

    Raises:
        QueueFailed: The database was away for too long.
    """
    with _translated():
        await worker.run()  # type: ignore[no-untyped-call] # procrastinate leaves these two unannotated


def stop(worker: EngineWorker) -> None:
    """Let a worker take no more jobs, and end with those that it does."""
    worker.stop()  # type: ignore[no-untyped-call] # as above


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (ConnectorException, psycopg.Error, PoolTimeout) as error:
        cause = error.__cause__ if isinstance(error, ConnectorException) and error.__cause__ is not None else error
        if isinstance(cause, psycopg.errors.ForeignKeyViolation) and cause.diag.constraint_name == _WORKER_IS_KNOWN:
            raise QueueFailed("the worker was silent for too long, and others have its jobs: start it again") from error
        raise QueueFailed(" ".join(f"{cause}".split("CONTEXT:")[0].split()) or type(cause).__name__) from error
