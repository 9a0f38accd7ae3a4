"""An attempt that gave no reply may have to be paid for: limits, budgets and sums count what the provider says that it used."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from minference.clients.base import Request, Response, TextDelta, TokenUsage
from minference.clients.scripted import ScriptedClient
from minference.errors import BudgetExceeded, InvalidReply, ProviderError, ProviderRefused
from minference.inference.buckets import Bucket, LocalBucket, Room
from minference.inference.budgets import Budget, Spent
from minference.inference.events import Finished
from minference.inference.limits import Quota, RateLimiter, RequestLimits, concurrency_of, meters_of
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Failed
from minference.inference.prices import Price
from minference.inference.retries import RetryPolicy
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread
from tests.clients.test_http import Server, client_of, keys, whole
from tests.inference.helpers import failed, thread

__all__ = ["keys"]

PRICE = Price(input=1.0, output=10.0, cached=0.5)
ONCE = RetryPolicy(max_attempts=1)
MOST = 100
"""Tokens that a reply may have."""


class Counting(LocalBucket):
    """Remembers what calls are settled with."""

    def __init__(self, settled: list[tuple[int, int]], limits: RequestLimits) -> None:
        super().__init__(meters_of(limits), concurrency_of(limits), time.monotonic, asyncio.sleep)
        self.settled = settled

    def settle(self, room: Room, input_tokens: int, output_tokens: int, *, answered: bool) -> None:
        self.settled.append((input_tokens, output_tokens))
        super().settle(room, input_tokens, output_tokens, answered=answered)


class Ledger:
    """Quotas that remember what calls are settled with."""

    def __init__(self) -> None:
        self.settled: list[tuple[int, int]] = []

    def bucket(self, quota: Quota, limits: RequestLimits) -> Bucket:
        return Counting(self.settled, limits)

    async def aclose(self) -> None:
        """Nothing is open."""


def asking(client: str) -> ChatThread:
    return thread("Hi.", llm_config=LLMConfig(client=client, model="m", max_tokens=MOST))


def events(*told: dict[str, Any]) -> bytes:
    lines = (f"event: {event.get('type', 'message')}\ndata: {json.dumps(event)}\n\n" for event in told)
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + "".join(lines).encode()


def completion(finish_reason: object, message: object, usage: object) -> bytes:
    choice = {"index": 0, "finish_reason": finish_reason, "message": message}
    return whole(json.dumps({"model": "m", "choices": [choice], "usage": usage}).encode())


START = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 5000, "output_tokens": 1}}}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Well"}}
MORE = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ", then"}}
LONG = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 700}}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
CHUNK = {"model": "m", "choices": [{"index": 0, "delta": {"content": "Well"}}], "usage": {"prompt_tokens": 5000, "completion_tokens": 2}}
USED = {"prompt_tokens": 5000, "completion_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 4000}}


async def in_vain(
    storage: EntityStorage, client: str, answer: bytes, *, stream: bool, threads: int = 1, budget: Budget
) -> tuple[list[Failed], list[tuple[int, int]], int]:
    """The outcomes of threads whose every call is answered so, what their calls were settled with, and how many calls there were."""
    server, ledger = Server(), Ledger()
    async with server.serving(lambda _line: answer, then_hang_up=True):
        asked = client_of(server.url, client)
        async with InferenceOrchestrator(
            storage, clients={client: asked}, limits=RateLimiter(shared=ledger), retry=ONCE, prices={client: PRICE}
        ) as orchestrator:
            outcomes: list[Any] = []
            for _ in range(threads):
                if stream:
                    told = [event async for event in orchestrator.stream(asking(client), budget=budget)]
                    assert isinstance(told[-1], Finished)
                    outcomes.append(told[-1].outcome)
                else:
                    outcomes += await orchestrator.run([asking(client)], budget=budget, run_id="r")
        await asked.aclose()
    return [failed(outcome) for outcome in outcomes], ledger.settled, len(server.asked)


@pytest.mark.parametrize(
    ("client", "answer"),
    [
        ("openai", completion("error", {"content": "Half a"}, USED)),
        ("openai", completion(None, {"content": "x"}, USED)),
        ("openai", completion("stop", None, USED)),
        ("openai", completion("tool_calls", {"content": None, "tool_calls": [{"id": "1", "function": {"name": None}}]}, USED)),
        ("openai", whole(json.dumps({"model": "m", "choices": [], "usage": USED}).encode())),
        ("openai", whole(json.dumps({"error": {"message": "busy", "code": 502}, "usage": USED}).encode())),
        (
            "anthropic",
            whole(
                json.dumps(
                    {
                        "model": "m",
                        "content": [{"type": "text", "text": None}],
                        "stop_reason": "end_turn",
                        "usage": {"input_tokens": 1000, "cache_read_input_tokens": 4000, "output_tokens": 1000},
                    }
                ).encode()
            ),
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_that_cannot_be_used_counts_with_what_the_provider_says_it_used(
    memory: EntityStorage, client: str, answer: bytes, stream: bool
) -> None:
    budget = Budget(max_tokens=1_000_000)
    [outcome], settled, _ = await in_vain(memory, client, answer, stream=stream, budget=budget)
    assert isinstance(outcome.error, InvalidReply)
    assert (settled, budget.tokens, outcome.spent.tokens) == ([(5000, 1000)], 6000, 6000)
    assert budget.cost == outcome.spent.cost == pytest.approx((1000 + 4000 * 0.5 + 1000 * 10) / 1e6)
    assert "6000 tokens used" in outcome.attempts[0]


async def test_a_budget_ends_a_run_whose_replies_cannot_be_used_and_the_run_tells_what_they_cost(storage: EntityStorage) -> None:
    budget = Budget(max_tokens=10_000)
    outcomes, _, calls = await in_vain(
        storage, "openai", completion("error", {"content": "Half a"}, USED), stream=False, threads=4, budget=budget
    )
    assert [type(outcome.error) for outcome in outcomes] == [InvalidReply, InvalidReply, BudgetExceeded, BudgetExceeded]
    assert (calls, budget.tokens) == (2, 12_000)
    assert [(outcome.spent.replies, outcome.spent.tokens) for outcome in outcomes] == [(0, 6000), (0, 6000), (0, 0), (0, 0)]
    run = await storage.runs().get("r")
    assert (run.replies, run.tokens) == (0, 12_000)
    assert run.cost_usd == pytest.approx(0.026)


@pytest.mark.parametrize(
    ("client", "answer", "settled"),
    [
        pytest.param("anthropic", events(START, TEXT, MORE), (5000, MOST), id="cut after text"),
        pytest.param("anthropic", events(START, TEXT, MORE, OVERLOADED), (5000, MOST), id="an error after text"),
        pytest.param("anthropic", events(START, TEXT, MORE, LONG, OVERLOADED), (5000, 700), id="more than estimated"),
        pytest.param("anthropic", events(START, TEXT, {"type": "content_block_delta"}), (5000, MOST), id="no event"),
        pytest.param("anthropic", events(START), (5000, MOST), id="cut before text"),
        pytest.param("anthropic", events(START, OVERLOADED), (5000, 1), id="an error before text"),
        pytest.param("anthropic", events(OVERLOADED), (0, 0), id="an error at once"),
        pytest.param("openai", events(CHUNK), (5000, MOST), id="openai, cut"),
        pytest.param("openai", events(CHUNK, {"error": {"message": "busy", "code": 503}}), (5000, MOST), id="openai, an error"),
    ],
)
async def test_a_stream_that_breaks_counts_with_what_was_counted_until_then_and_the_estimate_for_the_rest(
    memory: EntityStorage, client: str, answer: bytes, settled: tuple[int, int]
) -> None:
    budget = Budget(max_tokens=1_000_000)
    [outcome], settlements, _ = await in_vain(memory, client, answer, stream=True, budget=budget)
    assert isinstance(outcome.error, ProviderError)
    assert (settlements, budget.tokens) == ([settled], sum(settled))
    assert budget.cost == pytest.approx((settled[0] + settled[1] * 10) / 1e6)


class Stopping(ScriptedClient):
    """A client of somebody's own, whose errors tell nothing of tokens; fails after some text, if there is any."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__()
        self.texts = texts

    async def stream(self, request: Request, *, timeout: float) -> AsyncGenerator[TextDelta | Response, None]:
        for text in self.texts:
            yield TextDelta(text)
        raise ProviderRefused(self.name, "busy", status=529)


