"""`minference run FILE --queue`: the prompts of a file as jobs for workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from minference.cli.database import url_of, writing
from minference.cli.output import counted, print_json, stderr
from minference.cli.run import database_of
from minference.cli.run_file import RunFile, read_run_file
from minference.cli.run_threads import Plan, prepare
from minference.cli.runs import run_json
from minference.distributed import QueueOptions, WorkQueue
from minference.errors import ConfigurationError
from minference.inference.caching import ResponseCache
from minference.storage.runs import RunInfo


def queue(file: Path, database: str | None, output: Path | None, as_json: bool) -> int:
    """Save the threads of a file and leave them to workers. Returns 0.

    Raises:
        InvalidRunFile: Something in the file is not valid; nothing was stored.
        QueueNeedsPostgres: The database is another kind; nothing was stored.
        ConfigurationError: Something else cannot be used; nothing was stored.
        StorageError: The database cannot be used.
    """
    if output is not None:
        raise ConfigurationError("--queue answers nothing yet, so that there is nothing to write: leave --output out")
    checked = read_run_file(file)
    plan = prepare(file, checked)
    where = database or database_of(file, checked)
    before, run = asyncio.run(_submit(plan, where))
    if as_json:
        print_json(run_json(run))
    new = (
        f"{counted(run.left - before, 'thread')} of run {run.name!r} put into the queue"
        if run.left > before
        else "nothing new is to be done"
    )
    stderr().print(f"{new}; {counted(run.left, 'thread')} left; `minference worker` does them", soft_wrap=True)
    return 0


async def _submit(plan: Plan, database: str) -> tuple[int, RunInfo]:
    """How many threads the run had to do before, and the run now."""
    work_queue = WorkQueue(url_of(database))
    async with writing(database) as storage, work_queue:
        threads = [each.thread for each in await plan.threads(storage)]
        before = next((run.left for run in await storage.runs().all() if run.name == plan.name), 0)
        return before, await work_queue.submit(storage, threads, run_id=plan.name, **_options(plan, plan.run))


def _options(plan: Plan, run: RunFile) -> QueueOptions:
    return QueueOptions(
        max_turns=run.max_turns,
        budget=plan.budget(),
        limits=run.limits,
        cache=ResponseCache(max_age=run.cache.max_age) if run.cache else False,
        about={"file": str(plan.path.resolve())},
    )
