"""One call through a vendor's SDK: whole bodies, one deadline, and errors in our words.

The SDKs of OpenAI and Anthropic are built alike. Requests go through their public `post`: it makes the same request as
the typed methods without walking through every message again, which costs more than the call itself on long histories.
"""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from typing import Any
from urllib.request import getproxies

from pydantic_core import from_json, to_json

from minference.clients.base import Client, Request, Response, TextDelta
from minference.clients.failures import describe, refused, without_key
from minference.clients.parsing import Understanding, parse_json
from minference.clients.server_events import EventReader, ServerEvent, WholeBody
from minference.errors import InvalidReply, ProviderError, ProviderTimeout, ProviderUnreachable

_DRAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Sdk:
    """A vendor's client object, and the names of its module that a call needs."""

    client: Any
    url: str
    """Of the endpoint, whole: the SDKs put relative ones together anew for every call."""
    key: str | None
    """Never to be seen in an error."""
    stream_class: Any
    api_error: type[Any]
    status_error: type[Any]


@dataclass(slots=True)
class Caller:
    """Calls one endpoint. Connections belong to the event loop that opened them, so each loop gets an SDK object of its own."""

    name: str
    sdk: str
    """The module of the vendor."""
    build: Callable[[], Sdk]
    besides: Mapping[str, Any] = field(default_factory=dict)
    """Options that the vendor's typed method would give to `post` for this endpoint."""
    _of_loop: dict[asyncio.AbstractEventLoop, Sdk] = field(default_factory=dict)
    _opening: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = field(default_factory=dict)

    async def open(self) -> None:
        """Return when calls can be made from this event loop. To import an SDK takes seconds, in which others go on."""
        here = asyncio.get_running_loop()
        if here in self._of_loop:
            return
        if (opening := self._opening.get(here)) is None or opening.done():
            opening = self._opening[here] = asyncio.create_task(self._open())
        await asyncio.shield(opening)

    async def _open(self) -> None:
        try:
            await asyncio.to_thread(_load, self.sdk)
            await self._sdk()
        finally:
            self._opening.pop(asyncio.get_running_loop(), None)

    async def send(self, body: Request, headers: dict[str, str], timeout: float) -> Response:
        """The whole answer to one request.

        Raises:
            ProviderError: What went wrong, as attributes.
        """
        import httpx2

        sdk = await self._sdk()
        failure: ProviderError
        try:
            async with asyncio.timeout(timeout):
                raw = await sdk.client.post(
                    sdk.url, cast_to=httpx2.Response, content=to_json(body), options=self._options(headers, timeout)
                )
                return Response(self._parse(raw.content, sdk.key), _lower(raw.headers))
        except TimeoutError:
            failure = self._timed_out(timeout)
        except _failures(sdk) as error:
            failure = self._translate(sdk, error, timeout)
        raise failure  # outside of the handler: the SDK's error holds the request, and that holds the key

    async def events(self, body: Request, headers: dict[str, str], timeout: float) -> AsyncGenerator[tuple[Any, dict[str, str]]]:
        """Each event of a streamed answer as JSON data, with the answer's headers. `timeout` counts time spent waiting for them.

        From a server that does not stream, the whole answer as a `Response`.

        Raises:
            ProviderError: What went wrong, as attributes.
        """
        sdk = await self._sdk()
        clock = asyncio.get_running_loop().time
        failure: ProviderError
        left = timeout
        try:
            started = clock()
            async with asyncio.timeout(left):
                options = self._options(headers, timeout)
                stream = await sdk.client.post(
                    sdk.url, cast_to=object, content=to_json(body), options=options, stream=True, stream_cls=sdk.stream_class
                )
            left -= clock() - started
            received, reader = _lower(stream.response.headers), EventReader()
            async with stream, aclosing(stream.response.aiter_bytes()) as pieces:
                piece: bytes | None = b""
                while piece is not None:
                    started = clock()
                    async with asyncio.timeout(left):
                        piece = await anext(pieces, None)
                    left -= clock() - started
                    for found in reader.end() if piece is None else reader.feed(piece):
                        if isinstance(found, WholeBody):
                            yield Response(self._parse(found.content, sdk.key), received), received
                        elif found.data.strip() == b"[DONE]":
                            await _drain(pieces)
                            return
                        elif found.name != "ping":
                            yield self._event(found, sdk.key), received
                return
        except TimeoutError:
            failure = self._timed_out(timeout)
        except _failures(sdk) as error:
            failure = self._translate(sdk, error, timeout)
        raise failure

    async def aclose(self) -> None:
        """Close the connections of this event loop, and of loops that have ended."""
        here = asyncio.get_running_loop()
        for loop in [loop for loop in self._of_loop if loop is here or loop.is_closed()]:
            await self._of_loop.pop(loop).client.close()

    async def _sdk(self) -> Sdk:
        here = asyncio.get_running_loop()
        if here not in self._of_loop:
            for loop in [loop for loop in self._of_loop if loop.is_closed()]:
                await self._of_loop.pop(loop).client.close()
            self._of_loop[here] = self.build()
        return self._of_loop[here]

    def _options(self, headers: dict[str, str], timeout: float) -> dict[str, Any]:
        """Of one call. Retries are the orchestrator's; that there are none is said for each call, because SDKs copy what is not said."""
        return {"timeout": timeout, "headers": headers, "max_retries": 0, **self.besides}

    def _event(self, event: ServerEvent, key: str | None) -> Any:
        """What an event says."""
        try:
            data = parse_json(event.data)
        except ValueError:
            if event.name != "error":
                raise ProviderUnreachable(self.name, "the stream broke off in the middle of an event", retryable=True) from None
            data = event.data.decode(errors="replace")
        if event.name == "error" or (isinstance(data, dict) and data.get("error")):
            raise refused(self.name, status=200, headers={}, body=data, key=key)
        return data

    def _parse(self, content: bytes, key: str | None) -> dict[str, Any]:
        try:
            payload = parse_json(content)
        except ValueError:
            if content.lstrip().startswith(b"<"):
                raise InvalidReply(self.name, "answered with an HTML page instead of JSON: is the base URL right?", status=200) from None
            if not content.strip():
                raise ProviderUnreachable(self.name, "the answer is empty", retryable=True) from None
            if _is_cut_off(content):
                raise ProviderUnreachable(self.name, "the answer broke off in the middle", retryable=True) from None
            found = without_key(describe(content), key)
            raise InvalidReply(self.name, f"answered with {found}, which is no JSON", status=200) from None
        if not isinstance(payload, dict):
            found = without_key(describe(payload), key)
            raise InvalidReply(self.name, f"answered with {found} instead of a JSON object", status=200)
        return payload

    def _timed_out(self, timeout: float) -> ProviderTimeout:
        return ProviderTimeout(self.name, f"no whole reply within {timeout:g} s", retryable=True)

    def _translate(self, sdk: Sdk, error: BaseException, timeout: float) -> ProviderError:
        if isinstance(error, sdk.status_error):
            headers = _lower(error.response.headers)
            return refused(self.name, status=error.response.status_code, headers=headers, body=error.body, key=sdk.key)
        causes = list(_causes(error))
        if (unsendable := _unsendable(causes, sdk)) is not None:
            return ProviderUnreachable(self.name, without_key(unsendable, sdk.key), retryable=True)
        if any(isinstance(cause, TimeoutError) for cause in causes):
            return self._timed_out(timeout)
        told = ": ".join(filter(None, (type(causes[-1]).__name__, str(causes[-1]))))
        trusted = not any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes)
        return ProviderUnreachable(
            self.name, f"no connection, or it broke: {without_key(' '.join(told.split()), sdk.key)}", retryable=trusted
        )


