"""`RateLimiter`: requests and tokens, reserved in one step before a call and settled with what it really used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from minference.clients.allowances import Allowance, Measured
from minference.errors import ProviderPaused
from minference.inference.arguments import a_map
from minference.inference.backoff import Pauses
from minference.inference.buckets import MINUTE as MINUTE
from minference.inference.buckets import Bucket, Clock, LocalBucket, Meter, Room, Sleep
from minference.inference.concurrency import Concurrency


class RequestLimits(BaseModel):
    """What one provider allows for one model and key; `None` where it sets no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: int | None = Field(default=None, ge=1)
    input_tokens_per_minute: int | None = Field(default=None, ge=1)
    output_tokens_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Input and output together, for providers that count them so."""
    max_in_flight: int | None = Field(default=None, ge=1)
    """Calls that may be under way at once."""
    smooth_seconds: float | None = Field(default=None, gt=0, lt=60, allow_inf_nan=False)
    """Also spread what is allowed in a minute over spans of so many seconds, for providers that look at shorter times."""
    watch_latency: bool = False
    """Whether fewer calls are made when replies take more than twice as long as at their best, for servers that never say
    that they have too much to do (vLLM)."""


Limits = Mapping[str, RequestLimits] | RequestLimits | None
"""One for every model of every client, or by client name or `client/model`, the narrower first."""


class Quota(NamedTuple):
    """Whose calls are counted together."""

    client: str
    model: str
    account: str = ""
    """Names the key without telling it."""


class Reservation:
    """Room for one call. `settle` must be called once, when the call is over."""

    __slots__ = ("_answered", "_bucket", "_room", "_settled", "input_tokens", "output_tokens", "sent")

    def __init__(self, bucket: Bucket, room: Room, input_tokens: int, output_tokens: int, sent: float) -> None:
        self._bucket = bucket
        self._room = room
        self._settled = self._answered = False
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.sent = sent
        """By the limiter's clock."""

    def leave(self) -> None:
        """The request has left for the provider; it may leave again, when it is sent on.

        A thread that cannot be stopped may send it after the call was given up.
        """
        if not self._answered:
            self._bucket.leave(self._room)

    def arrive(self) -> None:
        """The provider knows of the request: the answer begins."""
        if not self._settled:
            self._bucket.arrive(self._room)

    def settle(self, input_tokens: int | None = None, output_tokens: int | None = None, *, answered: bool = True) -> None:
        """Replace the estimates by what was used; `None` keeps an estimate. Settling again changes nothing.

        Without an answer, the provider may still be about to count what has just left.
        """
        if self._settled:
            return
        self._settled, self._answered = True, answered
        if input_tokens is not None:
            self.input_tokens = input_tokens
        if output_tokens is not None:
            self.output_tokens = output_tokens
        self._bucket.settle(self._room, self.input_tokens, self.output_tokens, answered=answered)

    def succeeded(self, output_tokens: int) -> None:
        """The call was answered: there may be more at once."""
        self._bucket.succeeded(self.sent, output_tokens)

    def heard(self) -> None:
        """The call was let in, whatever becomes of it."""
        self._bucket.heard(self.sent)

    def overloaded(self, pause: float | None, between: Pauses) -> None:
        """The provider has too much to do: there are fewer calls at once, and none before so many seconds.

        If it names no time, and nothing goes through any longer, calls begin with more and more seconds `between` them.
        """
        self._bucket.overloaded(self.sent, pause, between)

    def learn(self, told: Sequence[Allowance]) -> None:
        """What the provider said of its limits in the answer to this call."""
        self._bucket.learn(told, self.sent)


