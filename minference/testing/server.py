"""A provider on a real socket: both dialects, scripted answers, and everything that can go wrong."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic_core import from_json, to_json

from minference.errors import ConfigurationError, WrongArgument
from minference.profiles import built_in_profiles
from minference.testing.answers import Answer, completion, completion_chunks, default_answer, message, message_events, signatures_in
from minference.testing.faults import (
    EmptyChoices,
    ErrorInside,
    Fault,
    Hang,
    Html,
    Latency,
    Reset,
    SlowStream,
    Status,
    TruncatedBody,
    TruncatedStream,
    require_fault,
    require_faults,
)
from minference.testing.rules import anthropic_problem, openai_problem
from minference.testing.serving import missing, reset, serve_in_thread, transport_of

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send

Dialect = Literal["openai", "anthropic"]

_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
_LATER_TYPES = {429: "rate_limit_error", 529: "overloaded_error"}
_PAGE = "<!DOCTYPE html><html><head><title>Hello</title></head><body>Not an API</body></html>"


@dataclass(slots=True)
class RecordedRequest:
    """One request as the server saw it."""

    number: int
    """1 for the first."""
    dialect: Dialect
    body: dict[str, Any]
    headers: dict[str, str]
    """Lower-case names; keys included."""
    content: bytes
    """The body as it came."""
    received_at: datetime
    answered: bool = False
    """Whether a whole, good answer was sent, or is just being."""
    fault: Fault | None = None
    problem: str | None = None
    """The rule of the dialect that the request breaks, for which a strict server has refused it."""


Answering = Callable[[dict[str, Any]], Answer | str]
Faults = Mapping[int, Fault] | Sequence[Fault | None] | Callable[[RecordedRequest], Fault | None]
"""By number of the request (1 is the first), in order, or as the request decides."""


@dataclass(slots=True)
class ProviderServer:
    """Speaks `/v1/chat/completions` and `/v1/messages` on a free port of 127.0.0.1, in a thread of its own, while entered.

    The first is there under Azure's path as well: `url` is an `AZURE_OPENAI_ENDPOINT`.

    An error that `answer` or `faults` raises is the body of a response with status 500, and is raised when the server is left.

    Raises:
        MissingExtra: starlette or uvicorn is not installed.
        WrongArgument: `faults` or `answer` is nothing of that kind, or is set to such a thing.
        UnusableValue: `faults` has a number that no request can have.
    """

    answer: Answering | None = None
    """What is said to a request body; by default an echo, see `default_answer`."""
    faults: Faults = field(default_factory=dict)
    call_tools: bool = False
    """Whether the default answer to a user's message is a call of the first tool on offer."""
    strict: bool = False
    """Whether requests that the real provider refuses are refused: see `RecordedRequest.problem`."""
    requests: list[RecordedRequest] = field(default_factory=list)
    """Every request, in the order in which they came."""
    errors: list[BaseException] = field(default_factory=list)
    """What `answer` and `faults` raised; it is raised again when the server is left."""
    _socket: socket.socket = field(init=False)
    _stop: Callable[[], None] = field(init=False)
    _port: int | None = field(default=None, init=False)
    _signatures: set[str] = field(default_factory=set, init=False)

    if not TYPE_CHECKING:  # a type checker would take it for leave to assign any name

        def __setattr__(self, name: str, value: object) -> None:
            if name == "faults":
                require_faults(value)
            if name == "answer" and not (value is None or callable(value)):
                raise WrongArgument("answer", value, "a function of the body of a request that returns an Answer or a text")
            object.__setattr__(self, name, value)

    @property
    def url(self) -> str:
        """Where the server is: the base URL for Anthropic's dialect.

        Raises:
            ConfigurationError: The server was not started.
        """
        if self._port is None:
            raise ConfigurationError("the server is not running: use it as `with ProviderServer() as server:`")
        return f"http://127.0.0.1:{self._port}"

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI's dialect."""
        return f"{self.url}/v1"

    def environment(self) -> dict[str, str]:
        """The variables that lead the clients of all providers which minference knows to this server, with a key that is none."""
        found: dict[str, str] = {}
        for profile in built_in_profiles().values():
            if profile.base_url_env is not None:
                is_root = profile.dialect == "anthropic" or profile.base_url_suffix
                found[profile.base_url_env] = self.url if is_root else self.openai_url
            if profile.key_env is not None:
                found[profile.key_env] = "test-key"
        return found

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self._port = self._socket.getsockname()[1]
        try:
            self._stop = serve_in_thread(_application(self), self._socket)
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, kind: object, left_by: BaseException | None, trace: object) -> None:
        self._stop()
        self._socket.close()
        distinct: dict[object, BaseException] = {}  # a request that is tried again raises the same once more
        for error in self.errors:
            distinct.setdefault((type(error), str(error)), error)
        errors = list(distinct.values())
        self.errors.clear()
        if errors and left_by is not None and not isinstance(left_by, Exception):
            left_by.add_note(f"the ProviderServer could not answer: {errors!r}")
        elif len(errors) == 1:
            raise errors[0]
        elif errors:
            raise BaseExceptionGroup("a ProviderServer could not answer", errors)

    def failed(self, error: BaseException) -> Status:
        """Keep an error until the server is left; the response tells it to whoever made the request."""
        self.errors.append(error)
        said = f"{type(error).__name__}: {error} (raised while the ProviderServer made up its answer)"
        return Status(500, body={"type": "error", "error": {"type": "api_error", "code": "api_error", "message": said}})

    def record(self, dialect: Dialect, content: bytes, headers: Mapping[str, str]) -> RecordedRequest:
        """Remember a request, and decide what will go wrong with it."""
        request = RecordedRequest(len(self.requests) + 1, dialect, from_json(content), dict(headers), content, datetime.now(UTC))
        self.requests.append(request)
        request.problem = self._problem_of(request) if self.strict else None
        request.fault = self._fault_of(request) if request.problem is None else Status(400, body=_refusal(request.problem))
        return request

    def _problem_of(self, request: RecordedRequest) -> str | None:
        if request.dialect == "openai":
            return openai_problem(request.body, self._signatures)
        return anthropic_problem(request.body, self._signatures, request.headers.get("anthropic-version", ""))

    def remember_signatures(self, whole: Mapping[str, Any]) -> None:
        """Take the signatures in an answer for our own from now on."""
        self._signatures |= signatures_in(whole)

    def say(self, body: dict[str, Any]) -> Answer:
        """The answer to a request body."""
        said = self.answer(body) if self.answer else default_answer(body, call_tools=self.call_tools)
        if isinstance(said, str):
            return Answer(said)
        if not isinstance(said, Answer):
            raise WrongArgument("what `answer` returns", said, "an Answer or a text")
        return said

    def _fault_of(self, request: RecordedRequest) -> Fault | None:
        try:
            fault = self._fault_wanted(request)
            require_fault("the fault of a request", fault)
        except BaseException as error:  # noqa: BLE001 - whatever it is, a failed or skipped test too, is raised when the server is left
            return self.failed(error)
        return fault

    def _fault_wanted(self, request: RecordedRequest) -> Fault | None:
        if callable(self.faults):
            return self.faults(request)
        if isinstance(self.faults, Mapping):
            return self.faults.get(request.number)
        return self.faults[request.number - 1] if request.number <= len(self.faults) else None