def _load(sdk: str) -> None:
    """Do what takes long when it is done for the first time."""
    for module in (sdk, "minference.clients.http"):
        import_module(module)
    _tls()


def sdk_http_client(aiohttp_client: Any, url: str = "") -> Any:
    """An HTTP client for an SDK, with no limit on connections of its own: how many calls are made at once is the
    orchestrator's decision, and a queue in the pool would only eat up their timeouts.

    Where the environment names a proxy it is the SDK's own one; a server on this machine is reached without.
    """
    import httpx2

    from minference.clients.http import AiohttpTransport, ProviderHttp

    # Long histories and images are larger than aiohttp likes bodies to be; the SDKs hand them over in no other way.
    warnings.filterwarnings("ignore", "Sending a large body directly with raw bytes", ResourceWarning)
    if getproxies() and httpx2.URL(url).host not in ("127.0.0.1", "::1", "localhost"):
        return aiohttp_client(limits=httpx2.Limits(max_connections=0, max_keepalive_connections=None), verify=_tls())
    return ProviderHttp(AiohttpTransport(_tls()))


@cache
def _tls() -> ssl.SSLContext:
    """One for all clients: it takes tens of milliseconds to load the certificates."""
    import httpx2

    return httpx2.create_ssl_context()


def whole_reply(client: Client, request: Request, answer: Response, besides: Mapping[str, Any]) -> Iterator[TextDelta | Response]:
    """What a stream gives if the server answers with the whole reply instead: its text in one piece.

    Raises:
        InvalidReply: It is none.
    """
    with Understanding(client.name):
        text = client.from_response(answer.payload, request).content
    if text:
        yield TextDelta(text)
    yield replace(answer, sent_besides=besides)


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read what still comes after the end of a stream, for otherwise its connection cannot be used again."""
    with suppress(TimeoutError, *_transport_failures()):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in pieces:
                continue


def _failures(sdk: Sdk) -> tuple[type[BaseException], ...]:
    """What a call can raise. The SDKs let some errors of their transport through, also what it says of a URL that is none."""
    import httpx2

    return sdk.api_error, *_transport_failures(), httpx2.InvalidURL, ValueError


def _transport_failures() -> tuple[type[BaseException], ...]:
    import aiohttp
    import httpx2

    return httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError


def _unsendable(causes: list[BaseException], sdk: Sdk) -> str | None:
    """What is said of a request that could not leave."""
    from minference.clients.http import Unsendable

    found = next((cause for cause in causes if isinstance(cause, Unsendable)), None)
    if found is None:
        return None
    ours = sdk.url.partition("?")[0] == found.where
    return f"the request cannot be sent: {found}" if ours else f"it redirects to {found.where}, where nothing can be: {found}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _is_cut_off(content: bytes) -> bool:
    """Whether the content is the beginning of a JSON object."""
    try:
        return isinstance(from_json(content, allow_partial=True), dict)
    except ValueError:
        return False
