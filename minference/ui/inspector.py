"""What every page works with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from minference.storage.base import EntityStorage
from minference.ui.door import Door
from minference.ui.templating import Pages, parse_id


@dataclass(frozen=True, slots=True)
class Inspector:
    """The way to the database, and the templates."""

    door: Door
    pages: Pages

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """One page."""
        return self.pages.render(template, status, **values)


def inspector_of(request: Request) -> Inspector:
    """That of the application that got the request."""
    found = request.app.state.inspector
    assert isinstance(found, Inspector), "the application was made with it"
    return found


async def opened(request: Request) -> tuple[Inspector, EntityStorage]:
    """The inspector and its open storage.

    Raises:
        DatabaseUnreadable: The database cannot be used.
    """
    inspector = inspector_of(request)
    return inspector, await inspector.door.storage()


def id_in_path(request: Request, name: str) -> UUID:
    """An id in the address.

    Raises:
        HTTPException: It is none: there is no such page.
    """
    text = str(request.path_params[name])
    if (found := parse_id(text)) is None:
        raise HTTPException(404, f"{text!r} is no id: ids have 32 hexadecimal digits")
    return found


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    return re.sub(r"(://[^:/@]+):[^@/]*@", r"\1@", url)
