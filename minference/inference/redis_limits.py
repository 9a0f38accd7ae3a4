"""`RedisQuotas`: quotas that several processes share, counted in Redis by its own clock.

Each step is one Lua script, so that requests and tokens are taken together or not at all. A process that waits is in a line
in Redis, and hears of news through a channel; one that died leaves the line after a few seconds, and its calls give their
room back when they can no longer be under way. Once Redis has answered, every process waits for it when it is away for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from math import ceil, inf
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from minference.errors import MissingExtra, SharedLimitsUnavailable
from minference.inference.buckets import ARRIVAL_SLACK, MINUTE, Bucket, Meter, Room, Wait
from minference.inference.limits import Quota, RequestLimits, concurrency_of, meters_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

TICKET_SECONDS = 5.0
"""After so long without a sign of life, a process that waits has lost its place."""
CALL_SECONDS = 900.0
"""After so long, a call whose process has not said that it is over is taken to be."""

_HEEDING = 0.1
"""Seconds in which what is cancelled ends, or has not heard of it."""
PATIENCE = 30.0
"""Seconds for which a Redis that has answered before may be away, as while it is started anew."""


class RedisQuotas:
    """Quotas in one Redis database: `RateLimiter(limits, shared=RedisQuotas("redis://host"))`.

    Every process should be told the same limits. What providers tell in headers of limits that nobody was told of is kept by
    each process for itself, and so is how many calls are under way at once after a provider was overloaded; pauses are shared.
    """

    def __init__(self, url: str, *, prefix: str = "minference", minute: float = MINUTE, ticket_seconds: float = TICKET_SECONDS) -> None:
        """Set up; nothing is connected.

        Args:
            url: As `redis.asyncio.from_url` takes it.
            prefix: What the names of all keys begin with.
            minute: Seconds in which the limits hold.
            ticket_seconds: How long a process that waits keeps its place without a sign of life.

        Raises:
            MissingExtra: The package `redis` is not installed.
        """
        try:
            from redis.asyncio import from_url
        except ImportError as error:
            raise MissingExtra("sharing limits between processes", "redis", "pip install 'minference[redis]'") from error
        self._redis: Redis = from_url(url)
        self._is_known = False
        """Whether it has answered, and not stayed away since; else there is little hope that it will."""
        self.is_closed = False
        self._prefix = prefix
        self._minute = minute
        self.ticket_seconds = ticket_seconds
        self._buckets: dict[str, _RedisBucket] = {}
        self._listener: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.arrivals: set[asyncio.TimerHandle] = set()
        """Of requests that have left and are not yet certain to have arrived."""
        self._scripts = {
            name: self._redis.register_script(files("minference.inference").joinpath(f"lua/{name}.lua").read_text(encoding="utf-8"))
            for name in ("take", "arrive", "settle", "observe")
        }

    def bucket(self, quota: Quota, limits: RequestLimits) -> Bucket:
        """See `Buckets.bucket`."""
        name = f"{self._prefix}:{{{'/'.join(filter(None, quota))}}}"  # the braces keep its keys on one node of a cluster
        made = self._buckets[name] = _RedisBucket(self, name, limits, meters_of(limits, self._minute))
        return made

    async def aclose(self) -> None:
        """Write what is still to be written, unless Redis is away, and close the connections."""
        self._is_known, self.is_closed = False, True
        for arrival in self.arrivals:
            arrival.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        while self._listener is not None and not self._listener.done():
            self._listener.cancel()  # `asyncio.wait_for` of Python 3.11, with which the package sends, can lose that
            await asyncio.wait((self._listener,), timeout=_HEEDING)
        await self._redis.aclose()

    async def run(self, script: str, name: str, *arguments: str | int) -> list[Any]:
        """What a script answers about a bucket.

        Raises:
            SharedLimitsUnavailable: Redis cannot be reached, for `PATIENCE` if it answered before, or it refused.
        """
        from redis.exceptions import RedisError

        async def answer() -> list[Any]:
            answered: list[Any] = await self._scripts[script](keys=[name], args=arguments)
            return answered

        try:
            try:
                answered = await answer()
            except (RedisError, OSError) as error:
                if not self._may_pass(error):
                    raise
                answered = await self._again(answer)
        except (RedisError, OSError) as error:
            self._is_known = False  # whoever waits in the line does not wait for it once more
            raise SharedLimitsUnavailable(f"{type(error).__name__}: {error}") from error
        self._is_known = True
        return answered

    async def _again(self, answer: Callable[[], Awaitable[list[Any]]]) -> list[Any]:
        import tenacity

        retrying = tenacity.AsyncRetrying(
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=1.0),
            stop=tenacity.stop_after_delay(PATIENCE),
            retry=tenacity.retry_if_exception(self._may_pass),
            reraise=True,
        )
        return await retrying(answer)

    def _may_pass(self, error: BaseException) -> bool:
        """Whether Redis may be back soon."""
        from redis import exceptions

        away = isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError)
        return away and self._is_known and not isinstance(error, exceptions.AuthenticationError)

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that nobody waits for, before the connections are closed."""

        async def quietly() -> None:
            with suppress(SharedLimitsUnavailable):  # what was taken is given back when its time is over
                await work

        self.begun(quietly())

    def begun(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do something that goes on, whatever becomes of who waits for it, and is over before the connections are closed."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def listen(self) -> None:
        """Hear of news from now on."""
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        from redis.exceptions import RedisError

        try:
            async with self._redis.pubsub() as channel:
                await channel.psubscribe(f"{self._prefix}:*:news")
                async for message in channel.listen():
                    told = message["channel"].decode().removesuffix(":news")
                    if (bucket := self._buckets.get(told)) is not None:
                        bucket.hear()
        except (RedisError, OSError):
            return  # whoever waits asks again after a while, and listens again


class _RedisBucket(Bucket):
    """One quota in Redis."""

    def __init__(self, quotas: RedisQuotas, name: str, limits: RequestLimits, meters: list[Meter]) -> None:
        super().__init__(meters, concurrency_of(limits), time.monotonic, asyncio.sleep)
        self._quotas = quotas
        self._name = name
        self._most = limits.max_in_flight if limits.max_in_flight is not None else -1
        self._ticket: str | None = None
        self._asked: tuple[_RedisRoom, asyncio.Task[list[Any]]] | None = None
        """The room that whoever is first in the line asked for last."""

    def hear(self) -> None:
        """Somebody gave something back."""
        self._news.set()

    async def _take(self, input_tokens: int, output_tokens: int) -> Room | Wait:
        self._quotas.listen()
        self._ticket = self._ticket or uuid4().hex
        amounts = tuple(meter.amount(input_tokens, output_tokens) for meter in self._meters)
        settings = (self._ticket, _ms(self._quotas.ticket_seconds), _ms(CALL_SECONDS), self._most)
        asked = [
            part
            for meter, amount in zip(self._meters, amounts, strict=True)
            for part in (_label(meter), meter.window.limit, _ms(meter.window.length), amount)
        ]
        room = _RedisRoom(self._quotas, self._name, self._ticket, tuple(zip(self._meters, amounts, strict=True)))
        # A cancellation of whoever waits does not reach what is under way: what that has changed would never be known.
        self._asked = room, (asking := self._quotas.begun(self._quotas.run("take", self._name, *settings, *asked)))
        taken, wait, told = await asyncio.shield(asking)
        if not taken:
            return Wait(min(max(int(wait), 1) / 1000, self._quotas.ticket_seconds / 2), int(told) / 1000)
        self._ticket = self._asked = None
        return room

    async def _leave(self) -> None:
        if self._asked is not None:
            self._quotas.later(_given_up(*self._asked))
            self._ticket = self._asked = None

    def _pause(self, seconds: float) -> None:
        self._quotas.later(self._quotas.run("observe", self._name, "pause", _ms(seconds)))

    def _observe(self, meter: Meter, used: int, until: float) -> None:
        left = _ms(until - self._clock())
        self._quotas.later(self._quotas.run("observe", self._name, _label(meter), left, used))


@dataclass(slots=True)
class _RedisRoom:
    quotas: RedisQuotas
    name: str
    ticket: str
    taken: tuple[tuple[Meter, int], ...]
    _arrival: asyncio.TimerHandle | None = None
    """When the request must have arrived, if it has left and nobody knows of it yet."""
    _is_told: bool = False
    """Whether Redis was told when it counts."""

    def leave(self) -> None:
        """See `Room.leave`. Redis is told when the request must have arrived, unless the call is over by then."""
        self._forget_arrival()
        if self.quotas.is_closed:
            return
        self._arrival = asyncio.get_running_loop().call_later(ARRIVAL_SLACK, self.arrive)
        self.quotas.arrivals.add(self._arrival)
        if self._is_told:  # it had arrived, and may count no more by now
            self._tell(ARRIVAL_SLACK)

    def arrive(self) -> None:
        """See `Room.arrive`."""
        if self._arrival is not None or not self._is_told:
            self._forget_arrival()
            self._tell(0.0)

    def _tell(self, delay: float) -> None:
        """Tell Redis that the request counts from so many seconds on."""
        self._is_told = True
        if counted := [(meter, amount) for meter, amount in self.taken if meter.slack < inf]:
            parts = [part for meter, amount in counted for part in (_label(meter), _ms(delay + meter.window.length), amount)]
            self.quotas.later(self.quotas.run("arrive", self.name, self.ticket, *parts))

    def settle(self, input_tokens: int, output_tokens: int, *, answered: bool) -> None:
        """See `Room.settle`."""
        delay = -1 if self._is_told and self._arrival is None else 0
        if self._arrival is not None and not answered:
            delay = _ms(self._arrival.when() - asyncio.get_running_loop().time())
        self._forget_arrival()
        self.quotas.later(self._settle([meter.used(input_tokens, output_tokens) for meter, _ in self.taken], delay))

    async def give_back(self) -> None:
        """Whatever was taken, it was not used; nor is there anybody in the line any more."""
        await self._settle([0] * len(self.taken), 0)

    async def _settle(self, used: Sequence[int], delay: int) -> None:
        """`delay`: milliseconds after which the provider must know of the request; -1 if it did before."""
        taken = zip(self.taken, used, strict=True)
        parts = [part for (meter, amount), now in taken for part in (_label(meter), _ms(meter.window.length), amount, now)]
        await self.quotas.run("settle", self.name, self.ticket, delay, *parts)

    def _forget_arrival(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self.quotas.arrivals.discard(self._arrival)
            self._arrival = None


async def _given_up(room: _RedisRoom, asking: asyncio.Task[list[Any]]) -> None:
    """Leave the line, or give everything back if there was room after all."""
    await asyncio.wait((asking,))
    if not asking.cancelled():
        asking.exception()  # whoever asked is told of it, or is gone
    await room.give_back()


def _ms(seconds: float) -> int:
    return ceil(max(seconds, 0.0) * 1000)


def _label(meter: Meter) -> str:
    return f"{meter.what.replace(' ', '-')}-{_ms(meter.window.length)}"
