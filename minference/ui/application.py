"""The inspector as an ASGI application: which address leads to which page, and what is shown when something is not there."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from minference.errors import (
    DatabaseUnreadable,
    DifferentClasses,
    LineageNotFound,
    MinferenceError,
    VersionNotFound,
    WrongEntityType,
)
from minference.storage.base import EntityStorage
from minference.ui import list_pages, marks, message_pages, run_pages, thread_pages, usage_page
from minference.ui.door import Door, NoDatabaseYet
from minference.ui.guard import Guard
from minference.ui.inspector import Inspector, inspector_of, without_password
from minference.ui.templating import Pages

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
ROUTES = [
    Route("/", list_pages.threads),
    Route("/search", list_pages.search),
    Route("/threads/{lineage}", thread_pages.newest),
    Route("/threads/{lineage}/at/{version}", thread_pages.version),
    Route("/threads/{lineage}/at/{version}/step/{place:int}", thread_pages.step),
    Route("/threads/{lineage}/tree", thread_pages.tree),
    Route("/threads/{lineage}/message/{message}", list_pages.message_in_thread),
    Route("/compare", thread_pages.compare),
    Route("/messages/{version}", message_pages.message),
    Route("/outputs/{version}/request", message_pages.request_body),
    Route("/outputs/{version}/reply", message_pages.reply_body),
    Route("/attachments/{version}", message_pages.attachment),
    Route("/runs", run_pages.runs),
    Route("/run", run_pages.run),
    Route("/usage", usage_page.usage),
    Route("/mark", marks.mark),
    Mount("/static", StaticFiles(directory=STATIC)),
]


def application(
    url: str, *, token: str, storage: EntityStorage | None = None, exposed: bool = False, names: Collection[str] = ()
) -> ASGIApp:
    """The inspector of one database.

    Args:
        url: Where the database is; opened when somebody looks.
        token: What the first address must carry.
        storage: Already open, instead of opening `url`.
        exposed: Whether others than this machine may look.
        names: Names under which it may be asked for, beside those of this machine.
    """
    inspector = Inspector(Door(url, storage), Pages(without_password(url)))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await inspector.door.close()

    pages = Starlette(routes=ROUTES, exception_handlers=_HANDLERS, lifespan=lifespan)
    pages.state.inspector = inspector

    async def locked(scope: Scope, receive: Receive, send: Send) -> None:
        await inspector.render("locked.html", 403)(scope, receive, send)

    return Guard(pages, token=token, locked=locked, exposed=exposed, names=names)


async def _no_database(request: Request, error: Exception) -> Response:
    values = {"mark": marks.UNREADABLE, "mark_url": "/mark", "reason": str(error)}
    return inspector_of(request).render("no_database.html", 503, is_missing=isinstance(error, NoDatabaseYet), **values)


async def _not_there(request: Request, error: Exception) -> Response:
    return inspector_of(request).render("problem.html", 404, title="There is no such thing here", reason=str(error))


async def _not_shown(request: Request, error: Exception) -> Response:
    logger.warning("%s could not be shown: %s", request.url.path, error)
    return inspector_of(request).render("problem.html", 500, title="This cannot be shown", reason=str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    reason = detail if detail != "Not Found" else f"no page has the address {request.url.path!r}"
    return inspector_of(request).render("problem.html", status, title="There is no such page", reason=reason)


async def _bug(request: Request, error: Exception) -> Response:
    reason = f"the inspector failed ({type(error).__name__}); the terminal in which it runs says more"
    return inspector_of(request).render("problem.html", 500, title="That should not have happened", reason=reason)


_HANDLERS = {
    DatabaseUnreadable: _no_database,
    VersionNotFound: _not_there,
    LineageNotFound: _not_there,
    WrongEntityType: _not_there,
    DifferentClasses: _not_there,
    MinferenceError: _not_shown,
    HTTPException: _http_error,
    Exception: _bug,
}
