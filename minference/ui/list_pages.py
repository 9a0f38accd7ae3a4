"""The pages with many threads: the list, and what a search found."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from minference.cli.find import find_version
from minference.ecs.lineage import VersionInfo
from minference.errors import UnknownThread
from minference.storage.base import EntityStorage
from minference.threads.listing import Listed, ThreadFilter, list_threads, models_in_use, newest_versions, place_of_message
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread
from minference.ui.inspector import id_in_path, opened
from minference.ui.marks import list_mark
from minference.ui.window import MESSAGES

THREADS = 50
"""On one page."""
HITS = 50
"""Messages that a search shows."""


async def threads(request: Request) -> Response:
    """`/`: the threads, the one saved last first."""
    inspector, storage = await opened(request)
    values = {name: request.query_params.get(name, "").strip() for name in ("name", "model", "author", "since")}
    wanted = ThreadFilter(values["name"], values["model"], values["author"], _moment(values["since"]))
    number = _number(request.query_params.get("page"))
    mark = await list_mark(storage)
    page = await list_threads(storage, wanted, limit=THREADS, skip=(number - 1) * THREADS)
    kept = {name: value for name, value in values.items() if value}
    return inspector.render(
        "threads.html",
        section="threads",
        rows=await _with_content(storage, page.threads),
        count=page.count,
        number=number,
        pages=max(1, -(-page.count // THREADS)),
        values=values,
        is_filtered=bool(wanted),
        models=await models_in_use(storage),
        link=lambda to: f"/?{urlencode({**kept, 'page': to})}",
        mark=mark,
        mark_url="/mark",
    )


async def search(request: Request) -> Response:
    """`/search?q=`: a thread of that name or id, threads whose names contain it, and messages with these words."""
    inspector, storage = await opened(request)
    text = request.query_params.get("q", "").strip()
    if not text:
        return RedirectResponse("/", 303)
    hits = await storage.search(ChatMessage, text, limit=HITS)
    held = await newest_versions(storage, sorted({lineage for hit in hits for lineage in hit.holders}))
    found = await storage.peek(ChatThread, list(held.values()), history=slice(0), tools=slice(0))
    messages = await storage.peek(ChatMessage, [hit.version.ecs_id for hit in hits])
    named = await list_threads(storage, ThreadFilter(name=text), limit=10)
    return inspector.render(
        "search.html",
        query=text,
        exact=await _exact(storage, text),
        named=await _with_content(storage, named.threads),
        named_count=named.count,
        hits=list(zip(hits, messages, strict=True)),
        holders={thread.lineage_id: thread for thread in found},
        is_full=len(hits) == HITS,
    )


async def message_in_thread(request: Request) -> Response:
    """`/threads/{lineage}/message/{message}`: leads to where the message is in the newest version of the thread that holds it."""
    _, storage = await opened(request)
    lineage, message = id_in_path(request, "lineage"), id_in_path(request, "message")
    for version in await storage.recent(lineage, 20):
        if (place := await place_of_message(storage, version.ecs_id, message)) is not None:
            start = max(0, place - MESSAGES // 2)
            return RedirectResponse(f"/threads/{lineage}/at/{version.ecs_id}?from={start}#m{place}", 303)
    return RedirectResponse(f"/threads/{lineage}", 303)


async def _with_content(storage: EntityStorage, listed: list[Listed]) -> list[tuple[Listed, ChatThread]]:
    """Each with its newest version, of which the last message is loaded."""
    loaded = await storage.peek(ChatThread, [each.version for each in listed], history=slice(-1, None), tools=slice(0))
    return list(zip(listed, loaded, strict=True))


async def _exact(storage: EntityStorage, text: str) -> VersionInfo | None:
    """The thread or version that a person on the command line would mean."""
    try:
        return await find_version(storage, text)
    except UnknownThread:
        return None


def _number(text: str | None) -> int:
    """A page's number, 1 for whatever is none."""
    return max(1, int(text)) if text is not None and text.isascii() and text.isdigit() and len(text) < 7 else 1


def _moment(text: str) -> datetime | None:
    """The beginning of a day in UTC."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
