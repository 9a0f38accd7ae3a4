"""What providers tell of their limits, and how fewer calls are made at once when they have too much to do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minference.clients.allowances import Allowance, allowances
from minference.errors import ProviderPaused, ProviderRefused
from minference.inference.backoff import Pauses
from minference.inference.concurrency import Concurrency
from minference.inference.limits import RateLimiter, RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.testing import ProviderServer, RecordedRequest, Status
from minference.threads.config import LLMConfig
from tests.inference.helpers import completed, failed, thread
from tests.support.virtual_time import run_virtually, virtual_now

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (
            {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "499", "x-ratelimit-reset-requests": "120ms"},
            [Allowance("requests", 500, 499, 0.12)],
        ),
        (
            {"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h2m3.5s"},
            [Allowance("tokens", 1000, 0, 3723.5)],
        ),
        ({"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "12"}, [Allowance("requests", None, 7, 12.0)]),
        (
            {
                "anthropic-ratelimit-input-tokens-limit": "4000",
                "anthropic-ratelimit-input-tokens-remaining": "1000",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-28T12:00:30Z",
            },
            [Allowance("input tokens", 4000, 1000, 30.0)],
        ),
        ({"anthropic-ratelimit-output-tokens-limit": "4000", "anthropic-ratelimit-output-tokens-reset": "2026-11-28T11:00:00+00:00"},
         [Allowance("output tokens", 4000, None, 0.0)]),
        (
            {
                "date": "Sat, 28 Nov 2026 13:00:00 GMT",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-28T13:00:02Z",
            },
            [Allowance("requests", None, 0, 2.0)],
        ),
        ({"x-ratelimit-limit-requests": "1_000", "x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "1_0"},
         [Allowance("requests", None, 7, None)]),
        ({"x-ratelimit-limit-requests": "many", "x-ratelimit-reset-requests": "soon", "retry-after": "3"}, []),
        ({"x-ratelimit-limit-tokens": "5", "x-ratelimit-reset-tokens": "1x2m"}, [Allowance("tokens", 5, None, None)]),
        ({"x-ratelimit-limit-tokens": "nan", "x-ratelimit-remaining-tokens": "-3"}, []),
        ({"x-ratelimit-limit-tokens": "1e308", "x-ratelimit-remaining-tokens": "inf", "x-ratelimit-limit-requests": "9e99"}, []),
    ],
)  # fmt: skip
def test_headers_are_read_in_the_words_of_each_provider(headers: dict[str, str], told: list[Allowance]) -> None:
    assert allowances(headers, NOW) == told


def starts(limits: RequestLimits | None, told: list[list[Allowance]], calls: int = 6) -> list[float]:
    """When instant calls were let through, of which each answer told the next of these."""

    async def main() -> list[float]:
        shared = RateLimiter(limits, clock=virtual_now)
        found: list[float] = []
        for number in range(calls):
            reservation = await shared.reserve("c", "m", input_tokens=10, output_tokens=10)
            found.append(virtual_now())
            if number < len(told):
                reservation.learn(told[number])
            reservation.settle()
        return found

    return run_virtually(main())


def test_a_limit_that_only_the_provider_tells_is_kept() -> None:
    assert starts(None, [[Allowance("requests", 3, 2, 60.0)]]) == [0.0, 0.0, 0.0, 60.0, 60.0, 60.0]


def test_the_narrower_of_what_both_say_counts() -> None:
    assert starts(RequestLimits(requests_per_minute=2), [[Allowance("requests", 100, 99, 1.0)]], 4) == [0.0, 0.0, 60.0, 60.0]
    assert starts(RequestLimits(requests_per_minute=100), [[Allowance("requests", 2, 1, 60.0)]], 4) == [0.0, 0.0, 60.0, 60.0]


def test_what_others_use_of_the_same_quota_is_left_to_them() -> None:
    told = [Allowance("requests", 10, 1, 20.0)]
    assert starts(RequestLimits(requests_per_minute=10), [told], 5) == [0.0, 0.0, 20.0, 20.0, 20.0]


def test_an_exhausted_limit_of_unknown_size_pauses_until_it_is_reset() -> None:
    assert starts(None, [[Allowance("requests", None, 0, 30.0)]], 3) == [0.0, 30.0, 30.0]


def test_a_request_larger_than_what_a_provider_told_waits_for_all_of_it_instead_of_failing() -> None:
    assert starts(None, [[Allowance("tokens", 15, 15, 0.0)]], 3) == [0.0, 0.0, 60.0]


@pytest.mark.parametrize("limit", [10, None])
def test_a_reset_in_a_thousand_years_is_borne_by_nobody_and_believed_for_an_hour(limit: int | None) -> None:
    async def main() -> float:
        shared = RateLimiter(clock=virtual_now)
        first = await shared.reserve("c", "m", input_tokens=0, output_tokens=0)
        first.learn([Allowance("requests", limit, 0, 3e10)])
        first.settle()
        with pytest.raises(ProviderPaused) as caught:
            await shared.reserve("c", "m", input_tokens=0, output_tokens=0, patience=900.0)
        assert (caught.value.seconds, virtual_now()) == (3e10, 0.0)
        (await shared.reserve("c", "m", input_tokens=0, output_tokens=0)).settle()
        return virtual_now()

    assert run_virtually(main()) == 3600.0


def test_what_is_allowed_in_a_minute_can_be_spread_over_it() -> None:
    limits = RequestLimits(requests_per_minute=12, smooth_seconds=10.0)
    assert starts(limits, [], 6) == [0.0, 0.0, 10.0, 10.0, 20.0, 20.0]


def test_keys_have_limits_of_their_own() -> None:
    async def main() -> list[float]:
        shared = RateLimiter(RequestLimits(requests_per_minute=1), clock=virtual_now)
        found = []
        for account in ("one", "other", "one"):
            (await shared.reserve("c", "m", input_tokens=0, output_tokens=0, account=account)).settle()
            found.append(virtual_now())
        return found

    assert run_virtually(main()) == [0.0, 0.0, 60.0]


def test_nothing_is_bounded_until_somebody_is_overloaded() -> None:
    concurrency = Concurrency()
    assert (concurrency.limit, concurrency.has_room(10**6)) == (inf, True)
    concurrency.overloaded(100, sent=0.0, now=1.0)
    assert concurrency.limit == 75.0
    concurrency.overloaded(100, sent=0.5, now=1.1)
    assert concurrency.limit == 75.0, "it left before the first was answered"
    concurrency.overloaded(60, sent=2.0, now=3.0)
    assert concurrency.limit == 45.0
    for _ in range(100):
        concurrency.succeeded(45, sent=4.0, now=5.0, tokens=1)
    assert 54.0 < concurrency.limit < 56.0


def test_after_a_pause_calls_begin_with_few_and_double_until_they_were_too_many() -> None:
    concurrency = Concurrency(64)
    concurrency.overloaded(64, sent=0.0, now=1.0, ramp=True)
    assert concurrency.limit == 12.0
    for _ in range(12):
        concurrency.succeeded(12, sent=2.0, now=3.0, tokens=1)
    assert concurrency.limit == 24.0
    for _ in range(2000):
        concurrency.succeeded(48, sent=2.0, now=3.0, tokens=1)
    assert concurrency.limit == 64.0


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 100), st.floats(0, 10), st.integers(0, 1000)), max_size=200))
def test_there_is_always_room_for_one_and_never_for_more_than_the_ceiling(events: list[tuple[bool, bool, float, float, int]]) -> None:
    concurrency = Concurrency(50, watch_latency=True)
    for good, ramp, sent, lasts, tokens in events:
        if good:
            concurrency.succeeded(10, sent=sent, now=sent + lasts, tokens=tokens)
        else:
            concurrency.overloaded(10, sent=sent, now=sent + lasts, ramp=ramp)
        assert concurrency.has_room(0)
        assert not concurrency.has_room(50)


def share(limits: RequestLimits, seconds: Callable[[int], float], calls: int, refuses: int | None = None) -> tuple[int, int, float]:
    """The most calls that were under way at once, in the last third of them; how many were refused; and when all were done."""
    now, refused = 0, 0
    most: list[int] = []

    async def call(limiter: RateLimiter) -> None:
        nonlocal now, refused
        while True:
            reservation = await limiter.reserve("c", "m", input_tokens=0, output_tokens=0)
            now += 1
            most.append(now)
            await asyncio.sleep(seconds(now))
            full = refuses is not None and now > refuses
            now -= 1
            if full:
                refused += 1
                reservation.overloaded(1.0, Pauses(0.5, 60.0))
                reservation.settle()
                continue
            reservation.succeeded(1)
            reservation.settle()
            return

    async def main() -> float:
        limiter = RateLimiter(limits, clock=virtual_now)
        await asyncio.gather(*(call(limiter) for _ in range(calls)))
        return virtual_now()

    ended = run_virtually(main())
    return max(most[-calls // 3 :]), refused, ended


def test_a_server_that_refuses_what_is_too_much_is_asked_for_about_as_much_as_it_does() -> None:
    most, refused, ended = share(RequestLimits(max_in_flight=64), lambda _now: 1.0, 2000, refuses=16)
    assert most <= 24
    assert refused < 500
    assert ended < 3 * 2000 / 16


def test_a_server_that_only_gets_slower_is_not_swamped() -> None:
    """It does eight at once; of more, each takes longer."""

    def seconds(now: int) -> float:
        return 1.0 * max(1.0, now / 8)

    most, _, ended = share(RequestLimits(max_in_flight=200, watch_latency=True), seconds, 1500)
    swamped, _, _ = share(RequestLimits(max_in_flight=200), seconds, 1500)
    assert most < swamped / 2
    assert ended < 2 * 1500 / 8


def test_a_quota_that_is_used_up_for_good_is_not_asked_again(provider_server: ProviderServer) -> None:
    from minference.storage.open import open_storage

    body = {"error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded your current quota."}}
    provider_server.faults = lambda _request: Status(429, {"retry-after": "0.01"}, body)

    async def main() -> None:
        async with open_storage("memory:") as storage, InferenceOrchestrator(storage) as orchestrator:
            [outcome] = await orchestrator.run([thread("Hi.", client="openai")])
        error = failed(outcome).error
        assert isinstance(error, ProviderRefused)
        assert (error.status, error.code, error.retryable) == (429, "insufficient_quota", False)

    asyncio.run(main())
    assert len(provider_server.requests) == 1


@pytest.mark.parametrize("client", ["openai", "anthropic"])
@pytest.mark.parametrize("wanted", ["1000000000", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_provider_that_wants_to_be_left_alone_for_years_fails_threads_at_once_or_is_replaced_by_a_fallback(
    memory: EntityStorage, provider_server: ProviderServer, client: str, wanted: str
) -> None:
    provider_server.faults = [Status(429, {"retry-after": wanted})]
    paused, replaced = thread("Hi.", client=client), thread("Hello.", client=client)
    replaced.llm_config = LLMConfig(client=client, model="model", fallbacks=(LLMConfig(client=client, model="other"),))
    async with InferenceOrchestrator(memory) as orchestrator:
        first = failed((await orchestrator.run([thread("Hi.", client=client)]))[0]).error
        second, third = await orchestrator.run([paused, replaced])
    assert isinstance(first, ProviderRefused)
    assert re.search(r"it wants to be left alone for [0-9,]{13,} s", str(first))
    error = failed(second).error
    assert isinstance(error, ProviderPaused)
    assert re.search(r"wants no calls of 'model' for [0-9,]{11,} s, and a call may wait 900 s for that", str(error))
    assert completed(third).content == "You said: Hello."
    assert [request.body["model"] for request in provider_server.requests] == ["model", "other"]


@pytest.mark.parametrize("client", ["openai", "anthropic"])
async def test_what_the_headers_of_a_refusal_tell_is_obeyed(provider_server: ProviderServer, client: str) -> None:
    from minference.storage.open import open_storage
    from tests.inference.helpers import AT_ONCE

    reset = {"openai": "300ms", "anthropic": None}[client]
    headers = (
        {"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
        if reset
        else {"retry-after": "0.3"}
    )

    def fault(request: RecordedRequest) -> Status | None:
        return Status(429, headers) if request.number == 1 else None

    provider_server.faults = fault
    async with open_storage("memory:") as storage, InferenceOrchestrator(storage, retry=AT_ONCE) as orchestrator:
        [outcome] = await orchestrator.run([thread("Hi.", client=client)])
    assert completed(outcome).attempts[0].startswith("ProviderRefused (status 429")
    first, second = provider_server.requests
    assert (second.received_at - first.received_at).total_seconds() >= 0.3
