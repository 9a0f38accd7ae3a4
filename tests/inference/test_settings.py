"""What an orchestrator, its limits, retries and budgets cannot be set up with: refused then, with what was wrong and what to pass."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from minference.clients.scripted import ScriptedClient
from minference.errors import ConfigurationError, UnusableText, UnusableValue, WrongArgument
from minference.inference.budgets import Budget
from minference.inference.caching import ResponseCache
from minference.inference.limits import RateLimiter, RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.prices import Price
from minference.inference.progress import RichProgress
from minference.inference.retries import Retrier, RetryPolicy
from minference.inference.sandbox import Sandbox
from minference.inference.telemetry import Telemetry
from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread
from tests.inference.helpers import thread


async def tell(_event: object) -> None:
    """A coroutine function, which nobody would await."""


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"storage": "sqlite:///x.db"}, "storage must be an open storage, from .*open_storage.*, and is 'sqlite:///x.db', of type str"),
    ({"limits": {"s": 60}}, r"limits\['s'\] must be a RequestLimits, as in .*requests_per_minute=60.*, and is 60, of type int"),
    ({"limits": {"s": {"requests_per_minute": 60}}}, r"limits\['s'\] must be a RequestLimits"),
    ({"limits": 60}, "limits must be a dict such as"),
    ({"clients": [ScriptedClient()]}, "clients must be a dict of names and clients"),
    ({"clients": {"s": lambda _: "x"}}, r"clients\['s'\] must be a client, .*FunctionClient\(function\)"),
    ({"clients": {"s": ScriptedClient}}, r"clients\['s'\] must be a client, .*of type type"),
    ({"clients": {"s": None}}, r"clients\['s'\] must be a client"),
    ({"retry": 3}, r"retry must be a RetryPolicy such as RetryPolicy\(max_attempts=3\), .*and is 3, of type int"),
    ({"retry": 0}, "retry must be a RetryPolicy"),
    ({"retry": RetryPolicy}, "retry must be a RetryPolicy"),
    ({"prices": {"s": 1.0}}, r"prices\['s'\] must be a Price, as in .*Price\(input=1.25, output=10\).*, and is 1.0"),
    ({"prices": Price(input=1, output=1)}, "prices must be a dict"),
    ({"structured_attempts": "2"}, "structured_attempts must be an int, and is '2'"),
    ({"structured_attempts": None}, "structured_attempts must be an int"),
    ({"tool_concurrency": 1.5}, "tool_concurrency must be an int, or a ToolConcurrency such as .*, and is 1.5"),
    ({"tool_concurrency": True}, "tool_concurrency must be an int, or a ToolConcurrency"),
    ({"drain_seconds": "30"}, "drain_seconds must be a number of seconds, and is '30'"),
    ({"drain_seconds": None}, "drain_seconds must be a number of seconds, and is None"),
    ({"cache": "yes"}, "cache must be True, False or a ResponseCache, and is 'yes'"),
    ({"cache": None}, "cache must be True, False or a ResponseCache"),
    ({"progress": True}, "progress must be a plain function that takes an event"),
    ({"progress": RichProgress}, r"progress must be .* such as RichProgress\(\)"),
    ({"progress": tell}, "progress must be a plain function"),
    ({"author": 5}, "author must be a str or None, and is 5"),
    ({"telemetry": True}, "telemetry must be a Telemetry or None, and is True"),
]


@pytest.mark.parametrize(
    ("settings", "match"), WRONG, ids=[f"{next(iter(settings))} {number}" for number, (settings, _) in enumerate(WRONG)]
)
def test_settings_of_other_types_are_refused_when_they_are_passed(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(WrongArgument, match=match):
        InferenceOrchestrator(**settings)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"structured_attempts": 0}, "structured_attempts is 0: at least one reply is needed"),
        ({"tool_concurrency": 0}, "tool_concurrency is 0: at least one tool call must be able to run"),
        ({"drain_seconds": -1}, "drain_seconds is -1: pass 0 or more"),
        ({"drain_seconds": float("nan")}, "drain_seconds is nan: pass 0 or more"),
    ],
)
def test_numbers_that_are_too_small_are_refused_when_they_are_passed(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(UnusableValue, match=match) as refused:
        InferenceOrchestrator(**settings)
    assert isinstance(refused.value, ValueError)


def test_an_author_that_no_database_keeps_is_refused_before_anything_is_saved() -> None:
    with pytest.raises(UnusableText):
        InferenceOrchestrator(author="a\0b")


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: RetryPolicy(max_attempts="3"), WrongArgument, "max_attempts must be an int, and is '3'"),  # type: ignore[arg-type]
        (lambda: RetryPolicy(max_attempts=0), UnusableValue, "max_attempts is 0"),
        (lambda: RetryPolicy(max_seconds=None), WrongArgument, "max_seconds must be a number of seconds"),  # type: ignore[arg-type]
        (lambda: RetryPolicy(first_pause=-1), UnusableValue, "first_pause is -1"),
        (lambda: RetryPolicy(longest_pause=float("nan")), UnusableValue, "longest_pause is nan"),
        (lambda: Budget(max_cost="5"), WrongArgument, "max_cost must be a number of dollars or None, and is '5'"),  # type: ignore[arg-type]
        (lambda: Budget(max_tokens=[1]), WrongArgument, "max_tokens must be a number of tokens or None"),  # type: ignore[arg-type]
        (lambda: ResponseCache(max_age="day"), WrongArgument, "max_age must be a number of seconds or None"),  # type: ignore[arg-type]
        (lambda: ResponseCache(max_age=0), UnusableValue, "max_age is 0: pass seconds"),
        (lambda: Sandbox(memory="64 MB"), WrongArgument, "memory of a sandbox must be a number, and is '64 MB'"),  # type: ignore[arg-type]
        (lambda: RateLimiter({"s": 60}), WrongArgument, r"limits\['s'\] must be a RequestLimits"),  # type: ignore[dict-item]
    ],
)
def test_what_settings_are_made_of_is_refused_when_it_is_passed(make: Any, error: type[ConfigurationError], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


async def test_everything_that_the_settings_are_meant_for_is_taken(memory: EntityStorage) -> None:
    dollars: Any = Decimal(1)
    client = ScriptedClient(["yes"])
    settings: dict[str, Any] = {
        "limits": {"scripted/model": RequestLimits(requests_per_minute=60)},
        "clients": {"scripted": client},
        "retry": Retrier(RetryPolicy(max_seconds=float("inf"), first_pause=0)),
        "prices": {"scripted": Price(input=1, output=1)},
        "drain_seconds": 0,
        "cache": ResponseCache(max_age=60),
        "progress": [].append,
        "author": "Ann",
        "telemetry": Telemetry(),
    }
    async with InferenceOrchestrator(memory, **settings) as orchestrator:
        [outcome] = await orchestrator.run(
            [thread()], budget=Budget(max_cost=dollars, max_tokens=10**6), deadline=60, cache=False, about={}
        )
    assert outcome.ok


@pytest.mark.parametrize("method", ["run", "run_parallel_ai_completion", "as_completed"])
async def test_a_thread_that_is_not_in_a_list_is_refused_with_what_to_write(memory: EntityStorage, method: str) -> None:
    client = ScriptedClient()
    wrongs: list[Any] = [thread(), 5, None, "thread", [thread(), "thread", 5, 6]]
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        for wrong in wrongs:
            said = (
                "each of the threads must be a ChatThread, and is 'thread'" if isinstance(wrong, list) else r"also if it is one: \[thread\]"
            )
            with pytest.raises(WrongArgument, match=said):
                await asyncio.wait_for(_taken(getattr(orchestrator, method)(wrong)), 5)
    assert len(client.requests) <= 1  # as_completed takes a thread before it sees the next


async def _taken(given: Any) -> None:
    if hasattr(given, "__aiter__"):
        async for _ in given:
            pass
    else:
        await given


async def test_what_is_no_thread_ends_a_workflow_and_a_stream(memory: EntityStorage) -> None:
    wrong: Any = [thread()]
    async with InferenceOrchestrator(memory) as orchestrator:
        for call in (orchestrator.run_workflow(wrong), orchestrator.stream(wrong)):
            with pytest.raises(WrongArgument, match="must be a ChatThread"):
                await _taken(call)


async def test_a_lazy_sequence_of_threads_is_taken_once(memory: EntityStorage) -> None:
    async with InferenceOrchestrator(memory) as orchestrator:
        lazily: Any = (made for made in [thread("One."), thread("Two.")])
        outcomes = await orchestrator.run_parallel_ai_completion(lazily)
        assert [outcome.thread.history[0].content for outcome in outcomes] == ["One.", "Two."]
        lazy: Any = _Lazy()
        assert [outcome.ok for outcome in await orchestrator.run_parallel_ai_completion(lazy)] == [True, True]


class _Lazy:
    def __iter__(self) -> Any:
        return iter([thread("One."), thread("Two.")])

    def __getitem__(self, _place: int) -> ChatThread:
        return thread("Another.")
