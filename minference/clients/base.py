"""What a provider is to the rest of minference: one call between two pure translations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, cast, runtime_checkable

from minference.threads.messages import FinishReason, ToolCall
from minference.threads.thread import ChatThread
from minference.usage import TokenUsage as TokenUsage

Request = dict[str, Any]
"""The arguments of one provider call, as JSON data; the bytes of attachments are put in last, see `embedding`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, in the same words for every provider."""

    content: str
    model: str
    finish_reason: FinishReason
    tool_calls: tuple[ToolCall, ...] = ()
    usage: TokenUsage | None = None
    reasoning: str | None = None
    reasoning_json: str | None = None
    """The provider's reasoning blocks as JSON text, to be sent back unchanged."""
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """One answer as it came."""

    payload: dict[str, Any]
    """The body, parsed from JSON once."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names."""
    sent_besides: Mapping[str, Any] = field(default_factory=dict)
    """What the body had beside the rendered request, because the answer was streamed."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of text of a reply that is still being written."""

    text: str


@runtime_checkable
class HasAccount(Protocol):
    """A client whose limits belong to a key, not to whoever calls."""

    def account(self) -> str:
        """Names the key without telling it; empty if there is none."""
        ...


@runtime_checkable
class HasServer(Protocol):
    """A client that sends its requests to a server."""

    def server_url(self) -> str:
        """Its URL."""
        ...


@runtime_checkable
class HasModelFile(Protocol):
    """A client that runs a model itself."""

    def model_file(self) -> str:
        """Names the file of the model, and tells it from others of that name."""
        ...


@runtime_checkable
class Opens(Protocol):
    """A client that has something to do once, before its first call, which would take up the time of that call."""

    async def open(self) -> None:
        """Return when it is done. Called before each call takes its room under the limits: at once if there is nothing to do."""


class Client(Protocol):
    """One provider behind its own SDK. Translations are pure; only `send` and `stream` do I/O.

    For one of your own see docs/formats.md; `minference.clients.transcript` says what of a thread is to be sent, as to every client.
    """

    name: str
    """The name that configs use."""

    def check(self) -> None:
        """Return if calls can be made.

        Raises:
            MissingKey: The API key is not in the environment.
            MissingExtra: An optional package is not installed.
        """

    def to_request(self, thread: ChatThread) -> Request:
        """The request for the thread's next reply. Pure: the thread is not changed.

        Take the messages from `messages_to_send(thread)`, not from `thread.history`: what the user says now is still in
        `new_message`, and a call of a tool may lack the result that providers insist on. `system_text` and `offer_of` say the rest.

        What a provider cannot give natively is asked for in another way, and `from_response` makes it what was wanted.

        Raises:
            ConfigurationError: The config asks for what this provider cannot do.
        """
        ...

    def from_response(self, payload: dict[str, Any], request: Request | None = None) -> Reply:
        """What an answer says to a request; without one, to a request for text without tools. Pure.

        Raises:
            InvalidReply: The answer is not what the provider promises.
        """
        ...

    async def send(self, request: Request, *, timeout: float) -> Response:
        """Make one attempt at one call; `timeout` in seconds. Never retries.

        Raises:
            ProviderError: What went wrong, as attributes.
            BlobNotLoaded: The request has attachments whose bytes are neither in it nor in memory.
        """
        ...

    def stream(self, request: Request, *, timeout: float) -> AsyncIterator[TextDelta | Response]:
        """Like `send`, giving text as it comes; the last item is the whole `Response`, as `send` would give it."""
        ...

    async def aclose(self) -> None:
        """Close connections and child processes."""


def account_of(client: Client) -> str:
    """Names the key to which the client's limits belong, without telling it; empty if they belong to whoever calls."""
    return cast(HasAccount, client).account() if _meets(type(client), HasAccount) else ""


def server_of(client: Client) -> str | None:
    """The URL of the server to which the client sends its requests; `None` if there is none."""
    return cast(HasServer, client).server_url() if _meets(type(client), HasServer) else None


async def opened(client: Client) -> None:
    """What the client has to do before its first call is done."""
    if _meets(type(client), Opens):
        await cast(Opens, client).open()


@cache
def _meets(cls: type, protocol: type) -> bool:
    """Whether a class has what a protocol asks for: too dear to be found out for every call."""
    return issubclass(cls, protocol)