class Buckets(Protocol):
    """Where quotas are kept, if not in this process."""

    def bucket(self, quota: Quota, limits: RequestLimits) -> Bucket:
        """The one of this quota."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


class RateLimiter:
    """Keeps every (client, model, key) within its limits.

    A call reserves its request and its estimated tokens in one step, in order of arrival: nobody overtakes, so nobody
    starves. Who waits, waits exactly until there is room; only the head of a line has a timer.

    Requests and input tokens count from their arrival at the provider, which is soon after they have left; of a call that never
    says that it has, they count from the reply, as output and combined tokens always do. What providers tell in their headers is
    kept as well, where it is narrower or nothing else is known.
    """

    def __init__(
        self, limits: Limits = None, *, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep, shared: Buckets | None = None
    ) -> None:
        self._limits = checked_limits(limits)
        self._clock = clock
        self._sleep = sleep
        self._shared = shared
        self._buckets: dict[Quota, Bucket] = {}

    def now(self) -> float:
        """The limiter's clock, in seconds."""
        return self._clock()

    def check(self, client: str, model: str, *, input_tokens: int, output_tokens: int, account: str = "") -> None:
        """Return if `reserve` would sooner or later find room.

        Raises:
            RequestTooLarge: The limit is smaller than this one request.
        """
        self._bucket(Quota(client, model, account)).check(input_tokens, output_tokens)

    async def reserve(
        self,
        client: str,
        model: str,
        *,
        input_tokens: int,
        output_tokens: int,
        least_input_tokens: int | None = None,
        account: str = "",
        patience: float = inf,
    ) -> Reservation:
        """Wait until there is room, and take it. A cancelled wait leaves the line as if it had never been there.

        Args:
            client: Who is asked.
            model: Which of its models.
            input_tokens: Of the request, estimated.
            output_tokens: The most that the reply may have.
            least_input_tokens: What decides whether the request is too large, if it is less certain that it has more. If it is too large
                only by `input_tokens`, it waits for the whole limit.
            account: Names the key without telling it.
            patience: Seconds that a provider may want to be left alone, a minute at least. Waiting for room has no bound.

        Raises:
            RequestTooLarge: The limit is smaller than this one request, so waiting would never help.
            ProviderPaused: The provider wants to be left alone for longer.
        """
        bucket = self._bucket(Quota(client, model, account))
        bucket.check(input_tokens if least_input_tokens is None else least_input_tokens, output_tokens)
        room = await bucket.reserve(input_tokens, output_tokens, patience)
        if isinstance(room, float):
            raise ProviderPaused(client, model, room, patience)
        return Reservation(bucket, room, input_tokens, output_tokens, self._clock())

    def pause(self, client: str, model: str, until: float, *, account: str = "") -> None:
        """Let no call of this model begin before `until`, by the limiter's clock, or for an hour. Other models go on."""
        self._bucket(Quota(client, model, account)).pause(until - self._clock())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of what is shared with other processes."""
        if self._shared is not None:
            await self._shared.aclose()

    def _bucket(self, quota: Quota) -> Bucket:
        if (bucket := self._buckets.get(quota)) is None:
            limits = limits_for(self._limits, quota.client, quota.model)
            made = self._shared.bucket(quota, limits) if self._shared is not None else None
            bucket = self._buckets[quota] = made or LocalBucket(meters_of(limits), concurrency_of(limits), self._clock, self._sleep)
        return bucket


def checked_limits(limits: Limits) -> Limits:
    """The limits that were passed.

    Raises:
        WrongArgument: They are none.
    """
    if limits is None or isinstance(limits, RequestLimits):
        return limits
    return a_map("limits", limits, RequestLimits, "{'openai': RequestLimits(requests_per_minute=60)}")


def limits_for(limits: Limits, client: str, model: str) -> RequestLimits:
    """The limits of one model: those of `client/model`, else of `client`, else none."""
    if limits is None:
        return RequestLimits()
    if isinstance(limits, RequestLimits):
        return limits
    return limits.get(f"{client}/{model}") or limits.get(client) or RequestLimits()


def meters_of(limits: RequestLimits, minute: float = MINUTE) -> list[Meter]:
    """What has to be counted so that the limits hold."""
    kinds: list[tuple[Measured, int | None]] = [
        ("requests", limits.requests_per_minute),
        ("input tokens", limits.input_tokens_per_minute),
        ("output tokens", limits.output_tokens_per_minute),
        ("tokens", limits.tokens_per_minute),
    ]
    meters = [Meter(what, limit, length=minute) for what, limit in kinds if limit is not None]
    if (span := limits.smooth_seconds) is not None:
        meters += [Meter(what, max(1, int(limit * span / MINUTE)), length=span) for what, limit in kinds if limit is not None]
    return meters


def concurrency_of(limits: RequestLimits) -> Concurrency:
    """How many calls may be under way at once, at first."""
    return Concurrency(inf if limits.max_in_flight is None else limits.max_in_flight, watch_latency=limits.watch_latency)
