"""Who may look: only this machine unless it was opened on purpose, only with the token, and nothing that a page could be made to do."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "token"  # noqa: S105 - the name of the parameter, not its value
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""On every answer that does not say otherwise itself."""
_LOOPBACK_NAMES = ("localhost",)


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine and nothing else."""
    address = _address(host)
    return address.is_loopback if address is not None else host in _LOOPBACK_NAMES


def is_expected(header: str, *, exposed: bool, names: Collection[str] = ()) -> bool:
    """Whether a `Host` header can come from somebody who typed our address.

    A page elsewhere whose name is made to lead here sends its own name (DNS rebinding). Addresses are no names, so they are
    safe where others may look as well.
    """
    host = _host_of(header)
    if is_loopback(host) or host in names:
        return True
    return exposed and _address(host) is not None


def _host_of(header: str) -> str:
    """The host without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Guard:
    """Lets requests through to the pages that come from who has the token.

    The printed URL carries the token once. It is answered with a cookie, whose value says nothing about the token and which
    no script can read and no other site's page can use, and leads on to the same address without it.
    """

    def __init__(self, app: ASGIApp, *, token: str, locked: ASGIApp, exposed: bool = False, names: Collection[str] = ()) -> None:
        self._app = app
        self._token = token
        self._locked = locked
        """What is shown to those who may not look."""
        self._exposed = exposed
        self._names = names
        self._pass = secrets.token_urlsafe(32)
        self._cookie = f"minference-{secrets.token_hex(4)}"  # cookies know no ports: another inspector has another one

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._choose(scope)(scope, receive, _with_headers(send))

    def _choose(self, scope: Scope) -> ASGIApp:
        headers = Headers(scope=scope)
        if not is_expected(headers.get("host", ""), exposed=self._exposed, names=self._names):
            return PlainTextResponse("This address is not the inspector's. Open the one that `minference ui` printed.", 421)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("The inspector only reads.", 405, {"Allow": "GET, HEAD"})
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if (given := dict(query).get(TOKEN)) is not None:
            return self._admit(scope, query) if _equal(given, self._token) else self._locked
        if scope["path"].startswith("/static/") or _equal(_cookies(headers).get(self._cookie, ""), self._pass):
            return self._app
        return self._locked

    def _admit(self, scope: Scope, query: list[tuple[str, str]]) -> Response:
        """The same address without the token; of more than one leading slash, which would lead to another host, one is left."""
        rest = urlencode([(name, value) for name, value in query if name != TOKEN])
        path = "/" + scope["path"].lstrip("/\\")
        answer = RedirectResponse(f"{path}?{rest}" if rest else path, 303)
        answer.set_cookie(self._cookie, self._pass, httponly=True, samesite="strict")
        return answer


def _equal(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())


def _cookies(headers: Headers) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
