"""`RateLimiter`: requests and tokens, reserved in one step before a call and settled with what it really used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from math import inf

from pydantic import BaseModel, ConfigDict, Field

from minference.errors import RequestTooLarge
from minference.inference.windows import SlidingWindow, Spending

MINUTE = 60.0
ARRIVAL_SLACK = 1.0
"""Seconds within which a request has reached the provider, if no reply says that it was there earlier."""

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


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


Limits = Mapping[str, RequestLimits] | RequestLimits | None
"""One for every model of every client, or by client name or `client/model`, the narrower first."""


class Reservation:
    """Room for one call. `settle` must be called once, when the call is over."""

    __slots__ = ("_bucket", "_settled", "input_tokens", "output_tokens", "spendings")

    def __init__(self, bucket: _Bucket | None, spendings: tuple[Spending, ...], input_tokens: int, output_tokens: int) -> None:
        self._bucket = bucket
        self._settled = False
        self.spendings = spendings
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens

    def settle(self, input_tokens: int | None = None, output_tokens: int | None = None) -> None:
        """Replace the estimates by what was used; `None` keeps an estimate. Settling again changes nothing."""
        if self._settled:
            return
        self._settled = True
        if input_tokens is not None:
            self.input_tokens = input_tokens
        if output_tokens is not None:
            self.output_tokens = output_tokens
        if self._bucket is not None:
            self._bucket.settle(self)


class RateLimiter:
    """Keeps every (client, model) within its limits, in this process.

    A call reserves its request and its estimated tokens in one step, in order of arrival: nobody overtakes, so nobody
    starves. Who waits, waits exactly until there is room; only the head of a line has a timer.

    Requests and input tokens count from their arrival at the provider, output and combined tokens from the reply.
    """

    def __init__(self, limits: Limits = None, *, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep) -> None:
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def now(self) -> float:
        """The limiter's clock, in seconds."""
        return self._clock()

    def check(self, client: str, model: str, *, input_tokens: int, output_tokens: int) -> None:
        """Return if `reserve` would sooner or later find room.

        Raises:
            RequestTooLarge: The limit is smaller than this one request.
        """
        self._bucket(client, model).amounts(input_tokens, output_tokens)

    async def reserve(self, client: str, model: str, *, input_tokens: int, output_tokens: int) -> Reservation:
        """Wait until there is room, and take it. A cancelled wait leaves the line as if it had never been there.

        Raises:
            RequestTooLarge: The limit is smaller than this one request, so waiting would never help.
        """
        return await self._bucket(client, model).reserve(input_tokens, output_tokens)

    def pause(self, client: str, model: str, until: float) -> None:
        """Let no call of this model begin before `until`, by the limiter's clock. Other models go on."""
        self._bucket(client, model).pause(until)

    def _bucket(self, client: str, model: str) -> _Bucket:
        key = (client, model)
        if (bucket := self._buckets.get(key)) is None:
            bucket = self._buckets[key] = _Bucket(limits_for(self._limits, client, model), self._clock, self._sleep)
        return bucket


def limits_for(limits: Limits, client: str, model: str) -> RequestLimits:
    """The limits of one model: those of `client/model`, else of `client`, else none."""
    if limits is None:
        return RequestLimits()
    if isinstance(limits, RequestLimits):
        return limits
    return limits.get(f"{client}/{model}") or limits.get(client) or RequestLimits()


class _Bucket:
    """One quota: its windows, the calls under way, and the line of those who wait."""

    def __init__(self, limits: RequestLimits, clock: Clock, sleep: Sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._max_in_flight = limits.max_in_flight or inf
        self._in_flight = 0
        self._paused_until = -inf
        self._windows = _windows(limits)
        self._line = asyncio.Lock()
        self._news = asyncio.Event()

    def amounts(self, input_tokens: int, output_tokens: int) -> list[int]:
        """What a call takes of each window."""
        amounts = [measure(input_tokens, output_tokens) for _, measure in self._windows]
        for (window, _), amount in zip(self._windows, amounts, strict=True):
            if amount > window.limit:
                raise RequestTooLarge(amount, window.limit, window.what)
        return amounts

    async def reserve(self, input_tokens: int, output_tokens: int) -> Reservation:
        amounts = self.amounts(input_tokens, output_tokens)
        async with self._line:
            while (moment := self._free_at(amounts, now := self._clock())) > now:
                await self._wait(moment - now)
            self._in_flight += 1
            spendings = tuple(window.spend(amount, now) for (window, _), amount in zip(self._windows, amounts, strict=True))
            return Reservation(self, spendings, input_tokens, output_tokens)

    def settle(self, reservation: Reservation) -> None:
        now = self._clock()
        self._in_flight -= 1
        for (window, measure), spending in zip(self._windows, reservation.spendings, strict=True):
            window.settle(spending, measure(reservation.input_tokens, reservation.output_tokens), now)
        self._news.set()

    def pause(self, until: float) -> None:
        self._paused_until = max(self._paused_until, until)

    def _free_at(self, amounts: list[int], now: float) -> float:
        if self._in_flight >= self._max_in_flight:
            return inf
        moment = max(now, self._paused_until)
        for (window, _), amount in zip(self._windows, amounts, strict=True):
            moment = max(moment, window.free_at(amount, now))
        return moment

    async def _wait(self, seconds: float) -> None:
        """Until the time is over or something was settled."""
        self._news.clear()
        if seconds == inf:
            await self._news.wait()
            return
        timer = asyncio.ensure_future(self._sleep(seconds))
        timer.add_done_callback(self._wake)
        try:
            await self._news.wait()
        finally:
            timer.remove_done_callback(self._wake)
            timer.cancel()

    def _wake(self, _timer: asyncio.Future[None]) -> None:
        self._news.set()


Measure = Callable[[int, int], int]


def _windows(limits: RequestLimits) -> tuple[tuple[SlidingWindow, Measure], ...]:
    kinds: list[tuple[str, int | None, float, Measure]] = [
        ("requests", limits.requests_per_minute, ARRIVAL_SLACK, lambda _input, _output: 1),
        ("input tokens", limits.input_tokens_per_minute, ARRIVAL_SLACK, lambda input_tokens, _output: input_tokens),
        ("output tokens", limits.output_tokens_per_minute, inf, lambda _input, output_tokens: output_tokens),
        ("tokens", limits.tokens_per_minute, inf, lambda input_tokens, output_tokens: input_tokens + output_tokens),
    ]
    return tuple(
        (SlidingWindow(what, limit, length=MINUTE, slack=slack), measure) for what, limit, slack, measure in kinds if limit is not None
    )
