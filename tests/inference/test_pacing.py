"""Limits, retries and threads together, in virtual time: what a provider sees of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from minference.clients.base import Reply as ModelReply
from minference.clients.base import Request, Response, TextDelta, TokenUsage
from minference.clients.scripted import Said, ScriptedClient
from minference.errors import ProviderRefused, ProviderTimeout
from minference.inference.limits import RateLimiter, RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Completed, Outcome
from minference.inference.retries import Retrier, RetryPolicy
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import FinishReason
from tests.inference.helpers import thread
from tests.support.virtual_time import run_virtually, virtual_now


class Timed(ScriptedClient):
    """Remembers when each request came, by model."""

    def __init__(self, script: Sequence[Said] = ()) -> None:
        super().__init__(lambda asked: self.failures.pop(0) if self.failures else "Yes.")
        self.failures = list(script)
        self.came: list[tuple[str, float]] = []

    async def send(self, request: Request, *, timeout: float) -> Response:
        self.came.append((request["model"], virtual_now()))
        return await super().send(request, timeout=timeout)


class Slow(Timed):
    """Takes its time until a request leaves, and to answer."""

    async def send(self, request: Request, *, timeout: float) -> Response:
        await asyncio.sleep(5.0)  # a connection is set up, the loop is busy
        response = await super().send(request, timeout=timeout)
        await asyncio.sleep(100.0)
        return response

    async def stream(self, request: Request, *, timeout: float) -> AsyncGenerator[TextDelta | Response, None]:
        await asyncio.sleep(5.0)
        response = await super().send(request, timeout=timeout)
        await asyncio.sleep(0.5)
        yield TextDelta(response.payload["content"])
        await asyncio.sleep(100.0)
        yield response


def counted(prompt: int) -> ModelReply:
    """A reply to a request of so many tokens, as the provider counts."""
    return ModelReply(content="Yes.", model="a", finish_reason=FinishReason.stop, usage=TokenUsage(prompt=prompt, completion=1))


def run_in_turn(client: Timed, texts: Sequence[str], limits: RequestLimits) -> list[Outcome]:
    """Run a thread for each of these texts, one after the other."""

    async def main() -> list[Outcome]:
        limiter = RateLimiter(limits, clock=virtual_now)
        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(storage, clients={"scripted": client}, limits=limiter) as orchestrator,
        ):
            return await orchestrator.run([thread(text) for text in texts], concurrency=1)

    return run_virtually(main())


def run(client: Timed, models: Sequence[str], limits: RequestLimits | None = None, **config: int) -> list[Outcome]:
    """Run a thread for each of these models, all at second 0."""

    async def main() -> list[Outcome]:
        limiter = RateLimiter(limits, clock=virtual_now)
        retrier = Retrier(RetryPolicy(), clock=virtual_now, chance=lambda: 0.0)
        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(storage, clients={"scripted": client}, limits=limiter, retry=retrier) as orchestrator,
        ):
            threads = [thread(llm_config=LLMConfig(client="scripted", model=model, **config)) for model in models]  # type: ignore[arg-type]  # numbers only
            return await orchestrator.run(threads)

    return run_virtually(main())


def test_retry_after_pauses_the_model_that_asked_for_it_and_no_other() -> None:
    slow_down = ProviderRefused("scripted", "slow down", status=429, retryable=True, retry_after=20.0)
    client = Timed([slow_down])
    outcomes = run(client, ["a", "a", "a", "b"], RequestLimits(max_in_flight=1))
    assert [type(outcome) for outcome in outcomes] == [Completed] * 4
    assert client.came == [("a", 0.0), ("b", 0.0), ("a", 20.0), ("a", 20.0), ("a", 20.0)]


def test_the_minute_of_a_request_begins_when_it_must_have_arrived_however_long_it_takes_to_leave() -> None:
    client = Slow()
    run(client, ["a", "a", "a"], RequestLimits(requests_per_minute=2))
    # It has left at 5.0, is there by 6.0, and the next one takes its time as well.
    assert client.came == [("a", 5.0), ("a", 5.0), ("a", 71.0)]


def test_the_minute_of_a_stream_begins_with_its_first_text() -> None:
    client = Slow()

    async def main() -> None:
        limiter = RateLimiter(RequestLimits(requests_per_minute=1), clock=virtual_now)
        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(storage, clients={"scripted": client}, limits=limiter) as orchestrator,
            aclosing(orchestrator.stream(thread(llm_config=LLMConfig(client="scripted", model="a")))) as first,
        ):
            while not isinstance(await anext(first), TextDelta):
                pass
            await orchestrator.run([thread(llm_config=LLMConfig(client="scripted", model="a"))])

    run_virtually(main())
    assert client.came == [("a", 5.0), ("a", 70.5)]


def test_a_retry_waits_for_the_limit_like_every_call() -> None:
    client = Timed([ProviderTimeout("scripted", "late", retryable=True)])
    run(client, ["a", "a"], RequestLimits(requests_per_minute=2))
    assert client.came == [("a", 0.0), ("a", 0.0), ("a", 60.0)]


def test_a_refused_request_gives_its_tokens_back_and_keeps_its_place_among_the_requests() -> None:
    refused = ProviderRefused("scripted", "overloaded", status=503, retryable=True)
    client = Timed([refused])
    run(client, ["a"], RequestLimits(tokens_per_minute=1100, requests_per_minute=1), max_tokens=1000)
    assert client.came == [("a", 0.0), ("a", 60.0)]
    client = Timed([refused])
    run(client, ["a"], RequestLimits(tokens_per_minute=1100), max_tokens=1000)
    assert client.came == [("a", 0.0), ("a", 0.5)]


def test_a_timed_out_request_keeps_its_tokens_for_it_may_have_been_served() -> None:
    client = Timed([ProviderTimeout("scripted", "late", retryable=True)])
    run(client, ["a"], RequestLimits(tokens_per_minute=1100), max_tokens=1000)
    assert client.came == [("a", 0.0), ("a", 60.0)]


def test_what_a_reply_used_replaces_the_estimate() -> None:
    client = Timed([counted(10)] * 5)
    run(client, ["a"] * 5, RequestLimits(tokens_per_minute=1200), max_tokens=1000)
    assert client.came == [("a", 0.0)] * 5


def test_tokens_that_a_provider_adds_to_a_small_request_do_not_make_the_next_document_too_large() -> None:
    client = Timed([counted(400), counted(14_400)])
    outcomes = run_in_turn(client, ["Hi.", "word " * 11_200], RequestLimits(input_tokens_per_minute=15_000))
    assert [type(outcome) for outcome in outcomes] == [Completed] * 2
    assert client.came == [("model", 0.0), ("model", 0.0)]


def test_a_request_that_is_too_large_only_by_what_was_learned_waits_for_the_whole_limit() -> None:
    client = Timed([counted(9_000)] * 3 + [counted(100)])
    outcomes = run_in_turn(client, ["Hi."] * 3 + ["word " * 1_200], RequestLimits(input_tokens_per_minute=10_000))
    assert [type(outcome) for outcome in outcomes] == [Completed] * 4
    assert client.came == [("model", at) for at in (0.0, 0.0, 60.0, 120.0)]


def test_a_provider_that_counts_no_tokens_is_sent_no_more_than_the_limit() -> None:
    client = Timed([counted(0)] * 7)
    run_in_turn(client, ["word " * 1_600] * 7, RequestLimits(input_tokens_per_minute=7_000))  # about 2,020 each
    assert client.came == [("model", at) for at in (0.0, 0.0, 0.0, 60.0, 60.0, 60.0, 120.0)]
