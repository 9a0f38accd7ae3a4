"""`minference run FILE`: many prompts in parallel, with everything saved as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from minference.cli.database import file_of, url_of, writing
from minference.cli.draining import run_draining
from minference.cli.interrupts import ANSWERED
from minference.cli.options import DEFAULT_DATABASE
from minference.cli.output import one_line, print_json, stderr, stdout
from minference.cli.run_file import RunFile, read_run_file
from minference.cli.run_threads import Plan, prepare
from minference.cli.tables import table
from minference.errors import DatabaseGone, UnwritableFile
from minference.inference.caching import ResponseCache
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Completed, Outcome
from minference.inference.progress import Progress, ProgressEvent, RichProgress, TokensUsed
from minference.storage.base import EntityStorage
from minference.storage.whole_files import check_target, whole_file


def run(file: Path, database: str | None, output: Path | None, as_json: bool) -> int:
    """Run the file and print the results. Returns 1 if some threads failed, else 0.

    Raises:
        InvalidRunFile: Something in the file is not valid; nothing was sent or stored.
        ConfigurationError: The client cannot be used, or the output cannot be written; nothing was sent or stored.
        StorageError: The database cannot be used.
    """
    checked = read_run_file(file)
    plan = prepare(file, checked)
    database = database or database_of(file, checked)
    if output is not None:
        _check_output(output, file_of(url_of(database)))
    return run_draining(_run(plan, database, output, as_json), ANSWERED)


def _check_output(output: Path, database: Path | None) -> None:
    check_target(output)
    if database is not None and output.resolve() == database.resolve():
        raise UnwritableFile(str(output), "the results are saved in it as a database: name another file")


async def _run(plan: Plan, database: str, output: Path | None, as_json: bool) -> int:
    began, progress, results = time.monotonic(), CountingProgress(), list[dict[str, Any]]()
    with shown_if_lost(results, output, as_json):
        async with writing(database) as storage:
            threads = await plan.threads(storage)
            async with orchestrator_for(plan, storage, progress) as orchestrator:
                about = {"file": str(plan.path.resolve())}
                outcomes = await orchestrator.run(
                    [each.thread for each in threads], run_id=plan.name, max_turns=plan.run.max_turns, budget=plan.budget(), about=about
                )
            results += [result_json(each.id, outcome) for each, outcome in zip(threads, outcomes, strict=True)]
    return report(results, output, as_json, progress.tokens, began, storage.url)


def orchestrator_for(plan: Plan, storage: EntityStorage, progress: Progress) -> InferenceOrchestrator:
    """What runs the threads of a file, within its limits."""
    cache = ResponseCache(max_age=plan.run.cache.max_age) if plan.run.cache else False
    return InferenceOrchestrator(storage=storage, limits=plan.run.limits, cache=cache, progress=progress, author=f"run {plan.name}")


def report(results: Sequence[dict[str, Any]], output: Path | None, as_json: bool, tokens: int, began: float, url: str) -> int:
    """Write and print what became of the threads. Returns 1 if some failed, else 0.

    Raises:
        UnwritableFile: The output file cannot be written; the results are in the database.
    """
    _show(results, output, as_json)
    failed = sum(result["status"] == "failed" for result in results)
    stderr().print(f"{_summary(results, failed, tokens, time.monotonic() - began)}; saved in {url}", soft_wrap=True)
    return 1 if failed else 0


@contextmanager
def shown_if_lost(results: Sequence[dict[str, Any]], output: Path | None, as_json: bool) -> Iterator[None]:
    """A block at whose end the results are saved. If the database is gone then, they are shown all the same: they are nowhere else."""
    try:
        yield
    except DatabaseGone:
        if results:
            _show(results, output, as_json)
        raise


def _show(results: Sequence[dict[str, Any]], output: Path | None, as_json: bool) -> None:
    if output is not None:
        with whole_file(output) as write:
            for result in results:
                write(to_json(result) + b"\n")
    if as_json:
        for result in results:
            print_json(result, lines=True)
    else:
        stdout().print(table(("id", "status", "answer"), (_row(result) for result in results)), soft_wrap=True)


class CountingProgress:
    """The progress bar, and the sum of the tokens."""

    def __init__(self) -> None:
        self.tokens = 0
        self._bar = RichProgress(console=stderr())

    def __call__(self, event: ProgressEvent) -> None:
        """Count and show the event."""
        if isinstance(event, TokensUsed):
            self.tokens += 0 if event.usage.from_cache else event.usage.total_tokens
        self._bar(event)


def result_json(name: str, outcome: Outcome) -> dict[str, Any]:
    """What became of one prompt, as data."""
    done = isinstance(outcome, Completed)
    return {
        "id": name,
        "status": "done" if done else "failed",
        "already_done": isinstance(outcome, Completed) and outcome.output is None,
        "thread": str(outcome.thread_id),
        "version": str(outcome.thread.ecs_id),
        "text": outcome.content if isinstance(outcome, Completed) else None,
        "object": outcome.object if isinstance(outcome, Completed) else None,
        "error": None if isinstance(outcome, Completed) else f"{type(outcome.error).__name__}: {outcome.error}",
    }


def _row(result: dict[str, Any]) -> tuple[str, str, str]:
    status = "done before" if result["already_done"] else result["status"]
    said = result["error"] or (to_json(result["object"]).decode() if result["object"] is not None else result["text"])
    return one_line(result["id"], 40), status, one_line(said, 110)


def _summary(results: Sequence[dict[str, Any]], failed: int, tokens: int, seconds: float) -> str:
    before = sum(result["already_done"] for result in results)
    done = f"{len(results) - failed} done" + (f" ({before} of them before)" if before else "")
    again = "; run the same command again to retry them" if failed else ""
    return f"{done}, {failed} failed, {tokens:,} tokens, {seconds:.1f} s{again}"


def database_of(file: Path, run: RunFile) -> str:
    """The file's database, a path in it being relative to the file."""
    if run.database is None:
        return DEFAULT_DATABASE
    url = url_of(run.database)
    path = file_of(url)
    return url if path is None or path.is_absolute() else f"sqlite:///{file.parent / path}"
