"""The HTTP client that the vendors' SDKs are given: aiohttp's connections, and for each call only what that call needs.

The SDKs take any `httpx2.AsyncClient`. As it comes, it parses the URL again for every call, merges headers, walks through
hooks, cookies, authentication and redirects and reads the body through four generators: together more than the request
itself costs. Here that happens for streams and redirects alone.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Any, cast

import aiohttp
import httpx2
import yarl
from aiohttp.abc import AbstractStreamWriter

from minference.clients.departure import request_left

_CHUNK_BYTES = 1 << 16
_LONGEST_LINE = 1 << 20
"""Bytes of the status line or a header. A reply that was paid for is not refused for what proxies put on top of it."""
_ANSWER = "minference.answer"
"""The extension of a request that was answered already."""
_KEPT = 64
"""How many URLs and sets of headers are remembered in their parsed form: there is hardly more than one for each endpoint."""


class Unsendable(httpx2.TransportError):
    """A request that cannot leave: nothing can be at its URL, or a header is none. As our own URLs are looked at before, a server has
    redirected us there, or the headers are at fault."""

    def __init__(self, request: httpx2.Request, why: str) -> None:
        super().__init__(why, request=request)
        self.where = f"{request.url.scheme}://{request.url.netloc.decode()}{request.url.path}"
        """Without the password that may be in the URL."""


class _Content(aiohttp.BytesPayload):
    """The body of a request, which says when it is written; the headers go with it."""

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        await super().write_with_length(writer, content_length)
        request_left()


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Requests over aiohttp, without limits of its own on connections and time: both are decided by who calls."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, request: httpx2.Request) -> aiohttp.ClientResponse:
        """The beginning of the answer; its body is still on its way.

        Raises:
            aiohttp.ClientError: There is none.
            Unsendable: Nothing can be sent there.
        """
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        body = _Content(request.content) if request.content else None
        try:
            url = _aiohttp_url(str(request.url))
            return await self._open().request(request.method, url, headers=headers, data=body, allow_redirects=False)
        except ValueError as error:
            if isinstance(error, aiohttp.ClientError | OSError):
                raise
            raise Unsendable(request, str(error)) from None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer, whose body is read from the connection as it is asked for."""
        if (known := request.extensions.pop(_ANSWER, None)) is not None:
            return cast(httpx2.Response, known)
        await request.aread()  # one that follows a redirect has its body still to be read
        answer = await self.ask(request)
        return httpx2.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer), request=request)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                max_line_size=_LONGEST_LINE,
                max_field_size=_LONGEST_LINE,
            )
        return self._session


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._answer.content.iter_chunked(_CHUNK_BYTES):
            yield chunk

    async def aclose(self) -> None:
        self._answer.release()


class ProviderHttp(httpx2.AsyncClient):
    """What an SDK sends its calls with."""

    def __init__(self, transport: AiohttpTransport) -> None:
        super().__init__(transport=transport, follow_redirects=True, trust_env=False, timeout=None)
        self._whole = transport
        self._usual = self.headers.multi_items()
        self._merged = lru_cache(maxsize=_KEPT)(self._merge)

    def build_request(self, method: str, url: httpx2.URL | str, *, content: Any = None, headers: Any = None, **rest: Any) -> httpx2.Request:
        """The request for a call, with those of the usual headers that it does not bring."""
        if any(rest[name] for name in rest if name != "timeout"):
            return super().build_request(method, url, content=content, headers=headers, **rest)
        target = _httpx_url(url) if isinstance(url, str) else url
        merged = self._merged(target.netloc, tuple(headers.items() if isinstance(headers, Mapping) else headers))
        if not isinstance(content, bytes):
            return httpx2.Request(method, target, content=content, headers=merged)
        request = httpx2.Request(method, target, headers=merged, stream=httpx2.ByteStream(content))
        request.headers.encoding = merged.encoding  # else it looks at all of them for it
        request.headers["Content-Length"] = str(len(content))
        request.read()
        return request

    def _merge(self, host: bytes, given: tuple[tuple[str, str], ...]) -> httpx2.Headers:
        names = {name.lower() for name, _ in given}
        own = [] if "host" in names else [("Host", host.decode("ascii"))]
        return httpx2.Headers([*own, *((name, value) for name, value in self._usual if name.lower() not in names), *given])

    async def send(self, request: httpx2.Request, *, stream: bool = False, **rest: Any) -> httpx2.Response:
        """The answer: whole, unless a stream is asked for.

        Raises:
            aiohttp.ClientError: There is none, or only a part of it came.
        """
        if stream:
            return await super().send(request, stream=True, **rest)
        async with await self._whole.ask(request) as answer:
            content = await answer.read()
        response = httpx2.Response(answer.status, headers=answer.raw_headers, content=content, request=request)
        if not response.has_redirect_location:
            return response
        request.extensions[_ANSWER] = response  # where it is to go from here is the library's to say
        return await super().send(request, **rest)


@lru_cache(maxsize=_KEPT)
def _httpx_url(url: str) -> httpx2.URL:
    return httpx2.URL(url)


@lru_cache(maxsize=_KEPT)
def _aiohttp_url(url: str) -> yarl.URL:
    return yarl.URL(url, encoded=True)
