"""Providers that refuse calls and say neither what their limit is nor when to come again, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from minference.clients.base import Request, Response, TextDelta
from minference.clients.scripted import ScriptedClient
from minference.errors import ProviderError, ProviderRefused, ProviderUnreachable
from minference.inference.events import Finished
from minference.inference.limits import RateLimiter
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Outcome
from minference.inference.retries import Retrier, RetryPolicy
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread
from tests.inference.helpers import thread
from tests.support.virtual_time import run_virtually, virtual_now

Admission = Callable[[float], bool]
"""Whether a call that comes at this second is served."""


class Silent(ScriptedClient):
    """Refuses in 50 ms what its limit does not admit, answers the rest in 300 ms."""

    def __init__(self, admits: Admission, retry_after: float | None = None) -> None:
        super().__init__(lambda asked: "Yes.")
        self._admits = admits
        self._retry_after = retry_after
        self.served = 0
        self.refused = 0
        self.last_came = self.ended = 0.0
        self.seconds = 0.3
        """How long an answer takes."""
        self.then: Callable[[], ProviderError] | None = None
        """What comes instead of answers."""

    async def send(self, request: Request, *, timeout: float) -> Response:
        response = await self._admitted(request, timeout)
        await asyncio.sleep(self.seconds)
        self.ended = virtual_now()
        return response

    async def stream(self, request: Request, *, timeout: float) -> AsyncGenerator[TextDelta | Response, None]:
        response = await self._admitted(request, timeout)
        yield TextDelta("Yes.")
        await asyncio.sleep(self.seconds)
        yield response

    async def _admitted(self, request: Request, timeout: float) -> Response:
        self.last_came = virtual_now()
        if not self._admits(self.last_came):
            self.refused += 1
            await asyncio.sleep(0.05)
            raise ProviderRefused("scripted", "too many", status=429, retryable=True, retry_after=self._retry_after)
        self.served += 1
        if self.then is not None:
            raise self.then()
        return await super().send(request, timeout=timeout)


def window(limit: int) -> Admission:
    """So many in any minute."""
    times: deque[float] = deque()

    def admits(now: float) -> bool:
        while times and times[0] <= now - 60:
            times.popleft()
        if len(times) < limit:
            times.append(now)
            return True
        return False

    return admits


def token_bucket(limit: int, burst: float) -> Admission:
    """So many a minute, refilled all the time."""
    level, last = burst, 0.0

    def admits(now: float) -> bool:
        nonlocal level, last
        level, last = min(burst, level + (now - last) * limit / 60), now
        if level < 1:
            return False
        level -= 1
        return True

    return admits


def run(client: Silent, threads: int, policy: RetryPolicy | None = None) -> Counter[str]:
    """How many of so many threads, which all begin at second 0, had which outcome."""
    chance = random.Random(1).random

    async def main() -> list[Outcome]:
        limiter = RateLimiter(clock=virtual_now)
        retrier = Retrier(policy or RetryPolicy(), clock=virtual_now, chance=chance)
        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(storage, clients={"scripted": client}, limits=limiter, retry=retrier) as orchestrator,
        ):
            config = LLMConfig(client="scripted", model="m")
            return await orchestrator.run([thread(llm_config=config) for _ in range(threads)])

    return Counter(type(outcome).__name__ for outcome in run_virtually(main()))


@pytest.mark.parametrize("retry_after", [None, 0.0, 0.2])
def test_threads_outlast_a_limit_per_minute_that_nobody_tells(retry_after: float | None) -> None:
    client = Silent(window(50), retry_after)
    assert run(client, 150) == {"Completed": 150}
    assert client.ended < 180  # 120 s at least
    assert client.refused < 3 * 150


def test_threads_outlast_a_limit_that_is_refilled_all_the_time() -> None:
    client = Silent(token_bucket(200, burst=20))
    assert run(client, 150) == {"Completed": 150}
    assert client.ended < 80  # 39 s at least


def test_one_thread_alone_outlasts_a_minute_that_others_have_used_up() -> None:
    client = Silent(lambda now: now >= 60)
    assert run(client, 1) == {"Completed": 1}
    assert client.refused < 6


def test_refusals_by_chance_keep_nobody_waiting() -> None:
    chance = random.Random(3)
    client = Silent(lambda now: chance.random() > 0.05)
    assert run(client, 300) == {"Completed": 300}
    assert client.ended < 4


def test_a_provider_that_never_answers_is_given_up_after_a_minute_and_the_attempts_of_each_thread() -> None:
    client = Silent(lambda now: False)
    assert run(client, 40, RetryPolicy(max_attempts=3)) == {"Failed": 40}
    assert client.refused == 3 * 40
    assert 60 < client.last_came < 180


@pytest.mark.parametrize(
    "then",
    [
        lambda: ProviderRefused("scripted", "no money", status=429, retryable=False, code="insufficient_quota"),
        lambda: ProviderRefused("scripted", "wrong", status=400, retryable=False),
        lambda: ProviderRefused("scripted", "broken", status=500, retryable=True),
        lambda: ProviderUnreachable("scripted", "gone", retryable=True),
    ],
    ids=["no money", "wrong", "broken", "gone"],
)
def test_any_other_answer_ends_the_pauses_between_calls(then: Callable[[], ProviderError]) -> None:
    client = Silent(lambda now: now > 20)
    client.then = then
    assert run(client, 30) == {"Failed": 30}
    assert client.last_came < 150


def test_a_stream_that_begins_ends_the_pauses_between_calls() -> None:
    client = Silent(lambda now: now > 30)
    client.seconds = 100.0

    async def read(asking: ChatThread, orchestrator: InferenceOrchestrator) -> None:
        async with aclosing(orchestrator.stream(asking)) as events:
            assert [type(event) for event in [event async for event in events]][-1] is Finished

    async def main() -> None:
        limiter = RateLimiter(clock=virtual_now)
        retrier = Retrier(RetryPolicy(), clock=virtual_now, chance=lambda: 0.5)
        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(storage, clients={"scripted": client}, limits=limiter, retry=retrier) as orchestrator,
        ):
            config = LLMConfig(client="scripted", model="m")
            await asyncio.gather(*(read(thread(llm_config=config), orchestrator) for _ in range(10)))

    run_virtually(main())
    assert client.last_came < 160  # the first begins at second 31 or so, and ends a hundred later


def test_who_wants_no_pauses_gets_none() -> None:
    client = Silent(lambda now: False)
    assert run(client, 40, RetryPolicy(max_attempts=3, first_pause=0.0)) == {"Failed": 40}
    assert client.refused == 3 * 40
    assert client.last_came < 3 * 40 * 0.06  # one after the other, each refused in 50 ms
