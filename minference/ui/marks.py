"""Cheap marks of how things are: a page that shows something asks for its mark again, and loads itself anew if that differs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID
from zlib import crc32

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from minference.ecs.identity import utc_now
from minference.errors import MinferenceError
from minference.storage.base import EntityStorage
from minference.storage.runs import RunInfo
from minference.threads.listing import newest_commit
from minference.ui.inspector import opened
from minference.ui.templating import parse_id

UNREADABLE = "unreadable"
"""The mark of a database that cannot be used."""


async def list_mark(storage: EntityStorage) -> str:
    """Changes when anything is saved."""
    return "-".join(map(str, await newest_commit(storage)))


async def thread_mark(storage: EntityStorage, lineage_id: UUID) -> str:
    """Changes when a version or a tag comes or goes, or the thread is erased."""
    recent = await storage.recent(lineage_id, 1)
    tags = await storage.tags(lineage_id)
    named = "\n".join(f"{name} {version.ecs_id}" for name, version in tags.items())
    newest = (recent[0].ecs_id, recent[0].erased_at) if recent else ()
    return f"{await storage.length(lineage_id)}-{crc32(f'{newest} {named}'.encode(errors='replace')):08x}"


def run_mark(run: RunInfo, now: datetime) -> str:
    """Changes when a thread of a run begins or ends, or somebody takes the run or leaves it."""
    told = f"{run.name} {run.updated_at} {run.status(now)} {sorted(run.counts.items())} {run.tokens} {run.holder}"
    return f"{crc32(told.encode(errors='replace')):08x}"


def runs_mark(runs: Iterable[RunInfo], now: datetime) -> str:
    """Changes when the mark of a run does, or one comes."""
    return f"{crc32(' '.join(run_mark(run, now) for run in runs).encode()):08x}"


async def mark(request: Request) -> Response:
    """`/mark`, `/mark?thread=`, `/mark?run=`, `/mark?runs=all`: the present mark of the list, of one thread, of one run, or of all."""
    try:
        _, storage = await opened(request)
        found = await _found(storage, request)
    except MinferenceError:
        found = UNREADABLE
    return JSONResponse({"mark": found})


async def _found(storage: EntityStorage, request: Request) -> str:
    if (name := request.query_params.get("run")) is not None:
        return run_mark(await storage.runs().get(name), utc_now())
    if "runs" in request.query_params:
        return runs_mark(await storage.runs().all(), utc_now())
    thread = parse_id(request.query_params.get("thread", ""))
    return await list_mark(storage) if thread is None else await thread_mark(storage, thread)
