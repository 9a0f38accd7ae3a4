"""`ModelCall`: a thread's next reply, through limits, retries and fallbacks. Nothing here touches a storage."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from minference.clients.base import Reply, Request, Response, TextDelta
from minference.clients.embedding import embed
from minference.ecs.identity import utc_now
from minference.ecs.registry import CurrentStorage
from minference.errors import InvalidReply, ProviderError, ProviderUnreachable
from minference.inference.drain import finish
from minference.inference.limits import RateLimiter, Reservation
from minference.inference.requests import Prepared, Renderer
from minference.inference.retries import Retrier, describe
from minference.threads.outputs import RawOutput
from minference.threads.thread import ChatThread

T = TypeVar("T")

IN_THREAD_VERSION = frozenset({"messages", "system", "tools"})
"""Parts of a request that are rendered from the thread version, so that a raw output need not repeat them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, and all that is to be known of how it came."""

    reply: Reply
    raw: RawOutput
    interrupted: bool = False
    """Whether the caller was cancelled while the reply was on its way: it is to be saved, then the cancellation goes on."""


@dataclass(frozen=True, slots=True)
class Line:
    """What calls to models need: shared by all threads."""

    renderer: Renderer
    limiter: RateLimiter
    retrier: Retrier
    storage: CurrentStorage
    """Where the bytes of attachments are."""
    drain_seconds: float
    """How long a reply that is on its way may still come after a cancellation."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request that has its room."""

    prepared: Prepared
    reservation: Reservation
    start: datetime = field(default_factory=utc_now)


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream that has begun."""

    sent: _Sent
    items: AsyncIterator[TextDelta | Response]
    first: TextDelta | Response


class ModelCall:
    """One reply for one thread, whose request was prepared from what the thread holds now."""

    def __init__(self, line: Line, prepared: Prepared, thread: ChatThread, failures: list[str]) -> None:
        self._line = line
        self._prepared = prepared
        self._thread = thread
        self._version = thread.ecs_id
        self._failures = failures
        """Gets one line per failed attempt."""
        self.received = ""
        """The text of a streamed reply so far."""

    async def answer(self) -> Answer:
        """The reply, or that of the first fallback which gives one.

        Raises:
            ProviderError: Nobody gave a reply; the error is the last one.
        """
        return await self._first_that_works(self._send)

    async def stream(self) -> AsyncGenerator[TextDelta | Answer, None]:
        """Like `answer`, giving text as it comes; the last item is the `Answer`.

        Retries and fallbacks end with the first piece of text: `received` holds what there was when it breaks.
        """
        stream = await self._first_that_works(self._begin)
        sent = stream.sent
        item: TextDelta | Response | None = stream.first
        try:
            while isinstance(item, TextDelta):
                self.received += item.text
                yield item
                item = await anext(stream.items, None)
            if item is None:
                raise InvalidReply(sent.prepared.client.name, "the stream ended without the whole reply")
            yield self._understand(sent, item)
        except ProviderError as error:
            self._refused(sent, error)
            self._failures.append(describe(error, (utc_now() - sent.start).total_seconds()))
            raise
        finally:
            sent.reservation.settle()
            await _close(stream.items)

    async def _first_that_works(self, send: Callable[[_Sent], Awaitable[T]]) -> T:
        """What `send` gives for the config or, where that cannot be reached, for a fallback."""
        failed: ProviderError | None = None
        for prepared in self._alternatives():
            try:
                return await self._line.retrier.call(lambda now=prepared: self._admit(now), send, self._failures)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            except ProviderError as error:
                if not error.retryable:
                    raise
                failed = error
        assert failed is not None, "there is at least one config"
        raise failed

    def _alternatives(self) -> Iterator[Prepared]:
        yield self._prepared
        for config in self._thread.llm_config.with_fallbacks()[1:]:
            yield self._line.renderer.prepare_fallback(self._thread, config)

    async def _admit(self, prepared: Prepared) -> _Sent:
        client, model = prepared.model
        output_tokens = prepared.config.max_tokens
        reservation = await self._line.limiter.reserve(client, model, input_tokens=prepared.input_tokens, output_tokens=output_tokens)
        return _Sent(prepared, reservation)

    async def _send(self, sent: _Sent) -> Answer:
        prepared = sent.prepared
        try:
            request = await self._whole(sent)
            done = await finish(prepared.client.send(request, timeout=prepared.config.timeout), self._line.drain_seconds)
            return self._understand(sent, done.result, interrupted=done.interrupted)
        except ProviderError as error:
            self._refused(sent, error)
            raise
        finally:
            sent.reservation.settle()

    async def _begin(self, sent: _Sent) -> _Stream:
        prepared = sent.prepared
        items: AsyncIterator[TextDelta | Response] | None = None
        try:
            items = prepared.client.stream(await self._whole(sent), timeout=prepared.config.timeout)
            first = await anext(items, None)
            if first is None:
                raise ProviderUnreachable(prepared.client.name, "the stream ended before it began", retryable=True)
            return _Stream(sent, items, first)
        except BaseException as error:
            if isinstance(error, ProviderError):
                self._refused(sent, error)
            sent.reservation.settle()
            if items is not None:
                await _close(items)
            raise

    async def _whole(self, sent: _Sent) -> Request:
        """The request with the bytes of its attachments, which it has for the time of one attempt."""
        request, blobs = sent.prepared.request, sent.prepared.blobs
        try:
            return embed(request, await self._line.storage.read_blobs(blobs)) if blobs else request
        except BaseException:
            sent.reservation.settle(0, 0)  # it never left
            raise

    def _understand(self, sent: _Sent, response: Response, *, interrupted: bool = False) -> Answer:
        prepared, end = sent.prepared, utc_now()
        reply = prepared.client.from_response(response.payload, prepared.request)
        if reply.usage is not None:
            sent.reservation.settle(reply.usage.prompt, reply.usage.completion)
            self._line.renderer.learn(prepared, reply.usage.prompt)
        parameters = {name: value for name, value in prepared.request.items() if name not in IN_THREAD_VERSION}
        raw = RawOutput(
            client=prepared.config.client,
            thread_version=self._version,
            request_parameters={**parameters, **response.sent_besides},
            request_sha256=hashlib.sha256(prepared.body).hexdigest(),
            raw_result=response.payload,
            start_time=sent.start,
            end_time=end,
            attempts=tuple(self._failures),
        )
        return Answer(reply, raw, interrupted)

    def _refused(self, sent: _Sent, error: ProviderError) -> None:
        """A refused request used no tokens; one that may have been served keeps its estimate."""
        if error.retry_after is not None:
            self._line.limiter.pause(*sent.prepared.model, self._line.limiter.now() + error.retry_after)
        if error.status is not None and error.status >= 400:
            sent.reservation.settle(0, 0)


async def _close(items: AsyncIterator[TextDelta | Response]) -> None:
    """Give back the connection of a stream that is not read to its end."""
    if isinstance(items, AsyncGenerator):
        await items.aclose()
