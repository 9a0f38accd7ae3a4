"""Retries: what is tried again, after which pause, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minference.errors import InvalidReply, ProviderError, ProviderRefused, ProviderTimeout, ProviderUnreachable
from minference.inference.retries import Retrier, RetryPolicy
from tests.support.virtual_time import run_virtually, virtual_now

OVERLOADED = ProviderRefused("openai", "overloaded", status=503, retryable=True)
NOT_ALLOWED = ProviderRefused("openai", "wrong key", status=401)


class Scripted:
    """A call that fails as scripted, then answers; knows when it was admitted and sent."""

    def __init__(self, failures: Sequence[Exception], *, takes: float = 0.0, admission: float = 0.0) -> None:
        self.failures = list(failures)
        self.takes = takes
        self.admission = admission
        self.sent: list[float] = []
        self.notes: list[str] = []

    async def admit(self) -> int:
        await asyncio.sleep(self.admission)
        return len(self.sent)

    async def send(self, ticket: int) -> str:
        assert ticket == len(self.sent)
        self.sent.append(virtual_now())
        await asyncio.sleep(self.takes)
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


def call(script: Scripted, policy: RetryPolicy | None = None, chance: Callable[[], float] = lambda: 0.0) -> str:
    async def main() -> str:
        retrier = Retrier(policy or RetryPolicy(), clock=virtual_now, sleep=asyncio.sleep, chance=chance)
        return await retrier.call(script.admit, script.send, script.notes)

    return run_virtually(main())


def test_pauses_double() -> None:
    script = Scripted([OVERLOADED] * 4)
    assert (call(script), script.sent) == ("answer", [0.0, 0.5, 1.5, 3.5, 7.5])


def test_pauses_grow_no_longer_than_allowed() -> None:
    script = Scripted([OVERLOADED] * 4)
    call(script, RetryPolicy(longest_pause=1.0))
    assert script.sent == [0.0, 0.5, 1.5, 2.5, 3.5]


def test_chance_is_added_and_retry_after_is_the_least() -> None:
    asked_to_wait = ProviderRefused("openai", "slow down", status=429, retryable=True, retry_after=20.0)
    script = Scripted([asked_to_wait])
    call(script, chance=lambda: 1.0)
    assert script.sent == [0.0, 20.25]


@given(st.integers(1, 10_000), st.none() | st.floats(0, 3600), st.floats(0, 1))
def test_no_pause_is_shorter_than_asked_for(attempt: int, retry_after: float | None, chance: float) -> None:
    assert (retry_after or 0.0) <= RetryPolicy().pause(attempt, retry_after, chance) <= max(retry_after or 0.0, 60.0) + 30.0


@pytest.mark.parametrize("error", [NOT_ALLOWED, InvalidReply("openai", "no choices"), ZeroDivisionError()])
def test_what_cannot_pass_is_not_tried_again(error: Exception) -> None:
    script = Scripted([error])
    with pytest.raises(type(error)) as caught:
        call(script)
    assert (caught.value, script.sent) == (error, [0.0])


def test_the_last_failure_is_raised_after_the_last_attempt() -> None:
    last = ProviderTimeout("openai", "no reply", retryable=True)
    script = Scripted([OVERLOADED, OVERLOADED, last])
    with pytest.raises(ProviderTimeout) as caught:
        call(script, RetryPolicy(max_attempts=3))
    assert (caught.value, script.sent) == (last, [0.0, 0.5, 1.5])


def test_a_pause_that_would_end_after_the_time_is_over_is_not_begun() -> None:
    async def main() -> float:
        retrier = Retrier(RetryPolicy(max_seconds=10.0), clock=virtual_now, chance=lambda: 0.0)
        asked_to_wait = ProviderRefused("openai", "slow down", status=429, retryable=True, retry_after=9.0)
        script = Scripted([asked_to_wait], takes=2.0)
        with pytest.raises(ProviderRefused):
            await retrier.call(script.admit, script.send, script.notes)
        return virtual_now()

    assert run_virtually(main()) == 2.0


def test_waiting_to_be_admitted_uses_up_no_time_and_each_attempt_is_admitted() -> None:
    script = Scripted([OVERLOADED] * 2, takes=1.0, admission=1000.0)
    assert call(script, RetryPolicy(max_seconds=4.0)) == "answer"
    assert script.sent == [1000.0, 2001.5, 3003.5]


def test_every_failed_attempt_is_noted_with_status_code_and_time() -> None:
    failures: list[ProviderError] = [
        ProviderRefused("openai", "slow down", status=429, code="rate_limit_exceeded", retryable=True),
        ProviderUnreachable("openai", "connection reset", retryable=True),
        NOT_ALLOWED,
    ]
    script = Scripted(failures, takes=0.25)
    with pytest.raises(ProviderRefused):
        call(script)
    assert script.notes == [
        "ProviderRefused (status 429, rate_limit_exceeded, after 0.25 s): openai: slow down",
        "ProviderUnreachable (after 0.25 s): openai: connection reset",
        "ProviderRefused (status 401, after 0.25 s): openai: wrong key",
    ]


def test_cancelling_ends_a_pause() -> None:
    async def main() -> list[float]:
        script = Scripted([OVERLOADED] * 9)
        retrier = Retrier(RetryPolicy(first_pause=100.0, longest_pause=100.0), clock=virtual_now)
        task = asyncio.create_task(retrier.call(script.admit, script.send, script.notes))
        await asyncio.sleep(10.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return [*script.sent, virtual_now()]

    assert run_virtually(main()) == [0.0, 10.0]


def test_a_policy_without_an_attempt_is_refused() -> None:
    with pytest.raises(ValueError, match="max_attempts is 0"):
        RetryPolicy(max_attempts=0)
