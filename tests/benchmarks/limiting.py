"""How close to a provider's limit we come, as the provider counts it: over every window of a minute, exactly."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

from minference.clients.openai import OpenAIClient
from minference.inference.limits import RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Completed
from minference.profiles import built_in_profiles
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread
from tests.benchmarks.provider import TOKENS, Seen, provider
from tests.benchmarks.report import heading, line

PER_MINUTE = 1_200
COUNT = 3_000
"""Two minutes full and half of a third: none does it faster than in two minutes, and a call more or less does not take another."""


async def measure_limits(_directory: Path) -> None:
    """Send as many requests as two and a half minutes allow, under a limit on requests, then under one on tokens."""
    heading(f"{COUNT:,} calls where a provider counts {PER_MINUTE:,} in every minute: four minutes of measuring")
    for name, own, theirs in (
        ("requests", RequestLimits(requests_per_minute=PER_MINUTE), {"requests": PER_MINUTE}),
        ("tokens", RequestLimits(tokens_per_minute=PER_MINUTE * TOKENS), {"tokens": PER_MINUTE * TOKENS}),
    ):
        seen, failed = await _take(own, theirs)
        line(f"limit on {name}: the least time against ours", f"{120 / (seen.last - seen.first):.1%}", ">= 97 %")
        line("refused by the provider; lost", f"{seen.refused}; {failed}", "0; 0")


async def _take(limits: RequestLimits, theirs: dict[str, int]) -> tuple[Seen, int]:
    with provider(**theirs) as server:
        profile = built_in_profiles()["openai"].model_copy(update={"base_url": f"{server.url}/v1", "key_env": None})
        config = LLMConfig(client="openai", model="m-1", max_tokens=10)
        threads = (ChatThread(llm_config=config, new_message="What is two and two?") for _ in range(COUNT))
        client = OpenAIClient(profile)
        orchestrator = InferenceOrchestrator(clients={"openai": client}, limits={"openai": limits})
        async with aclosing(client), open_storage("memory:"), orchestrator:
            outcomes = [outcome async for outcome in orchestrator.as_completed(threads, concurrency=COUNT)]
        return server.report(), sum(not isinstance(outcome, Completed) for outcome in outcomes)
