"""The pages of named runs: all of them, and one with its threads. Both follow a run that another process works on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlencode
from uuid import UUID

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from minference.ecs.identity import utc_now
from minference.errors import RunNotFound
from minference.storage.base import EntityStorage
from minference.storage.runs import EntryState, RunEntry, RunInfo
from minference.threads.listing import newest_versions
from minference.threads.thread import ChatThread
from minference.ui.inspector import opened
from minference.ui.marks import run_mark, runs_mark

THREADS = 100
"""Threads of a run on one page."""
CAUSES = 8
"""Different causes of failure that are told."""
FAILURES = 1000
"""Failed threads that are looked through for their causes."""

_ORDER = (EntryState.done, EntryState.failed, EntryState.running, EntryState.pending)
_BAR = Markup('<svg class="progress" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>')
_PART = Markup('<rect class="{}" x="{:.1f}" width="{:.1f}" height="10"><title>{}</title></rect>')


async def runs(request: Request) -> Response:
    """`/runs`: every run, the one that was worked on last first."""
    inspector, storage = await opened(request)
    now, found = utc_now(), await storage.runs().all()
    rows = [(run, run.status(now), progress(run), address(run.name)) for run in found]
    return inspector.render("runs.html", section="runs", rows=rows, mark=runs_mark(found, now), mark_url="/mark?runs=all")


async def run(request: Request) -> Response:
    """`/run?name=`: how far one run is, why threads of it have failed, and its threads."""
    inspector, storage = await opened(request)
    name, state = request.query_params.get("name", ""), _state(request.query_params.get("state"))
    now, info = utc_now(), await _run(storage, name)
    states = list(EntryState) if state is None else [state]
    after = _place(request.query_params.get("after"))
    entries = await storage.runs().entries(name, states, after=after, limit=THREADS + 1)
    return inspector.render(
        "run.html",
        section="runs",
        run=info,
        condition=info.status(now),
        bar=progress(info),
        chosen=state,
        chips=[(each.value, info.counts.get(each, 0), address(name, each)) for each in EntryState],
        everything=address(name),
        causes=await _causes(storage, info),
        failures=FAILURES,
        rows=await _with_names(storage, entries[:THREADS]),
        is_first=after < 0,
        following=address(name, state, entries[THREADS - 1].position) if len(entries) > THREADS else None,
        mark=run_mark(info, now),
        mark_url=f"/mark?{_query({'run': name})}",
    )


def progress(run: RunInfo) -> Markup:
    """How many threads are in which state, as a bar."""
    counts = [(state, run.counts.get(state, 0)) for state in _ORDER]
    told = ", ".join(f"{count:,} {state.value}" for state, count in counts if count) or "no threads"
    parts, start = list[Markup](), 0.0
    for state, count in counts:
        if count:
            width = 1000 * count / run.total
            parts.append(_PART.format(state.value, start, width, f"{count:,} {state.value}"))
            start += width
    return _BAR.format(told, Markup("").join(parts))


def address(name: str, state: EntryState | None = None, after: int | None = None) -> str:
    """Of the page of a run, or of some of its threads."""
    part = {"state": state and state.value, "after": after}
    return f"/run?{_query({'name': name} | {key: str(value) for key, value in part.items() if value is not None})}"


def _query(values: dict[str, str]) -> str:
    return urlencode(values, errors="replace")


async def _run(storage: EntityStorage, name: str) -> RunInfo:
    """One run.

    Raises:
        HTTPException: There is none of this name.
    """
    try:
        return await storage.runs().get(name)
    except RunNotFound:
        raise HTTPException(404, f"there is no run {name!r}") from None


async def _causes(storage: EntityStorage, run: RunInfo) -> list[tuple[str, int]]:
    """Why threads have failed, and how many for each reason, the most frequent first."""
    if not run.counts.get(EntryState.failed):
        return []
    failed = await storage.runs().entries(run.name, [EntryState.failed], limit=FAILURES)
    return Counter((entry.error or "").partition("\n")[0] for entry in failed).most_common(CAUSES)


async def _with_names(storage: EntityStorage, entries: Sequence[RunEntry]) -> list[tuple[RunEntry, ChatThread | None]]:
    """Each with its thread, without what that holds; `None` if it is not stored."""
    newest = await newest_versions(storage, [entry.lineage_id for entry in entries])
    loaded = await storage.peek(ChatThread, list(newest.values()), history=slice(0), tools=slice(0))
    threads: dict[UUID, ChatThread] = {thread.lineage_id: thread for thread in loaded}
    return [(entry, threads.get(entry.lineage_id)) for entry in entries]


def _state(text: str | None) -> EntryState | None:
    """A state of threads, `None` for whatever is none."""
    return next((state for state in EntryState if state.value == text), None)


def _place(text: str | None) -> int:
    """A place in a work list, -1 for whatever is none."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else -1
