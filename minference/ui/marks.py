"""Cheap marks of how things are: a page that shows something asks for its mark again, and loads itself anew if that differs."""

from __future__ import annotations

from uuid import UUID
from zlib import crc32

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from minference.errors import MinferenceError
from minference.storage.base import EntityStorage
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


async def mark(request: Request) -> Response:
    """`/mark`, `/mark?thread=`: the present mark of the list, or of one thread."""
    thread = parse_id(request.query_params.get("thread", ""))
    try:
        _, storage = await opened(request)
        found = await list_mark(storage) if thread is None else await thread_mark(storage, thread)
    except MinferenceError:
        found = UNREADABLE
    return JSONResponse({"mark": found})
