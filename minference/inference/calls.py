"""`ModelCall`: a thread's next reply, through limits, retries and fallbacks. Nothing here touches a storage."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from minference.clients.allowances import allowances
from minference.clients.base import Reply, Request, Response, TextDelta, TokenUsage, opened
from minference.clients.departure import told_of_departure
from minference.clients.embedding import embed
from minference.clients.parsing import Understanding
from minference.ecs.identity import utc_now
from minference.ecs.registry import CurrentStorage
from minference.errors import InvalidReply, ProviderError, ProviderUnreachable
from minference.inference.attempts import NO_TOKENS, Attempt
from minference.inference.budgets import NOTHING, Budget, Estimate, Hold
from minference.inference.caching import Flight, Known, OpenCache
from minference.inference.drain import CancelledByUs, finish
from minference.inference.limits import RateLimiter
from minference.inference.observing import within
from minference.inference.prices import PriceList
from minference.inference.requests import Prepared, Renderer
from minference.inference.retries import Retrier, describe, is_overload, may_be_answered_elsewhere
from minference.inference.telemetry import ChatOperation, Telemetry
from minference.threads.outputs import RawOutput
from minference.threads.thread import ChatThread

T = TypeVar("T")

logger = logging.getLogger(__name__)

IN_THREAD_VERSION = frozenset({"messages", "system", "tools"})
"""Parts of a request that are rendered from the thread version, so that a raw output need not repeat them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, and all that is to be known of how it came."""

    prepared: Prepared
    """The request that it answers."""
    reply: Reply
    raw: RawOutput
    interrupted: bool = False
    """Whether the caller was cancelled while the reply was on its way: it is to be saved, then the cancellation goes on."""
    cost: float | None = None
    """In US dollars; `None` if the price is unknown."""

    @property
    def tokens(self) -> int:
        """What it used, as far as the provider has counted; nothing if it was given before."""
        used = self.reply.usage
        return 0 if used is None or self.raw.from_cache else used.prompt + used.completion


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
    prices: PriceList
    telemetry: Telemetry
    budget: Budget | None = None
    """What this call of the orchestrator may spend."""
    cache: OpenCache | None = None
    """Where replies are that may be given again."""

    def estimate(self, prepared: Prepared) -> Estimate:
        """The most that a request is expected to use."""
        client, model = prepared.model
        usage, least = (TokenUsage(prompt, prepared.config.max_tokens) for prompt in (prepared.input_tokens, prepared.least_input_tokens))
        cost = self.prices.cost(client, model, usage)
        least_cost = cost if least == usage else self.prices.cost(client, model, least)
        return Estimate(client, model, usage.prompt + usage.completion, cost, least.prompt + least.completion, least_cost)

    async def check(self, prepared: Prepared, thread: ChatThread) -> None:
        """Return if the request can be sent and the budget allows it, or if its reply is there already.

        Raises:
            ConfigurationError: A client of its config or of a fallback is not ready.
            RequestTooLarge: The request exceeds a limit by itself, and one of each fallback does.
            BudgetExceeded: It does not.
            UnknownPrice: There is a limit in dollars, and nobody knows what the call costs.
        """
        if self.cache is not None and await self.cache.knows(prepared):
            return
        first = self.renderer.check(prepared, thread)
        if self.budget is not None:
            self.budget.check(self.estimate(first))

    async def admit(self, prepared: Prepared) -> Attempt:
        """Wait for room in the budget and under the limits of the provider, and take it."""
        self.renderer.fit(prepared)
        await opened(prepared.client)
        hold = await self.budget.hold(self.estimate(prepared)) if self.budget is not None else Hold(None, 0, 0.0)
        try:
            client, model = prepared.model
            output_tokens = prepared.config.max_tokens
            reservation = await self.limiter.reserve(
                client,
                model,
                input_tokens=prepared.input_tokens,
                output_tokens=output_tokens,
                least_input_tokens=prepared.least_input_tokens,
                account=prepared.account,
                patience=self.retrier.policy.max_seconds,
            )
        except BaseException:
            hold.settle(0, 0.0)
            raise
        return Attempt(prepared, reservation, hold)


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream that has begun."""

    sent: Attempt
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
        self.in_vain = NOTHING
        """What failed attempts used, as far as the provider counted them."""
        self._flight: Flight | None = None

    async def answer(self) -> Answer:
        """The reply, or that of the first fallback which gives one.

        Raises:
            ProviderError: Nobody gave a reply; the error is the last one.
        """
        chat, answer = await self._first_that_works(self._send, streaming=False)
        chat.answered(answer.reply, answer.raw.raw_result, answer.cost, from_cache=answer.raw.from_cache)
        return answer

    async def stream(self) -> AsyncGenerator[TextDelta | Answer, None]:
        """Like `answer`, giving text as it comes; the last item is the `Answer`.

        Retries and fallbacks end with the first piece of text: `received` holds what there was when it breaks.
        """
        chat, stream = await self._first_that_works(self._begin, streaming=True)
        if isinstance(stream, Answer):
            self.received = stream.reply.content
            chat.answered(stream.reply, stream.raw.raw_result, stream.cost, from_cache=True)
            if self.received:
                yield TextDelta(self.received)
            yield stream
            return
        chat.streams()
        try:
            async with aclosing(within(chat.active, self._read(stream, chat))) as items:
                async for item in items:
                    if isinstance(item, Answer):
                        chat.answered(item.reply, item.raw.raw_result, item.cost)
                    yield item
        except BaseException as error:
            chat.end(error)
            raise

    async def _read(self, stream: _Stream, chat: ChatOperation) -> AsyncGenerator[TextDelta | Answer, None]:
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
        except (ProviderError, asyncio.CancelledError, GeneratorExit) as error:
            self._failures.append(describe(error, (utc_now() - sent.start).total_seconds()))
            if isinstance(error, ProviderError):
                self._refused(sent, error)
                chat.failed_once(error)
            raise
        finally:
            sent.settle()
            await _close(stream.items)

    async def keep(self, answer: Answer, holder: UUID) -> None:
        """Let the reply, which is saved, be given to whoever asks the same."""
        if (cache := self._line.cache) is None or answer.raw.from_cache:
            return
        kept = await cache.keep(answer.prepared, answer.raw.raw_result, holder)
        if self._flight is not None:
            self._flight.land(kept)

    def close(self) -> None:
        """Let nobody wait for this call any longer."""
        if self._flight is not None:
            self._flight.land()

    async def _given_before(self, prepared: Prepared, *, streaming: bool) -> Answer | None:
        """The reply that is there, or on its way. Nobody waits for a stream, whose reader may be slow."""
        if (cache := self._line.cache) is None:
            return None
        found = await (cache.find(prepared) if streaming else cache.find_or_fly(prepared))
        if isinstance(found, Known):
            return self._again(prepared, found)
        self._flight = found
        return None

    async def _first_that_works(self, send: Callable[[Attempt], Awaitable[T]], *, streaming: bool) -> tuple[ChatOperation, T | Answer]:
        """What `send` gives for the config or, where that cannot answer, for a fallback. A request that is wrong is so everywhere."""
        failed: BaseException | None = None
        try:
            for prepared in self._alternatives():
                if failed is not None:
                    logger.warning("asking %s/%s instead of who failed before", *prepared.model)
                chat = self._line.telemetry.chat(prepared, self._thread, streaming=streaming)
                try:
                    with chat.active():
                        known = await self._given_before(prepared, streaming=streaming)
                        return chat, known if known is not None else await self._tried(prepared, send, chat)
                except BaseException as error:
                    self.close()
                    chat.end(error)
                    if not may_be_answered_elsewhere(error):
                        raise
                    failed = error
            assert failed is not None, "there is at least one config"
            raise failed
        finally:
            failed = None  # which holds this frame

    async def _tried(self, prepared: Prepared, send: Callable[[Attempt], Awaitable[T]], chat: ChatOperation) -> T:
        """What `send` gives, as often as it is worth a try."""

        async def attempt(sent: Attempt) -> T:
            chat.sent()
            logger.debug("asking %s/%s", *prepared.model, extra={"input_tokens": prepared.input_tokens})
            try:
                result = await send(sent)
            except ProviderError as error:
                chat.failed_once(error)
                raise
            logger.debug("%s/%s answers", *prepared.model)
            return result

        return await self._line.retrier.call(lambda: self._line.admit(prepared), attempt, self._failures)

    def _alternatives(self) -> Iterator[Prepared]:
        yield self._prepared
        for config in self._thread.llm_config.with_fallbacks()[1:]:
            yield self._line.renderer.prepare_fallback(self._thread, config)

    async def _send(self, sent: Attempt) -> Answer:
        prepared, interrupted = sent.prepared, False
        try:
            request = await self._whole(sent)
            with CancelledByUs(prepared.client.name), told_of_departure(sent.reservation.leave):
                done = await finish(prepared.client.send(request, timeout=prepared.config.timeout), self._line.drain_seconds)
            interrupted = done.interrupted
            return self._understand(sent, done.result, interrupted=interrupted)
        except ProviderError as error:
            self._refused(sent, error)
            if interrupted:
                raise asyncio.CancelledError from error
            raise
        except asyncio.CancelledError as cancelled:
            if isinstance(failed := cancelled.__cause__, ProviderError):  # that is how it ended while it was waited for
                self._refused(sent, failed)
            raise
        finally:
            sent.settle()

    async def _begin(self, sent: Attempt) -> _Stream:
        prepared = sent.prepared
        items: AsyncIterator[TextDelta | Response] | None = None
        try:
            items = prepared.client.stream(await self._whole(sent), timeout=prepared.config.timeout)
            with CancelledByUs(prepared.client.name), told_of_departure(sent.reservation.leave):
                first = await anext(items, None)
            if first is None:
                raise ProviderUnreachable(prepared.client.name, "the stream ended before it began", retryable=True)
            sent.reservation.heard()
            sent.reservation.arrive()
            return _Stream(sent, items, first)
        except BaseException as error:
            if isinstance(error, ProviderError):
                self._refused(sent, error)
            sent.settle()
            if items is not None:
                await _close(items)
            raise

    async def _whole(self, sent: Attempt) -> Request:
        """The request with the bytes of its attachments, which it has for the time of one attempt."""
        request, blobs = sent.prepared.request, sent.prepared.blobs
        try:
            return embed(request, await self._line.storage.read_blobs(blobs)) if blobs else request
        except BaseException:
            sent.settle(NO_TOKENS, 0.0)  # it never left
            raise

    def _understand(self, sent: Attempt, response: Response, *, interrupted: bool = False) -> Answer:
        prepared = sent.prepared
        with Understanding(prepared.client.name):
            reply = prepared.client.from_response(response.payload, prepared.request)
            cost = None if reply.usage is None else self._cost(prepared, reply, reply.usage, sent.start)
            raw = self._raw(prepared, response, sent.start)
        if reply.usage is not None:
            sent.settle(reply.usage, cost, answered=True)
            self._line.renderer.learn(prepared, reply.usage.prompt)
        sent.settle(answered=True)  # by the estimate, if nobody says more
        sent.reservation.succeeded(reply.usage.completion if reply.usage else 1)
        sent.reservation.learn(allowances(response.headers))
        return Answer(prepared, reply, raw, interrupted, cost)

    def _again(self, prepared: Prepared, known: Known) -> Answer:
        """A reply that was given before, which costs nothing."""
        raw = self._raw(prepared, Response(known.payload), utc_now(), from_cache=True)
        return Answer(prepared, known.reply, raw, cost=0.0)

    def _raw(self, prepared: Prepared, response: Response, start: datetime, *, from_cache: bool = False) -> RawOutput:
        parameters = {name: value for name, value in prepared.request.items() if name not in IN_THREAD_VERSION}
        return RawOutput(
            client=prepared.config.client,
            thread_version=self._version,
            request_parameters={**parameters, **response.sent_besides},
            request_sha256=hashlib.sha256(prepared.body).hexdigest(),
            raw_result=response.payload,
            start_time=start,
            end_time=utc_now(),
            attempts=tuple(self._failures),
            from_cache=from_cache,
        )

    def _cost(self, prepared: Prepared, reply: Reply, usage: TokenUsage, at: datetime) -> float | None:
        """By the name that the provider gives the model, or by ours."""
        client, asked = prepared.model
        answered = self._line.prices.cost(client, reply.model, usage, at=at)
        if answered is not None or reply.model == asked:
            return answered
        return self._line.prices.cost(client, asked, usage, at=at)

    def _refused(self, sent: Attempt, error: ProviderError) -> None:
        """Count what the attempt used, and learn what the provider says of its limits. One that may have been served keeps its estimate."""
        told = allowances(error.headers)
        sent.reservation.learn(told)
        if is_overload(error):
            exhausted = [each.reset for each in told if each.remaining == 0 and each.reset is not None]
            pause = error.retry_after if error.retry_after is not None else max(exhausted, default=None)
            sent.reservation.overloaded(pause, self._line.retrier.policy.between_calls)
            logger.info("%s/%s has too much to do", *sent.prepared.model, extra={"pause": pause})
        else:
            sent.reservation.heard()
        if error.retry_after is not None and not is_overload(error):
            until = self._line.limiter.now() + error.retry_after
            self._line.limiter.pause(*sent.prepared.model, until, account=sent.prepared.account)
            logger.info("%s/%s asks for a pause", *sent.prepared.model, extra={"pause": error.retry_after})
        if (used := sent.used_in_vain(error, begun=bool(self.received))) is not None:
            sent.settle(used, self._cost_in_vain(sent, used), answered=error.status is not None)
        if error.usage is not None:
            tokens = error.usage.prompt + error.usage.completion
            self.in_vain = self.in_vain.plus(tokens, self._cost_in_vain(sent, error.usage), replies=0)

    def _cost_in_vain(self, sent: Attempt, used: TokenUsage) -> float | None:
        return 0.0 if used == NO_TOKENS else self._line.prices.cost(*sent.prepared.model, used, at=sent.start)


async def _close(items: AsyncIterator[TextDelta | Response]) -> None:
    """Give back the connection of a stream that is not read to its end."""
    if isinstance(items, AsyncGenerator):
        await items.aclose()