def _application(server: ProviderServer) -> Starlette:
    try:
        from starlette.applications import Starlette
        from starlette.routing import Route
    except ImportError as error:
        raise missing("starlette") from error
    return Starlette(
        routes=[
            Route("/v1/chat/completions", _Endpoint(server, "openai")),
            Route("/openai/v1/chat/completions", _Endpoint(server, "openai")),
            Route("/v1/messages", _Endpoint(server, "anthropic")),
        ]
    )


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """One path, as an ASGI application."""

    server: ProviderServer
    dialect: Dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.requests import Request

        http = Request(scope, receive)
        recorded = self.server.record(self.dialect, await http.body(), http.headers)
        if (page := _page_of(recorded)) is not None:
            await page(scope, receive, send)
            return
        match recorded.fault:
            case Hang():
                while (await receive())["type"] != "http.disconnect":
                    pass
            case Reset():
                reset(scope)
            case Latency(seconds=seconds):
                await asyncio.sleep(seconds)
                await self._answer(recorded, scope, receive, send)
            case _:
                await self._answer(recorded, scope, receive, send)

    async def _answer(self, recorded: RecordedRequest, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import JSONResponse

        try:
            built = self._built(recorded)
        except BaseException as error:  # noqa: BLE001 - see `ProviderServer._fault_of`
            recorded.fault = self.server.failed(error)
            await JSONResponse(recorded.fault.body, recorded.fault.code)(scope, receive, send)
            return
        if isinstance(built, bytes):
            await _send_whole(recorded, built, scope, send)
        else:
            await _send_events(recorded, built, scope, send)

    def _built(self, recorded: RecordedRequest) -> bytes | list[str]:
        """The body of an answer, or its events where a stream is wanted."""
        said = self.server.say(recorded.body)
        whole = completion(recorded.body, said) if self.dialect == "openai" else message(recorded.body, said)
        self.server.remember_signatures(whole)
        if isinstance(recorded.fault, EmptyChoices):
            whole["choices" if self.dialect == "openai" else "content"] = [] if self.dialect == "openai" else None
        elif recorded.body.get("stream"):
            events = completion_chunks(recorded.body, whole) if self.dialect == "openai" else message_events(whole)
            return _cut(events, recorded.fault)
        return to_json(whole)


def _page_of(recorded: RecordedRequest) -> ASGIApp | None:
    """The page that a fault answers with, if it is one that does."""
    from starlette.responses import HTMLResponse, JSONResponse

    match recorded.fault:
        case Status() as status:
            return JSONResponse(status.body or _error_body(status), status.code, dict(status.headers))
        case Html():
            return HTMLResponse(_PAGE)
        case ErrorInside() as inside:
            error = {"type": inside.type, "code": inside.code, "message": inside.message}
            return JSONResponse({"error": error} if recorded.dialect == "openai" else {"type": "error", "error": error})
        case _:
            return None


def _refusal(problem: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "code": None, "message": problem}}


