"""`minference worker`: does what `minference run --queue` and programs have put into the queue."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from minference.cli.database import url_of, writing
from minference.cli.draining import print_stopping, told_to_stop
from minference.cli.interrupts import ANSWERED, Interrupted, if_interrupted
from minference.cli.output import counted, one_line, print_json, stderr
from minference.cli.own_modules import import_own
from minference.cli.run_file import read_run_file
from minference.cli.run_threads import prepare
from minference.distributed import PartDone, Worker
from minference.distributed.extra import require_extra
from minference.storage.sql.addresses import libpq_settings


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What the command was told."""

    concurrency: int
    until_empty: bool
    stall_seconds: float
    redis: str | None
    modules: Sequence[str]
    files: Sequence[Path]
    as_json: bool


def worker(database: str, options: WorkerOptions) -> int:
    """Do jobs until interrupted, or until there are none. Returns 1 if threads failed or jobs broke while it was to end by itself.

    Raises:
        MissingExtra: A package is not installed.
        QueueNeedsPostgres: The database is another kind.
        ConfigurationError, InvalidRunFile: A module or a run file cannot be used; nothing was done.
        StorageError: The database cannot be used.
        Interrupted: It was, and what was on its way is saved.
    """
    require_extra()
    libpq_settings(url_of(database))  # says at once that SQLite has no queue
    for module in options.modules:
        import_own(module)
    for file in options.files:
        prepare(file, read_run_file(file))
    with if_interrupted(ANSWERED):
        return asyncio.run(_Shift(options).run(database))


class _Shift:
    """One worker, from its start to its end."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._bad = False
        self._signal: int | None = None

    async def run(self, database: str) -> int:
        """Do jobs; the exit code."""
        url, options = url_of(database), self._options
        async with writing(database) as storage:  # it may be there before the first run is
            worker = Worker(
                url,
                storage,
                concurrency=options.concurrency,
                until_empty=options.until_empty,
                stall_seconds=options.stall_seconds,
                redis=options.redis,
                report=self._report,
            )

            def stop(number: int) -> None:
                self._signal = number
                print_stopping()
                worker.stop()

            with _engine_warnings(), told_to_stop(stop):
                ends = "ends when no job is left" if options.until_empty else "Ctrl-C ends it, after what is on its way"
                _say(f"working on {storage.url}, {counted(options.concurrency, 'job')} at once; {ends}")
                await worker.run()
        _say("stopped")
        if self._signal == signal.SIGINT:
            raise Interrupted(ANSWERED)
        return int(self._bad and options.until_empty)

    def _report(self, done: PartDone) -> None:
        self._bad = self._bad or done.failed > 0 or (done.error is not None and not done.again)
        if self._options.as_json:
            print_json(asdict(done), lines=True)
        _say(told(done))


def told(done: PartDone) -> str:
    """How a job ended, on one line."""
    left = f", {done.left} left" if done.left else ""
    counts = f"{done.done} done, {done.failed} failed{left}, {done.seconds:.1f} s"
    if done.error is None:
        return f"{done.run}: job {done.job}: {counts}"
    if done.again:
        return f"{done.run}: job {done.job} goes back into the queue: {counts} ({one_line(done.error, 200)})"
    return f"{done.run}: job {done.job} broke: {counts} ({one_line(done.error, 200)})"


class _OneLine(logging.Handler):
    """What procrastinate warns of, without its tracebacks; how jobs ended is told by us."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        if not str(getattr(record, "action", "")).startswith("job_"):
            _say(one_line(record.getMessage(), 300))


def _engine_warnings() -> _Listening:
    return _Listening(("procrastinate", "psycopg.pool", "minference.distributed"))


class _Listening:
    """While entered, warnings of these loggers are told."""

    def __init__(self, names: Sequence[str]) -> None:
        self._loggers = [logging.getLogger(name) for name in names]
        self._handler = _OneLine(logging.WARNING)

    def __enter__(self) -> None:
        for each in self._loggers:
            each.addHandler(self._handler)

    def __exit__(self, *exc_info: object) -> None:
        for each in self._loggers:
            each.removeHandler(self._handler)


def _say(text: str) -> None:
    stderr().print(f"{datetime.now(UTC):%H:%M:%S} {text}", soft_wrap=True)