@pytest.mark.parametrize(("texts", "free"), [([], True), (["Well"], False)])
async def test_a_refusal_is_free_until_text_has_come(memory: EntityStorage, texts: list[str], free: bool) -> None:
    budget = Budget(max_tokens=10_000)
    async with InferenceOrchestrator(memory, clients={"scripted": Stopping(texts)}, retry=ONCE) as orchestrator:
        told = [event async for event in orchestrator.stream(asking("scripted"), budget=budget)]
    assert isinstance(told[-1], Finished)
    assert isinstance(failed(told[-1].outcome).error, ProviderRefused)
    assert (budget.tokens == 0) is free
    assert free or budget.tokens > MOST


async def test_an_error_of_a_client_of_ones_own_can_tell_what_was_used(memory: EntityStorage) -> None:
    budget = Budget(max_tokens=10_000)
    error = InvalidReply("scripted", "said nothing", status=200, retryable=True, usage=TokenUsage(40, 2))
    async with InferenceOrchestrator(
        memory, clients={"scripted": ScriptedClient([error, "Fine."])}, retry=RetryPolicy(first_pause=0.0)
    ) as orchestrator:
        [outcome] = await orchestrator.run([asking("scripted")], budget=budget)
    assert outcome.ok
    assert outcome.spent == Spent(1, budget.tokens, None)
    assert budget.tokens > 42
    assert "42 tokens used" in outcome.attempts[0]


