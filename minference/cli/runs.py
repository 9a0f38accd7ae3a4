"""`minference runs` and `minference resume`: what runs there are, how far they are, and going on with one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from minference.cli.database import existing
from minference.cli.draining import run_draining
from minference.cli.interrupts import ANSWERED
from minference.cli.output import one_line, print_json, stdout, when
from minference.cli.own_modules import import_own
from minference.cli.run import CountingProgress, orchestrator_for, report, result_json, shown_if_lost
from minference.cli.run_file import read_run_file
from minference.cli.run_threads import Plan, prepare
from minference.cli.tables import table
from minference.cli.usage import dollars
from minference.ecs.identity import utc_now
from minference.inference.budgets import Budget
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.storage.runs import EntryState, RunEntry, RunInfo

HEADINGS = ("run", "status", "done", "failed", "left", "tokens", "cost", "updated")
SHOWN = 100
"""Threads that are listed for people."""


def list_runs(database: str, as_json: bool) -> None:
    """Print every run, the one that was worked on last first.

    Raises:
        StorageError: The database cannot be used.
    """

    async def read() -> list[RunInfo]:
        async with existing(database) as storage:
            return await storage.runs().all()

    runs = asyncio.run(read())
    if as_json:
        print_json([run_json(run) for run in runs])
    elif runs:
        stdout().print(table(HEADINGS, map(_cells, runs)), soft_wrap=True)
    else:
        stdout().print("no runs yet")


def show_run(name: str, database: str, states: Sequence[str], as_json: bool) -> None:
    """Print how far one run is, and its threads.

    Raises:
        RunNotFound: There is none of this name.
        StorageError: The database cannot be used.
    """

    async def read() -> tuple[RunInfo, list[RunEntry]]:
        async with existing(database) as storage:
            run = await storage.runs().get(name)
            return run, await storage.runs().entries(name, wanted, limit=None if as_json else SHOWN + 1)

    wanted = [EntryState(state) for state in states] or tuple(EntryState)
    run, entries = asyncio.run(read())
    if as_json:
        print_json({**run_json(run), "threads": [asdict(entry) for entry in entries]})
        return
    console = stdout()
    console.print(table(HEADINGS, [_cells(run)]), soft_wrap=True)
    rows = [(str(entry.lineage_id), entry.state.value, str(entry.starts), one_line(entry.error or "", 100)) for entry in entries[:SHOWN]]
    console.print()
    console.print(table(("thread", "state", "starts", "error"), rows), soft_wrap=True)
    if len(entries) > SHOWN:
        console.print(f"... and more: use --json, or --state {EntryState.failed.value}")


def resume(name: str, database: str, modules: Sequence[str], retry_failed: bool, as_json: bool) -> int:
    """Go on with a run and print the outcomes, in the order of its work list. Returns 1 if some threads failed, else 0.

    Raises:
        RunNotFound: There is none of this name.
        RunBusy: Another process works on it.
        ConfigurationError: A module cannot be imported, or the client cannot be used; nothing was sent.
        InvalidRunFile: The file of the run is there, and not valid any more; nothing was sent.
        StorageError: The database cannot be used.
    """
    for module in modules:
        import_own(module)
    return run_draining(_resume(name, database, retry_failed, as_json), ANSWERED)


async def _resume(name: str, database: str, retry_failed: bool, as_json: bool) -> int:
    began, progress, results = time.monotonic(), CountingProgress(), list[dict[str, Any]]()
    with shown_if_lost(results, None, as_json):
        async with existing(database) as storage:
            run = await storage.runs().get(name)
            plan = _plan(run)
            async with (
                orchestrator_for(plan, storage, progress) if plan else _plain(storage, progress, name) as orchestrator,
                aclosing(orchestrator.resume(name, retry_failed=retry_failed, budget=_budget(plan))) as outcomes,
            ):
                async for outcome in outcomes:
                    label = (outcome.thread.name or str(outcome.thread_id)).removeprefix(f"{name}/")
                    results.append(result_json(label, outcome))
            entries = await storage.runs().of(name, [UUID(result["thread"]) for result in results])
            place = {str(entry.lineage_id): entry.position for entry in entries}
            results.sort(key=lambda result: place[result["thread"]])
    return report(results, None, as_json, progress.tokens, began, storage.url)


def _plan(run: RunInfo) -> Plan | None:
    """What the run's file says of tools and limits, if the run has one and it is still there."""
    path = run.settings.get("file")
    return prepare(Path(path), read_run_file(Path(path))) if isinstance(path, str) and Path(path).is_file() else None


def _plain(storage: EntityStorage, progress: CountingProgress, name: str) -> InferenceOrchestrator:
    return InferenceOrchestrator(storage=storage, progress=progress, author=f"run {name}")


def _budget(plan: Plan | None) -> Budget | None:
    return plan.budget() if plan else None


def run_json(run: RunInfo) -> dict[str, Any]:
    """A run as data."""
    return {
        **asdict(run),
        "status": run.status(utc_now()),
        "total": run.total,
        "counts": {s.value: run.counts.get(s, 0) for s in EntryState},
    }


def _cells(run: RunInfo) -> tuple[str, ...]:
    done, failed = run.counts.get(EntryState.done, 0), run.counts.get(EntryState.failed, 0)
    numbers = (f"{done:,}/{run.total:,}", f"{failed:,}", f"{run.left:,}", f"{run.tokens:,}")
    known = None if run.unpriced and not run.cost_usd else run.cost_usd
    return (one_line(run.name, 40), run.status(utc_now()), *numbers, dollars(known, run.unpriced), when(run.updated_at))
