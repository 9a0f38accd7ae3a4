"""Retries: only of what can pass, with growing pauses, bounded by attempts and time; every failed attempt is noted."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from minference.errors import ProviderError, RequestTooLarge, legible
from minference.inference.arguments import a_count, an_amount
from minference.inference.backoff import SHORT_PAUSE, Pauses
from minference.inference.buckets import Clock, Sleep
from minference.inference.tracebacks import forget_locals
from minference.logs import context

P = TypeVar("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long one call is tried."""

    max_attempts: int = 6
    """Including the first."""
    max_seconds: float = 900.0
    """For attempts and the pauses between them. Waiting for a rate limit of ours is not counted."""
    first_pause: float = 0.5
    """Seconds after the first failure; doubled after each further one, tripled if it is a refusal for too many calls that does not
    say when to come again: six attempts then take longer than the minute after which a limit is free again."""
    longest_pause: float = 60.0
    """Seconds beyond which pauses do not grow by themselves; a provider may ask for more."""

    def __post_init__(self) -> None:
        a_count("max_attempts", self.max_attempts, "at least one attempt is needed to make a call")
        for name in ("max_seconds", "first_pause", "longest_pause"):
            an_amount(name, getattr(self, name), "a number of seconds", "pass 0 or more")

    @property
    def between_calls(self) -> Pauses:
        """Seconds between any calls of a provider that refuses them all and does not say for how long."""
        return Pauses(self.first_pause, self._grown(self.max_attempts, _AT_A_LIMIT))

    def _grown(self, attempt: int, growth: float) -> float:
        grown: float = min(self.first_pause * growth ** min(attempt - 1, 60), self.longest_pause)
        return grown

    def pause(self, attempt: int, retry_after: float | None, chance: float, *, growth: float = 2.0) -> float:
        """Seconds between the failure of attempt number `attempt` and the next.

        Up to half of the pause comes on top of it, by `chance` from 0 to 1: never less than the provider asked for,
        and those who failed together do not come back together.
        """
        grown = self._grown(attempt, growth)
        return max(grown, retry_after or 0.0) + 0.5 * grown * chance


@dataclass(frozen=True, slots=True)
class Retrier:
    """Tries calls under one policy. Clock, sleep and chance are arguments, so that tests take no time."""

    policy: RetryPolicy = RetryPolicy()
    clock: Clock = time.monotonic
    sleep: Sleep = asyncio.sleep
    chance: Callable[[], float] = random.random

    async def call(self, admit: Callable[[], Awaitable[P]], send: Callable[[P], Awaitable[T]], failures: list[str]) -> T:
        """What `send` returns, called with what `admit` returned for this very attempt.

        Each attempt is admitted anew, and the time that `admit` takes uses up nothing. One line per failed attempt is
        added to `failures`, also of one that the caller's cancellation ends.

        Raises:
            ProviderError: That of the last attempt.
        """
        spent, number, cause = 0.0, 0, ""

        async def attempt() -> T:
            nonlocal spent, number, cause
            number += 1
            with context(attempt=number):
                admitted = await admit()
                began = self.clock()
                try:
                    return await send(admitted)
                except (ProviderError, asyncio.CancelledError) as error:
                    took = self.clock() - began
                    spent += took
                    cause = _note(error, took, failures)
                    raise

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            retry_after = error.retry_after if isinstance(error, ProviderError) else None
            growth = _AT_A_LIMIT if is_overload(error) and (retry_after or 0.0) < SHORT_PAUSE else 2.0
            return self.policy.pause(state.attempt_number, retry_after, self.chance(), growth=growth)

        def out_of_time(state: tenacity.RetryCallState) -> bool:
            return spent + state.upcoming_sleep > self.policy.max_seconds

        async def sleep(seconds: float) -> None:
            nonlocal spent
            spent += seconds
            with context(attempt=number):  # what the error says may quote what was sent, so it is no part of the cause
                logger.warning("trying again in %.2f s after %s", seconds, cause, extra={"pause": seconds, "cause": cause})
            await self.sleep(seconds)

        first: list[ProviderError] = []
        try:
            return await attempt()
        except ProviderError as error:
            if not is_retryable(error):
                raise
            first.append(error)

        retrying = tenacity.AsyncRetrying(
            sleep=sleep,
            stop=tenacity.stop_any(tenacity.stop_after_attempt(self.policy.max_attempts), out_of_time),  # type: ignore[arg-type]  # calls them only
            wait=pause,
            retry=tenacity.retry_if_exception(is_retryable),
            reraise=True,
        )
        return await _again(retrying, first, attempt)


async def _again(retrying: tenacity.AsyncRetrying, first: list[ProviderError], attempt: Callable[[], Awaitable[T]]) -> T:
    """What a later attempt gives, after `first` came of the first. Most calls need no other, and setting up costs a tenth of one."""

    async def attempt_or_tell() -> T:
        if first:
            raise first.pop()  # and is held no longer: it holds this frame
        return await attempt()

    return await retrying(attempt_or_tell)


_ELSEWHERE_DIFFERENT = (401, 402, 403, 404, 413, 429)
"""Refusals for good that say nothing of the request itself: another key, quota or model may do, or one that takes more."""
_OVERLOADED = (429, 529)
_AT_A_LIMIT = 3.0
"""How pauses grow where calls are counted per minute, and nobody says since when."""
_TOO_LONG = "context_length_exceeded"


def may_be_answered_elsewhere(error: BaseException) -> bool:
    """Whether the same request can succeed with another provider or model."""
    if not isinstance(error, ProviderError):
        return isinstance(error, RequestTooLarge)  # for the limits of that one
    return error.retryable or error.status in _ELSEWHERE_DIFFERENT or error.code == _TOO_LONG


def is_retryable(error: BaseException) -> bool:
    """Whether the same request can succeed later; only a provider's error can say so."""
    return isinstance(error, ProviderError) and error.retryable


def is_overload(error: BaseException | None) -> bool:
    """Whether the provider says that it gets too many calls."""
    return isinstance(error, ProviderError) and error.retryable and error.status in _OVERLOADED


def _note(error: ProviderError | asyncio.CancelledError, seconds: float, failures: list[str]) -> str:
    """Add the line of a failed attempt; what can be told everybody of it. One that was cut short may cost what a reply does."""
    failures.append(describe(error, seconds))
    if isinstance(error, asyncio.CancelledError):
        return ""
    forget_locals(error)
    return _facts(error, seconds)


def describe(error: BaseException, seconds: float) -> str:
    """One line for the record of failed attempts. What is no provider's error has ended an attempt that was under way."""
    if not isinstance(error, ProviderError):
        return f"Abandoned (after {seconds:.2f} s): its time was over before the whole reply came; the provider may count it"
    return f"{_facts(error, seconds)}: {error}"


def _facts(error: ProviderError, seconds: float) -> str:
    used = f"{error.usage.prompt + error.usage.completion} tokens used" if error.usage else ""
    facts = [f"status {error.status}" if error.status else "", error.code or "", used, f"after {seconds:.2f} s"]
    return legible(f"{type(error).__name__} ({', '.join(filter(None, facts))})")
