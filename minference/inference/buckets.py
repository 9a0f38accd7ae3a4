"""`Bucket`: one quota. Its meters, the calls under way, and the line of those who wait."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from minference.clients.allowances import Allowance, Measured
from minference.errors import RequestTooLarge
from minference.inference.backoff import SHORT_PAUSE, Backoff, Pauses
from minference.inference.concurrency import Concurrency
from minference.inference.windows import SlidingWindow, Spending

MINUTE = 60.0
ARRIVAL_SLACK = 1.0
"""Seconds after its departure within which a request has reached the provider, if no reply says that it was there earlier."""
LONGEST_PAUSE = 3600.0
"""Seconds for which a provider is believed that it wants to be left alone; then one call asks again."""
_SLACK: dict[Measured, float] = {"requests": ARRIVAL_SLACK, "input tokens": ARRIVAL_SLACK, "output tokens": inf, "tokens": inf}

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class Meter:
    """One thing that is limited, and how much of it was used lately."""

    def __init__(self, what: Measured, limit: int, *, length: float = MINUTE, told: bool = False) -> None:
        self.what = what
        self.slack = _SLACK[what]
        """Seconds after the departure of a request within which the provider has counted it."""
        self.window = SlidingWindow(what, limit, length=length, slack=self.slack)
        self.capped = told or length < MINUTE
        """Whether a larger amount waits for the whole limit: only what the application said by itself is certain."""
        self._given = inf if told else limit

    def narrow(self, limit: int) -> None:
        """The provider says that this is the limit; what the application said may be narrower."""
        self.capped = self.capped or limit < self._given
        self.window.limit = max(1, int(min(self._given, limit)))

    def check(self, input_tokens: int, output_tokens: int) -> None:
        """Return if there will be room for a call sooner or later.

        Raises:
            RequestTooLarge: It takes more than there will ever be.
        """
        if (amount := self.used(input_tokens, output_tokens)) > self.window.limit and not self.capped:
            raise RequestTooLarge(amount, self.window.limit, self.what)

    def amount(self, input_tokens: int, output_tokens: int) -> int:
        """What has to be free for a call: all of it, if the call may take more."""
        return min(self.used(input_tokens, output_tokens), self.window.limit)

    def used(self, input_tokens: int, output_tokens: int) -> int:
        """What a call took of it, however much."""
        return {"requests": 1, "input tokens": input_tokens, "output tokens": output_tokens}.get(self.what, input_tokens + output_tokens)


class Room(Protocol):
    """What a call was given."""

    def leave(self) -> None:
        """The request has left for the provider."""
        ...

    def arrive(self) -> None:
        """The provider knows of the request."""
        ...

    def settle(self, input_tokens: int, output_tokens: int, *, answered: bool) -> None:
        """Give it back, except for what was used. Whether the provider has answered, so that it must know of the request."""
        ...


@dataclass(frozen=True, slots=True)
class Wait:
    """There is no room yet."""

    seconds: float
    """After which it is worth asking again, if there is no news before."""
    told: float = 0.0
    """Seconds for which the provider itself wants nothing: it asked for a pause, or said that others have used everything."""


class Bucket(ABC):
    """See the module; where the numbers are kept is up to the subclass."""

    def __init__(self, meters: Sequence[Meter], concurrency: Concurrency, clock: Clock, sleep: Sleep) -> None:
        self._meters = list(meters)
        self._concurrency = concurrency
        self._clock = clock
        self._sleep = sleep
        self._backoff = Backoff()
        self._in_flight = 0
        self._asked_until = -inf
        """Until when the provider wants to be left alone by its own words, however absurd: for messages."""
        self._line = asyncio.Lock()
        self._news = asyncio.Event()

    @abstractmethod
    async def _take(self, input_tokens: int, output_tokens: int) -> Room | Wait:
        """Room for a call, or how long there will be none."""

    @abstractmethod
    async def _leave(self) -> None:
        """Whoever was first in the line is there no more."""

    @abstractmethod
    def _pause(self, seconds: float) -> None:
        """Let no call begin for so long."""

    def pause(self, seconds: float) -> None:
        """Let no call begin for so long, or for `LONGEST_PAUSE`."""
        self._asked_until = max(self._asked_until, self._clock() + seconds)
        self._pause(min(seconds, LONGEST_PAUSE))

    def check(self, input_tokens: int, output_tokens: int) -> None:
        """Return if there will be room sooner or later.

        Raises:
            RequestTooLarge: There will not.
        """
        for meter in self._meters:
            meter.check(input_tokens, output_tokens)

    async def reserve(self, input_tokens: int, output_tokens: int, patience: float = inf) -> Room | float:
        """Wait until there is room, and take it; in order of arrival. A call that is larger than a limit takes all of that.

        The seconds for which the provider wants to be left alone, if those are more than `patience` and than the minute which
        any limit may take.
        """
        async with self._line:
            try:
                if self._meters:
                    # Whoever was let out before sends first. A thousand that were let out at once would leave seconds later, one
                    # after the other, and hold their places for so much longer.
                    await asyncio.sleep(0)
                while True:
                    self._news.clear()
                    seconds = self._backoff.wait(self._clock()) or inf
                    if seconds == inf and self._concurrency.has_room(self._in_flight):
                        taken = await self._take(input_tokens, output_tokens)
                        if not isinstance(taken, Wait):
                            self._in_flight += 1
                            self._backoff.sent(self._clock())
                            return taken
                        if taken.told > max(patience, MINUTE):
                            await self._leave()
                            return max(taken.told, self._asked_until - self._clock())
                        seconds = taken.seconds
                    await self._wait(seconds)
            except BaseException:
                await self._leave()
                raise

    def leave(self, room: Room) -> None:
        """A call has left for the provider."""
        room.leave()

    def arrive(self, room: Room) -> None:
        """The provider knows of a call, which goes on."""
        room.arrive()

    def settle(self, room: Room, input_tokens: int, output_tokens: int, *, answered: bool) -> None:
        """A call is over, and used so much."""
        self._in_flight -= 1
        room.settle(input_tokens, output_tokens, answered=answered)
        self._news.set()

    def succeeded(self, sent: float, output_tokens: int) -> None:
        """A call was answered."""
        self.heard(sent)
        self._concurrency.succeeded(self._in_flight, sent=sent, now=self._clock(), tokens=output_tokens)

    def heard(self, sent: float) -> None:
        """A call was let in, whatever becomes of it."""
        self._backoff.answered(sent=sent)
        self._news.set()

    def overloaded(self, sent: float, pause: float | None, between: Pauses) -> None:
        """A call was refused because there were too many."""
        if not self._backoff.is_on:  # else one call asks for all, and tells nothing of how many there can be at once
            self._concurrency.overloaded(self._in_flight, sent=sent, now=self._clock(), ramp=pause is not None)
        if pause is not None:
            self.pause(pause)
        if pause is None or pause < SHORT_PAUSE:
            self._backoff.refused(between, sent=sent, now=self._clock())

    def learn(self, told: Sequence[Allowance], sent: float) -> None:
        """What the provider said of its limits in the answer to a call."""
        now = self._clock()
        for each in told:
            meter = next((meter for meter in self._meters if meter.what == each.what and meter.window.length == MINUTE), None)
            if meter is None and each.limit is not None:
                meter = Meter(each.what, max(1, each.limit), told=True)
                self._meters.append(meter)
            elif meter is not None and each.limit is not None:
                meter.narrow(each.limit)
            asked = sent + (MINUTE if each.reset is None else each.reset)
            if each.remaining is None or asked <= now:
                continue
            until = min(asked, now + LONGEST_PAUSE)
            if each.remaining == 0:
                self._asked_until = max(self._asked_until, asked)
            if meter is not None:
                limit = each.limit if each.limit is not None else meter.window.limit
                self._observe(meter, limit - each.remaining, until)
            elif each.remaining == 0:
                self.pause(until - now)

    @abstractmethod
    def _observe(self, meter: Meter, used: int, until: float) -> None:
        """The provider says that so much is used until then."""

    async def _wait(self, seconds: float) -> None:
        """Until the time is over or something was settled."""
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


class LocalBucket(Bucket):
    """A quota of which this process is the only user that matters."""

    _paused_until = -inf

    async def _take(self, input_tokens: int, output_tokens: int) -> Room | Wait:
        now = self._clock()
        moment = told = max(now, self._paused_until)
        amounts = [(meter, meter.amount(input_tokens, output_tokens)) for meter in self._meters]
        for meter, amount in amounts:
            moment = max(moment, meter.window.free_at(amount, now))
            told = max(told, meter.window.held_until(amount, now))
        if moment > now:
            return Wait(moment - now, told - now)
        return _LocalRoom(tuple((meter, meter.window.spend(amount)) for meter, amount in amounts), self._clock)

    def leave(self, room: Room) -> None:
        """See `Bucket.leave`. It is known now when there will be room again."""
        super().leave(room)
        self._news.set()

    def arrive(self, room: Room) -> None:
        """See `Bucket.arrive`."""
        super().arrive(room)
        self._news.set()

    async def _leave(self) -> None:
        return

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _observe(self, meter: Meter, used: int, until: float) -> None:
        meter.window.observe(used, self._clock(), until)


@dataclass(frozen=True, slots=True)
class _LocalRoom:
    spent: tuple[tuple[Meter, Spending], ...]
    clock: Clock

    def leave(self) -> None:
        """See `Room.leave`."""
        now = self.clock()
        for meter, spending in self.spent:
            meter.window.leave(spending, now)

    def arrive(self) -> None:
        """See `Room.arrive`."""
        now = self.clock()
        for meter, spending in self.spent:
            meter.window.arrive(spending, now)

    def settle(self, input_tokens: int, output_tokens: int, *, answered: bool) -> None:
        """See `Room.settle`."""
        now = self.clock()
        for meter, spending in self.spent:
            meter.window.settle(spending, meter.used(input_tokens, output_tokens), now, answered=answered)
