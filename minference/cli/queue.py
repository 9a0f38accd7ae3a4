"""`minference run FILE --queue`: the prompts of a file as jobs for workers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from minference.cli.database import url_of, writing
from minference.cli.interrupts import if_interrupted
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
    work_queue = WorkQueue(url_of(where))  # refuses SQLite before a file is made
    with if_interrupted("what is in the queue stays there, and the same command again adds the rest"):
        run = asyncio.run(_submit(plan, where, work_queue))
    if as_json:
        print_json(run_json(run))
    left = f"{counted(run.left, 'thread')} in the queue, `minference worker` does them" if run.left else "nothing is left to be done"
    stderr().print(f"run {run.name!r}: {left}; `minference runs show` says how far it is", soft_wrap=True)
    return 0


async def _submit(plan: Plan, database: str, work_queue: WorkQueue) -> RunInfo:
    async with writing(database) as storage, work_queue:
        threads = [each.thread for each in await plan.threads(storage)]
        return await work_queue.submit(storage, threads, run_id=plan.name, **_options(plan, plan.run))


def _options(plan: Plan, run: RunFile) -> QueueOptions:
    return QueueOptions(
        max_turns=run.max_turns,
        budget=plan.budget(),
        limits=run.limits,
        cache=ResponseCache(max_age=run.cache.max_age) if run.cache else False,
        about={"file": str(plan.path.resolve())},
    )
