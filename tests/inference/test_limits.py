"""Limits: exact waits, in order, and never more than allowed in any minute."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from minference.clients.allowances import Allowance
from minference.errors import ProviderPaused, RequestTooLarge
from minference.inference.limits import MINUTE, Limits, RateLimiter, RequestLimits, Reservation, limits_for
from tests.support.examples import examples
from tests.support.virtual_time import run_virtually, virtual_now


def limiter(limits: Limits) -> RateLimiter:
    return RateLimiter(limits, clock=virtual_now)


async def instant_call(limiter: RateLimiter, *, input_tokens: int = 0, output_tokens: int = 0, model: str = "m") -> float:
    """When the call was let through; it is answered at once, with what was estimated."""
    (await limiter.reserve("c", model, input_tokens=input_tokens, output_tokens=output_tokens)).settle()
    return virtual_now()


def starts(limits: Limits, calls: Sequence[tuple[int, int]]) -> list[float]:
    """When each of these calls (input, output tokens) was let through, all of them asked for at second 0."""

    async def main() -> list[float]:
        shared = limiter(limits)
        return await asyncio.gather(*(instant_call(shared, input_tokens=i, output_tokens=o) for i, o in calls))

    return run_virtually(main())


def test_without_limits_nobody_waits() -> None:
    assert starts(None, [(10**9, 10**9)] * 5) == [0.0] * 5


def test_requests_wait_exactly_until_the_oldest_of_the_window_is_a_minute_old() -> None:
    assert starts(RequestLimits(requests_per_minute=2), [(0, 0)] * 5) == [0.0, 0.0, 60.0, 60.0, 120.0]


def test_input_output_and_combined_tokens_are_limited_each_for_itself() -> None:
    assert starts(RequestLimits(input_tokens_per_minute=100), [(60, 999), (40, 999), (1, 999)]) == [0.0, 0.0, 60.0]
    assert starts(RequestLimits(output_tokens_per_minute=100), [(999, 60), (999, 40), (999, 1)]) == [0.0, 0.0, 60.0]
    assert starts(RequestLimits(tokens_per_minute=100), [(30, 30), (20, 20), (1, 0)]) == [0.0, 0.0, 60.0]


def test_small_calls_do_not_overtake_a_large_one() -> None:
    assert starts(RequestLimits(input_tokens_per_minute=100), [(60, 0), (60, 0), (1, 0), (1, 0)]) == [0.0, 60.0, 60.0, 60.0]


def test_requests_and_tokens_are_taken_together_or_not_at_all() -> None:
    """Who waits for tokens holds no request: the one request a minute is still free when the tokens are."""
    limits = RequestLimits(requests_per_minute=2, input_tokens_per_minute=100)
    assert starts(limits, [(100, 0), (100, 0), (0, 0), (0, 0)]) == [0.0, 60.0, 60.0, 120.0]


def test_a_request_that_can_never_fit_fails_at_once_and_takes_no_place() -> None:
    async def main() -> float:
        shared = limiter(RequestLimits(requests_per_minute=1, input_tokens_per_minute=100))
        with pytest.raises(RequestTooLarge, match=r"needs about 101 input tokens and the limit is 100 per minute"):
            await instant_call(shared, input_tokens=101)
        return await instant_call(shared)

    assert run_virtually(main()) == 0.0


def test_a_request_that_is_too_large_by_a_guess_only_waits_for_the_whole_limit() -> None:
    async def main() -> list[float]:
        shared = limiter(RequestLimits(input_tokens_per_minute=100))
        found = []
        for _ in range(2):
            await instant_call(shared, input_tokens=1)
            (await shared.reserve("c", "m", input_tokens=500, least_input_tokens=100, output_tokens=0)).settle(input_tokens=90)
            found.append(virtual_now())
        with pytest.raises(RequestTooLarge, match="needs about 101 input tokens"):
            await shared.reserve("c", "m", input_tokens=500, least_input_tokens=101, output_tokens=0)
        return found

    assert run_virtually(main()) == [60.0, 120.0]


def test_models_and_clients_have_limits_of_their_own() -> None:
    async def main() -> list[float]:
        shared = limiter(RequestLimits(requests_per_minute=1))
        return [await instant_call(shared, model=model) for model in ("a", "b", "a")]

    assert run_virtually(main()) == [0.0, 0.0, 60.0]


def test_the_narrower_limit_of_a_mapping_counts() -> None:
    wide, narrow = RequestLimits(requests_per_minute=9), RequestLimits(requests_per_minute=1)
    limits = {"openai": wide, "openai/small": narrow}
    found = [limits_for(limits, client, model) for client, model in (("openai", "small"), ("openai", "large"), ("other", "small"))]
    assert found == [narrow, wide, RequestLimits()]


def test_settling_with_less_lets_the_next_one_go_at_once() -> None:
    async def main() -> float:
        shared = limiter(RequestLimits(tokens_per_minute=100))
        first = await shared.reserve("c", "m", input_tokens=50, output_tokens=50)
        second = asyncio.create_task(instant_call(shared, input_tokens=50, output_tokens=40))
        await asyncio.sleep(7)
        first.settle(input_tokens=5, output_tokens=5)
        return await second

    assert run_virtually(main()) == 7.0


def test_settling_with_more_is_debt_that_later_calls_wait_for() -> None:
    async def main() -> list[float]:
        shared = limiter(RequestLimits(tokens_per_minute=100))
        (await shared.reserve("c", "m", input_tokens=10, output_tokens=0)).settle(input_tokens=150)
        first = await instant_call(shared, input_tokens=100)
        return [first, await instant_call(shared, input_tokens=1)]

    assert run_virtually(main()) == [60.0, 120.0]


def test_settling_twice_counts_once() -> None:
    async def main() -> float:
        shared = limiter(RequestLimits(max_in_flight=1, tokens_per_minute=100))
        first = await shared.reserve("c", "m", input_tokens=90, output_tokens=0)
        first.settle(input_tokens=80)
        first.settle(input_tokens=0)
        await shared.reserve("c", "m", input_tokens=20, output_tokens=0)
        blocked = asyncio.create_task(instant_call(shared))
        await asyncio.sleep(1)
        assert not blocked.done()
        blocked.cancel()
        return virtual_now()

    assert run_virtually(main()) == 1.0


def test_a_long_call_holds_its_output_tokens_until_a_minute_after_its_reply() -> None:
    async def main() -> list[float]:
        shared = limiter(RequestLimits(output_tokens_per_minute=100))
        first = await shared.reserve("c", "m", input_tokens=0, output_tokens=100)
        second = asyncio.create_task(instant_call(shared, output_tokens=100))
        await asyncio.sleep(90)
        first.settle(output_tokens=100)
        return [await second]

    assert run_virtually(main()) == [150.0]


@pytest.mark.parametrize(("seconds", "again"), [(0, 61.0), (5, 66.0), (90, 151.0)])
def test_a_long_call_holds_its_request_for_a_minute_after_it_must_have_arrived(seconds: float, again: float) -> None:
    async def main() -> float:
        shared = limiter(RequestLimits(requests_per_minute=1))
        first = await shared.reserve("c", "m", input_tokens=0, output_tokens=0)
        second = asyncio.create_task(instant_call(shared))
        await asyncio.sleep(seconds)  # the connection is set up, the loop is busy
        first.leave()
        return await second

    assert run_virtually(main()) == again


@pytest.mark.parametrize("seconds", [0.5, 5.0, 75.0])
def test_a_request_that_leaves_once_more_counts_from_then(seconds: float) -> None:
    async def main() -> float:
        shared = limiter(RequestLimits(requests_per_minute=1, input_tokens_per_minute=100))
        first = await shared.reserve("c", "m", input_tokens=60, output_tokens=0)
        first.leave()
        await asyncio.sleep(seconds)  # a slow server sends it on to another one
        first.leave()
        return await instant_call(shared, input_tokens=60)

    assert run_virtually(main()) == seconds + 61.0


def test_a_call_that_ends_without_an_answer_may_still_be_about_to_arrive() -> None:
    async def main() -> list[float]:
        shared = limiter(RequestLimits(requests_per_minute=2))
        for seconds, answered in ((0.25, False), (0.5, True)):
            call = await shared.reserve("c", "m", input_tokens=0, output_tokens=0)
            call.leave()
            await asyncio.sleep(seconds)
            call.settle(answered=answered)
        return list(await asyncio.gather(*(instant_call(shared) for _ in range(2))))

    assert run_virtually(main()) == [60.75, 61.0]


def test_a_request_that_leaves_after_its_call_was_given_up_counts_from_then() -> None:
    async def main() -> float:
        shared = limiter(RequestLimits(requests_per_minute=1))
        call = await shared.reserve("c", "m", input_tokens=0, output_tokens=0)
        call.settle(answered=False)
        await asyncio.sleep(5)  # a thread that cannot be stopped
        call.leave()
        return await instant_call(shared)

    assert run_virtually(main()) == 66.0


@pytest.mark.parametrize(("seconds", "answered", "again"), [(0.25, True, 60.25), (0.25, False, 61.0), (300.0, True, 61.0)])
def test_nobody_waits_for_what_others_use_longer_than_for_room(seconds: float, answered: bool, again: float) -> None:
    async def main() -> float:
        shared = limiter(RequestLimits(requests_per_minute=10))
        calls = [await shared.reserve("c", "m", input_tokens=0, output_tokens=0) for _ in range(5)]
        for call in calls:
            call.leave()
        calls[0].learn([Allowance(what="requests", limit=10, remaining=0, reset=600.0)])  # five are not ours
        waiting = asyncio.create_task(instant_call(shared))
        await asyncio.sleep(seconds)
        for call in calls:
            call.settle(answered=answered)
        return await waiting

    assert run_virtually(main()) == again


def test_a_stream_that_begins_to_answer_has_arrived() -> None:
    async def main() -> float:
        shared = limiter(RequestLimits(requests_per_minute=1))
        first = await shared.reserve("c", "m", input_tokens=0, output_tokens=0)
        first.leave()
        await asyncio.sleep(0.25)
        first.arrive()
        await asyncio.sleep(0.25)
        first.arrive()
        return await instant_call(shared)

    assert run_virtually(main()) == 60.25


def test_a_call_of_which_nobody_says_that_it_left_counts_from_its_reply() -> None:
    async def main() -> float:
        shared = limiter(RequestLimits(requests_per_minute=1))
        first = await shared.reserve("c", "m", input_tokens=0, output_tokens=0)
        second = asyncio.create_task(instant_call(shared))
        await asyncio.sleep(30)
        first.settle()
        first.leave()
        return await second

    assert run_virtually(main()) == 90.0


def test_no_more_calls_are_under_way_than_allowed() -> None:
    async def main() -> list[float]:
        shared = limiter(RequestLimits(max_in_flight=2))

        async def call() -> float:
            reservation = await shared.reserve("c", "m", input_tokens=0, output_tokens=0)
            begun = virtual_now()
            await asyncio.sleep(10)
            reservation.settle()
            return begun

        return await asyncio.gather(*(call() for _ in range(5)))

    assert run_virtually(main()) == [0.0, 0.0, 10.0, 10.0, 20.0]


def test_a_pause_holds_back_its_own_model_only_and_the_longest_one_counts() -> None:
    async def main() -> list[float]:
        shared = limiter(None)
        shared.pause("c", "m", 30.0)
        shared.pause("c", "m", 20.0)
        return list(await asyncio.gather(instant_call(shared), instant_call(shared, model="other")))

    assert run_virtually(main()) == [30.0, 0.0]


def test_a_pause_that_comes_while_the_first_in_line_waits_holds_it_as_well() -> None:
    async def main() -> list[float]:
        shared = limiter(RequestLimits(requests_per_minute=1))
        waiting = [asyncio.create_task(instant_call(shared)) for _ in range(2)]
        await asyncio.sleep(10)
        shared.pause("c", "m", 100.0)
        return await asyncio.gather(*waiting)

    assert run_virtually(main()) == [0.0, 100.0]


def test_who_would_be_held_back_for_longer_than_it_can_bear_is_told_at_once_and_after_an_hour_one_asks_again() -> None:
    async def main() -> tuple[list[float], list[float]]:
        shared = limiter(None)
        shared.pause("c", "m", 1e12)

        async def refused() -> float:
            with pytest.raises(ProviderPaused, match="wants no calls of 'm' for") as caught:
                await shared.reserve("c", "m", input_tokens=0, output_tokens=0, patience=900.0)
            return caught.value.seconds

        told = list(await asyncio.gather(refused(), refused()))
        assert virtual_now() == 0.0
        await asyncio.sleep(2699)
        told.append(await refused())
        await asyncio.sleep(1)
        (await shared.reserve("c", "m", input_tokens=0, output_tokens=0, patience=900.0)).settle()
        return told, [virtual_now()]

    assert run_virtually(main()) == ([1e12, 1e12, 1e12 - 2699], [3600.0])


def test_a_pause_of_a_minute_is_borne_by_the_most_impatient() -> None:
    async def main() -> float:
        shared = limiter(None)
        shared.pause("c", "m", 60.0)
        (await shared.reserve("c", "m", input_tokens=0, output_tokens=0, patience=1.0)).settle()
        return virtual_now()

    assert run_virtually(main()) == 60.0


@pytest.mark.parametrize("steps", [0, 1])
def test_a_call_that_is_cancelled_when_its_turn_comes_uses_nothing_up(steps: int) -> None:
    async def main() -> list[float]:
        shared = limiter(RequestLimits(requests_per_minute=2))
        cancelled = asyncio.create_task(instant_call(shared))
        for _ in range(steps):
            await asyncio.sleep(0)
        cancelled.cancel()
        return await asyncio.gather(*(instant_call(shared) for _ in range(2)))

    assert run_virtually(main()) == [0.0, 0.0]


def test_whoever_is_let_out_goes_on_before_the_next_is() -> None:
    async def main() -> list[str]:
        shared, told = limiter(RequestLimits(requests_per_minute=10)), list[str]()

        async def call(name: str) -> None:
            (await shared.reserve("c", "m", input_tokens=0, output_tokens=0)).settle()
            told.append(f"{name} is let out")
            await asyncio.sleep(0)
            told.append(f"{name} sends")

        await asyncio.gather(call("a"), call("b"))
        return told

    assert run_virtually(main()) == ["a is let out", "a sends", "b is let out", "b sends"]


@pytest.mark.parametrize("cancelled", [1, 2], ids=["the first in line", "one further back"])
def test_a_cancelled_wait_gives_its_place_back(cancelled: int) -> None:
    async def main() -> list[float]:
        shared = limiter(RequestLimits(requests_per_minute=1))
        tasks = [asyncio.create_task(instant_call(shared)) for _ in range(4)]
        await asyncio.sleep(5)
        tasks.pop(cancelled).cancel()
        return await asyncio.gather(*tasks)

    assert run_virtually(main()) == [0.0, 60.0, 120.0]


def test_only_the_first_in_line_has_a_timer() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(seconds)

    async def main() -> None:
        shared = RateLimiter(RequestLimits(requests_per_minute=10), clock=virtual_now, sleep=sleep)
        await asyncio.gather(*(instant_call(shared) for _ in range(30)))

    run_virtually(main())
    assert slept == [60.0, 60.0]


@dataclass(frozen=True)
class Call:
    at: int
    input_tokens: int
    output_tokens: int
    stays: int
    """Seconds before it leaves."""
    lasts: int
    used: float
    """The part of the estimate that it really uses."""
    again: float
    """The part of that time after which it leaves once more, if it does."""
    answered: bool


calls = st.lists(
    st.builds(
        Call,
        at=st.integers(0, 200),
        input_tokens=st.integers(0, 50),
        output_tokens=st.integers(0, 50),
        stays=st.integers(0, 9),
        lasts=st.integers(0, 90),
        used=st.sampled_from([0.0, 0.5, 1.0]),
        again=st.sampled_from([0.0, 0.0, 0.5]),
        answered=st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@dataclass(frozen=True)
class Seen:
    sent: float
    over: float
    answered: bool
    input_tokens: int
    output_tokens: int


async def make(call: Call, limiter: RateLimiter) -> Seen:
    await asyncio.sleep(call.at)
    reservation: Reservation = await limiter.reserve("c", "m", input_tokens=call.input_tokens, output_tokens=call.output_tokens)
    await asyncio.sleep(call.stays)
    reservation.leave()
    sent = virtual_now()
    if call.again:
        await asyncio.sleep(call.lasts * call.again)
        reservation.leave()
        sent = virtual_now()
    await asyncio.sleep(call.lasts * (1 - call.again))
    used_input, used_output = int(call.input_tokens * call.used), int(call.output_tokens * call.used)
    reservation.settle(used_input, used_output, answered=call.answered)
    return Seen(sent, virtual_now(), call.answered, used_input, used_output)


def largest_window(counted: list[tuple[float, int]]) -> int:
    """The largest sum over any 60 seconds, the end excluded."""
    return max((sum(n for moment, n in counted if start <= moment < start + MINUTE) for start, _ in counted), default=0)


@settings(deadline=None, max_examples=examples(60, 500))
@given(calls)
def test_no_minute_holds_more_than_the_limits_whenever_the_provider_counts(calls: list[Call]) -> None:
    limits = RequestLimits(
        requests_per_minute=5, input_tokens_per_minute=100, output_tokens_per_minute=120, tokens_per_minute=150, max_in_flight=4
    )

    async def main() -> list[Seen]:
        shared = limiter(limits)
        return await asyncio.gather(*(make(call, shared) for call in calls))

    seen = run_virtually(main())
    assert len(seen) == len(calls)
    for arrival in (0.0, 0.5, 1.0):
        arrived = [min(call.sent + arrival, call.over if call.answered else inf) for call in seen]
        assert largest_window([(moment, 1) for moment in arrived]) <= 5
        assert largest_window([(moment, call.input_tokens) for moment, call in zip(arrived, seen, strict=True)]) <= 100
    for counted_at in ("sent", "over"):
        assert largest_window([(getattr(call, counted_at), call.output_tokens) for call in seen]) <= 120
        assert largest_window([(getattr(call, counted_at), call.input_tokens + call.output_tokens) for call in seen]) <= 150
    for call in seen:
        assert sum(other.sent <= call.sent < other.over for other in seen) <= 4


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(1, 100))
def test_instant_requests_need_the_least_possible_time(limit: int, requests: int) -> None:
    assert max(starts(RequestLimits(requests_per_minute=limit), [(0, 0)] * requests)) == MINUTE * ((requests - 1) // limit)


@pytest.mark.parametrize("name", [name for name in RequestLimits.model_fields if name != "watch_latency"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        RequestLimits.model_validate({name: 0})
