"""The pages of one thread: a version with its messages, the tree of versions, and two versions side by side."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from minference.ecs.lineage import LineageTree, VersionInfo
from minference.errors import LineageNotFound, VersionNotFound
from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread
from minference.ui.changes import in_words
from minference.ui.inspector import id_in_path, opened
from minference.ui.line import Line, line_through, ticks_on
from minference.ui.marks import thread_mark
from minference.ui.sides import field_rows, message_rows
from minference.ui.templating import parse_id
from minference.ui.thread_view import look
from minference.ui.tree_view import draw, rows_to_show

MOST_ROWS = 400
"""Places at which two versions differ that are shown."""
MOST_TOLD = 300
"""Versions in a tree of which it is told what they changed."""


async def newest(request: Request) -> Response:
    """`/threads/{lineage}`: the newest version, whichever that is when one looks."""
    lineage = id_in_path(request, "lineage")
    _, storage = await opened(request)
    if not (recent := await storage.recent(lineage, 1)):
        raise LineageNotFound(lineage)
    return await _thread(request, lineage, recent[0].ecs_id, follows=True)


async def version(request: Request) -> Response:
    """`/threads/{lineage}/at/{version}`: one version."""
    return await _thread(request, id_in_path(request, "lineage"), id_in_path(request, "version"), follows=False)


async def step(request: Request) -> Response:
    """`/threads/{lineage}/at/{version}/step/{place}`: leads to another version on the line through this one."""
    inspector, _ = await opened(request)
    lineage, start = id_in_path(request, "lineage"), id_in_path(request, "version")
    line = _line(await inspector.door.tree(lineage), start, request)
    place = min(int(request.path_params["place"]), len(line.versions) - 1)
    kept = {"tip": str(line.tip.ecs_id), **({"from": request.query_params["from"]} if "from" in request.query_params else {})}
    return RedirectResponse(f"/threads/{lineage}/at/{line.versions[place].ecs_id}?{urlencode(kept)}", 303)


async def tree(request: Request) -> Response:
    """`/threads/{lineage}/tree`: how its versions come from each other."""
    inspector, storage = await opened(request)
    lineage, shown = id_in_path(request, "lineage"), parse_id(request.query_params.get("shown", ""))
    mark = await thread_mark(storage, lineage)
    versions = await inspector.door.tree(lineage)
    if not versions:
        raise LineageNotFound(lineage)
    shown = shown if shown is not None and shown in versions else versions.versions[-1].ecs_id
    tags = await storage.tags(lineage)
    everything = "all" in request.query_params
    rows = rows_to_show(versions, shown, tags, everything=everything)
    alone = [row.version.ecs_id for row in rows if row.version is not None and row.version.parent_id is not None][-MOST_TOLD:]
    told = zip(alone, await storage.changes(alone), strict=True)
    changes = {each: in_words(diff) for each, diff in told if diff is not None}
    [thread] = await storage.peek(ChatThread, [shown], history=slice(0), tools=slice(0))
    return inspector.render(
        "tree.html",
        section="threads",
        thread=thread,
        view=draw(versions, rows, shown, tags, changes),
        before=versions[shown].parent_id or shown,
        size=len(versions),
        heads=len(versions.heads),
        has_stretches=any(row.version is None for row in rows),
        everything=everything,
        mark=mark,
        mark_url=f"/mark?thread={lineage}",
    )


async def compare(request: Request) -> Response:
    """`/compare?a=&b=`: two versions side by side; without `a`, what `b` was made from."""
    inspector, storage = await opened(request)
    new = await _named(storage, request, "b")
    if request.query_params.get("a"):
        old = await _named(storage, request, "a")
    elif new.parent_id is not None:
        old = await storage.info(new.parent_id)
    else:
        raise HTTPException(404, "this is the first version of its thread: there is nothing before it to compare it with")
    diff = await storage.diff(old.ecs_id, new.ecs_id)
    is_thread = isinstance(diff.new, ChatThread)
    rows = message_rows(diff) if is_thread else []
    return inspector.render(
        "compare.html",
        section="threads",
        old=old,
        new=new,
        thread=diff.new,
        is_thread=is_thread,
        is_same=not diff,
        fields=field_rows(diff),
        rows=rows[:MOST_ROWS],
        more=len(rows[MOST_ROWS:]),
    )


async def _thread(request: Request, lineage: UUID, shown: UUID, *, follows: bool) -> Response:
    inspector, storage = await opened(request)
    mark = await thread_mark(storage, lineage)
    versions = await inspector.door.tree(lineage)
    line = _line(versions, shown, request)
    view = await look(storage, shown, request.query_params.get("from"))
    tags = await storage.tags(lineage)
    return inspector.render(
        "thread.html",
        section="threads",
        view=view,
        thread=view.thread,
        line=line,
        tags=[name for name, each in tags.items() if each.ecs_id == shown],
        all_tags=tags,
        erasures=await storage.erasures(lineage) if view.thread.erased else [],
        follows=follows,
        here=f"/threads/{lineage}/at/{shown}",
        tip_query=f"?tip={line.tip.ecs_id}",
        ticks=ticks_on(line, versions, tags),
        mark=mark,
        mark_url=f"/mark?thread={lineage}",
    )


def _line(versions: LineageTree, shown: UUID, request: Request) -> Line:
    if shown not in versions:
        raise VersionNotFound(shown)
    return line_through(versions, shown, parse_id(request.query_params.get("tip", "")))


async def _named(storage: EntityStorage, request: Request, name: str) -> VersionInfo:
    text = request.query_params.get(name, "")
    if (found := parse_id(text)) is None:
        raise HTTPException(404, f"{text!r} is no id of a version: choose two versions in a thread's tree")
    return await storage.info(found)