class Slow(ScriptedClient):
    """Says when it is asked, and answers so when it is told to."""

    def __init__(self, answer: BaseException | dict[str, Any]) -> None:
        super().__init__()
        self._answer = answer
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def send(self, request: Request, *, timeout: float) -> Response:
        await super().send(request, timeout=timeout)
        self.asked.set()
        await self.may_answer.wait()
        if isinstance(self._answer, BaseException):
            raise self._answer
        return Response(self._answer)


@pytest.mark.parametrize(
    "answer",
    [
        InvalidReply("scripted", "odd", status=200, usage=TokenUsage(100, 7)),
        {"content": 5, "model": "m", "finish_reason": "stop", "usage": {"prompt": 100, "completion": 7}},
    ],
    ids=["refused", "unusable"],
)
async def test_what_fails_while_a_cancelled_run_waits_for_it_counts_and_ends_the_run(
    storage: EntityStorage, answer: BaseException | dict[str, Any]
) -> None:
    client = Slow(answer)
    budget = Budget(max_tokens=10**6)
    async with InferenceOrchestrator(storage, clients={"scripted": client}, retry=ONCE) as orchestrator:
        threads = [asking("scripted") for _ in range(3)]
        running = asyncio.create_task(orchestrator.run(threads, run_id="r", concurrency=1, budget=budget))
        await client.asked.wait()
        running.cancel()
        client.may_answer.set()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert len(client.requests) == 1
    assert budget.tokens >= 107
    [began, *rest] = await storage.runs().entries("r")
    assert [(entry.state.value, entry.tokens) for entry in rest] == [("pending", 0)] * 2
    assert began.state.value == "running"
    assert began.tokens == (107 if isinstance(answer, BaseException) else 0)