def _error_body(status: Status) -> dict[str, Any]:
    kind = status.type or _TYPES.get(status.code) or _LATER_TYPES.get(status.code, "api_error")
    return {"type": "error", "error": {"type": kind, "code": kind, "message": f"status {status.code} on purpose"}}


def _cut(events: list[str], fault: Fault | None) -> list[str]:
    """The events that are sent."""
    if not isinstance(fault, TruncatedStream):
        return events
    sent = events[: fault.events]
    if fault.mid_event:
        sent.append(events[fault.events][: len(events[fault.events]) // 2] + "\n\n")
    if fault.error:
        error = to_json({"type": "error", "error": {"type": fault.error, "message": "an error in the middle"}}).decode()
        sent.append(f"event: error\ndata: {error}\n\n" if events[0].startswith("event:") else f"data: {error}\n\n")
    return sent


async def _send_whole(recorded: RecordedRequest, content: bytes, scope: Scope, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), _request_id(recorded)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if isinstance(recorded.fault, TruncatedBody):
        await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
        transport_of(scope).close()
        return
    if isinstance(recorded.fault, SlowStream):
        half = len(content) // 2
        for position, part in enumerate((content[:half], content[half:])):
            await _pause(recorded.fault, position)
            recorded.answered = position == 1
            await send({"type": "http.response.body", "body": part, "more_body": position == 0})
        return
    recorded.answered = not isinstance(recorded.fault, EmptyChoices)  # before the caller can have it, so that both agree
    await send({"type": "http.response.body", "body": content})


async def _send_events(recorded: RecordedRequest, events: list[str], scope: Scope, send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream"), _request_id(recorded)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for position, event in enumerate(events, start=1):
        await _pause(recorded.fault, position - 1)
        recorded.answered = position == len(events) and not isinstance(recorded.fault, TruncatedStream)
        await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
    if isinstance(recorded.fault, TruncatedStream) and not recorded.fault.clean:
        transport_of(scope).close()
        return
    await send({"type": "http.response.body", "body": b""})


async def _pause(fault: Fault | None, pieces: int) -> None:
    """Wait as a slow stream does after so many pieces."""
    if isinstance(fault, SlowStream) and pieces >= fault.at_once:
        await asyncio.sleep(fault.seconds)


def _request_id(recorded: RecordedRequest) -> tuple[bytes, bytes]:
    return (b"x-request-id" if recorded.dialect == "openai" else b"request-id", f"req_{recorded.number}".encode())
