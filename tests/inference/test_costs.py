"""Prices and budgets: what a reply cost is stored with it, and a run stops before it costs more than it may."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minference.clients.base import Reply, TokenUsage
from minference.clients.scripted import ScriptedClient
from minference.ecs.identity import utc_now
from minference.errors import BudgetExceeded, ProviderRefused, ProviderTimeout, UnknownPrice
from minference.inference.budgets import Budget, Estimate, Spent
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Completed, Outcome
from minference.inference.prices import Price, PriceList
from minference.inference.retries import Retrier
from minference.inference.spending import UsageOfDay, usage_by_day
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.messages import FinishReason
from minference.threads.thread import ChatThread
from tests.inference.helpers import AT_ONCE, completed, failed, said, thread
from tests.support.virtual_time import run_virtually, virtual_now

USAGE = TokenUsage(prompt=1000, completion=100, cached=400)
PRICE = Price(input=1.0, output=10.0, cached=0.5)


def reply(usage: TokenUsage = USAGE) -> Reply:
    return Reply(content="Yes.", model="model", finish_reason=FinishReason.stop, usage=usage)


def test_prices_are_those_of_the_library_for_providers_that_are_certain() -> None:
    prices = PriceList()
    now = datetime(2026, 11, 1, tzinfo=UTC)
    assert prices.cost("openai", "gpt-4o", USAGE, at=now) == pytest.approx((600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6)
    assert prices.cost("openai", "gpt-4o-2024-08-06", USAGE, at=now) == prices.cost("azure_openai", "gpt-4o", USAGE, at=now)
    assert prices.cost("vllm", "gpt-4o", USAGE, at=now) is None
    assert prices.cost("openai", "no-such-model", USAGE, at=now) is None
    assert prices.cost("anthropic", "claude-haiku-5-5", TokenUsage(1000, 100, cached=300, cache_written=200), at=now) is not None


def test_the_prices_of_the_application_come_first_and_the_narrower_before_the_wider() -> None:
    prices = PriceList({"vllm": Price(input=0, output=0), "vllm/large": PRICE, "openai/gpt-4o": PRICE})
    assert prices.cost("vllm", "small", USAGE) == 0.0
    assert prices.cost("vllm", "large", USAGE) == prices.cost("openai", "gpt-4o", USAGE) == pytest.approx((600 + 200 + 1000) / 1e6)
    assert Price(input=1.0, output=10.0).of(USAGE) == pytest.approx(2000 / 1e6)


async def test_what_a_reply_cost_is_stored_with_its_usage(storage: EntityStorage) -> None:
    chat, other = thread("a"), thread("b", client="free")
    clients = {"scripted": ScriptedClient([reply()]), "free": ScriptedClient([reply()], name="free")}
    async with InferenceOrchestrator(storage, clients=clients, prices={"scripted": PRICE}) as orchestrator:
        first, second = await orchestrator.run([chat, other])
    stored = [(await storage.get(ChatThread, each.ecs_id)).history[-1].usage for each in (chat, other)]
    assert [usage and usage.cost_usd for usage in stored] == [pytest.approx(0.0018), None]
    assert (completed(first).spent, completed(second).spent) == (Spent(1, 1100, 0.0018), Spent(1, 1100, None))
    today = utc_now().date()
    assert await usage_by_day(storage) == [UsageOfDay(today, "model", 2, 2000, 200, 800, 0.0018, 1)]


async def test_a_reply_counts_once_however_many_versions_hold_it(storage: EntityStorage) -> None:
    chat = thread("a")
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient([reply()])}) as orchestrator:
        await orchestrator.run([chat])
        copy = await storage.get(ChatThread, chat.ecs_id)
        for each in (chat, copy):
            each.name = "edited"
            each.history[-1].content = "edited"
            await storage.register(each)
        assert [(row.replies, row.cost_usd, row.unpriced) for row in await usage_by_day(storage)] == [(1, None, 1)]


def run(budget: Budget, threads: int, replies: Sequence[object], seconds: float = 1.0) -> tuple[list[Outcome], list[float]]:
    """So many threads at once on one budget; each call takes a while. The outcomes, and when calls began."""
    began: list[float] = []
    script = list(replies)

    async def answer(asked: ChatThread) -> Reply:
        began.append(virtual_now())
        await asyncio.sleep(seconds)
        said = script.pop(0)
        if isinstance(said, Exception):
            raise said
        assert isinstance(said, Reply)
        return said

    async def main() -> list[Outcome]:
        clients = {"scripted": ScriptedClient(answer)}
        retry = Retrier(AT_ONCE, clock=virtual_now, chance=lambda: 0.0)
        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(storage, clients=clients, prices={"scripted": PRICE}, retry=retry) as orchestrator,
        ):
            config = LLMConfig(client="scripted", model="m", max_tokens=1000)
            return await orchestrator.run([thread("x", llm_config=config) for _ in range(threads)], budget=budget)

    return run_virtually(main()), began


def small() -> Reply:
    return reply(TokenUsage(prompt=100, completion=100))


def test_a_call_that_would_pass_the_budget_is_not_made_and_the_question_is_not_consumed() -> None:
    budget = Budget(max_tokens=900)
    [outcome], began = run(budget, 1, [])
    error = failed(outcome).error
    assert isinstance(error, BudgetExceeded)
    assert (began, outcome.thread.new_message, budget.tokens) == ([], "x", 0)
    assert "budget of 900 tokens does not allow the next call: 0 are spent" in str(error)


def test_calls_that_may_fit_wait_for_those_on_their_way_and_the_others_fail() -> None:
    budget = Budget(max_tokens=1500)
    outcomes, began = run(budget, 5, [small() for _ in range(5)])
    assert began == [0.0, 1.0, 2.0]  # 200 tokens each: after three, another 1,000 might be 1,600
    assert [outcome.ok for outcome in outcomes] == [True] * 3 + [False] * 2
    assert all(isinstance(outcome.error, BudgetExceeded) for outcome in outcomes if not outcome.ok)
    assert budget.tokens == 600


def taught(prompt: int, budget: Budget, threads: int, used: int) -> tuple[list[Outcome], list[float]]:
    """Like `run` with replies to requests of `used` tokens, after four other replies said that a small request has `prompt` tokens."""
    began: list[float] = []
    counts = [prompt] * 4 + [used] * threads

    async def answer(asked: ChatThread) -> Reply:
        began.append(virtual_now())
        await asyncio.sleep(1.0)
        return reply(TokenUsage(prompt=counts.pop(0), completion=100))

    async def main() -> list[Outcome]:
        clients, config = {"scripted": ScriptedClient(answer)}, LLMConfig(client="scripted", model="m", max_tokens=1000)
        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(storage, clients=clients, prices={"scripted": PRICE}) as orchestrator,
        ):
            await orchestrator.run([thread("x", llm_config=config) for _ in range(4)])
            return await orchestrator.run([thread("x", llm_config=config) for _ in range(threads)], budget=budget)

    return run_virtually(main()), began[4:]


@pytest.mark.parametrize("limit", [{"max_tokens": 4_000}, {"max_cost": 0.0125}, {"max_cost": Decimal("0.0125")}])
def test_a_call_that_exceeds_a_whole_budget_only_by_what_was_learned_takes_all_that_is_left(limit: dict[str, Any]) -> None:
    budget = Budget(**limit)
    outcomes, began = taught(5_000, budget, 3, used=100)  # expected to take 6,000 tokens; about 1,020 without what was learned
    assert [outcome.ok for outcome in outcomes] == [True] * 3
    assert began == [1.0, 2.0, 3.0]
    assert budget.tokens == 600


def test_a_call_that_exceeds_a_whole_budget_anyhow_is_not_made() -> None:
    [outcome], began = taught(5_000, Budget(max_tokens=1_000), 1, used=100)
    error = failed(outcome).error
    assert isinstance(error, BudgetExceeded)
    assert began == []
    assert 1_000 < error.needed < 1_100


def test_what_was_learned_counts_where_it_fits_into_the_budget() -> None:
    budget = Budget(max_tokens=4_000)
    outcomes, began = taught(1_900, budget, 2, used=1_900)  # 2,900 may be needed, and 2,000 are left
    assert [outcome.ok for outcome in outcomes] == [True, False]
    assert (began, budget.tokens) == ([1.0], 2_000)


def test_dollars_are_limited_as_well() -> None:
    budget = Budget(max_cost=0.0125)  # a call may cost 0.01 and a little, and costs 0.0011
    outcomes, began = run(budget, 4, [small() for _ in range(4)])
    assert began == [0.0, 1.0, 2.0]
    assert [outcome.ok for outcome in outcomes] == [True, True, True, False]
    assert budget.cost == pytest.approx(3 * 0.0011)
    assert repr(budget) == "Budget(max_cost=0.0125): 600 tokens and $0.0033 spent"


def test_a_refused_call_costs_nothing_and_one_that_timed_out_may_have_cost_all() -> None:
    budget = Budget(max_tokens=10_000)
    refused = ProviderRefused("scripted", "busy", status=503, retryable=True)
    late = ProviderTimeout("scripted", "late", retryable=True)
    [outcome], _ = run(budget, 1, [refused, late, small()])
    assert completed(outcome).spent.tokens == 200
    assert 1000 + 200 < budget.tokens < 1000 + 200 + 100


async def test_a_limit_in_dollars_needs_a_price(memory: EntityStorage) -> None:
    chat = thread("a")
    client = ScriptedClient()
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([chat], budget=Budget(max_cost=1.0))
        assert isinstance(failed(outcome).error, UnknownPrice)
        assert (client.requests, chat.new_message) == ([], "a")
        [outcome] = await orchestrator.run([chat], budget=Budget(max_tokens=10_000))
    assert said(chat)[-1] == ("assistant", "You said: a")
    assert outcome.ok


@pytest.mark.parametrize("wrong", [{"max_cost": -1.0}, {"max_cost": float("nan")}, {"max_tokens": -1}])
def test_a_budget_below_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Budget(**wrong)  # type: ignore[arg-type]  # that is the point


calls = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 400), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 20)), max_size=25)


@given(calls, st.integers(0, 1000))
def test_no_order_of_calls_passes_a_budget_and_nobody_waits_for_ever(calls: list[tuple[int, int, float, int]], limit: int) -> None:
    async def call(budget: Budget, at: int, tokens: int, used: float, lasts: int) -> int:
        await asyncio.sleep(at)
        try:
            hold = await budget.hold(Estimate("c", "m", tokens, tokens / 1000))
        except BudgetExceeded:
            return 0
        await asyncio.sleep(lasts)
        spent = int(tokens * used)
        hold.settle(spent, spent / 1000)
        hold.settle(10**9, 1e9)
        return spent

    async def main() -> tuple[int, Budget]:
        budget = Budget(max_tokens=limit, max_cost=limit / 1000)
        return sum(await asyncio.gather(*(call(budget, *each) for each in calls))), budget

    spent, budget = run_virtually(main())
    assert spent == budget.tokens <= limit
    assert budget.cost == pytest.approx(spent / 1000)


async def test_a_budget_counts_the_estimate_of_replies_whose_provider_counts_nothing(memory: EntityStorage) -> None:
    client = ScriptedClient(lambda _: Reply(content="Yes.", model="m", finish_reason=FinishReason.stop, usage=TokenUsage(0, 0)))
    budget = Budget(max_tokens=3_000)
    config = LLMConfig(client="scripted", model="m", max_tokens=500)
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        outcomes = await orchestrator.run([thread(llm_config=config) for _ in range(20)], budget=budget)
    assert 1 <= len(client.requests) <= 6
    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == len(client.requests)
    assert budget.tokens <= 3_000
