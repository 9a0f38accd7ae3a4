"""What a completion costs the client, beside the vendor's SDK and beside plain HTTP, against a provider on loopback."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minference.clients.openai import OpenAIClient
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Completed
from minference.profiles import built_in_profiles
from minference.storage.open import open_storage
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread
from tests.benchmarks.provider import Provider, provider
from tests.benchmarks.report import heading, line

COUNT, AT_ONCE = 2_000, 64
ROUNDS = 5
MESSAGES: Any = [{"role": "user", "content": "What is two and two?"}]
Work = Callable[[Provider, int, int], Awaitable[None]]
"""Makes so many calls, so many of them at once."""


@dataclass(frozen=True)
class Cost:
    """Per completion, the best of some rounds."""

    cpu: float
    """Seconds of this process."""
    wall: float


async def with_sdk(server: Provider, count: int, at_once: int) -> None:
    """The openai SDK as it comes, with gather and a semaphore."""
    from openai import AsyncOpenAI

    semaphore = asyncio.Semaphore(at_once)
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="a-key", max_retries=0) as client:

        async def call() -> str | None:
            async with semaphore:
                reply = await client.chat.completions.create(model="m-1", messages=MESSAGES, max_completion_tokens=100)
            return str(reply.choices[0].message.content)

        await asyncio.gather(*(call() for _ in range(count)))


async def with_plain_http(server: Provider, count: int, at_once: int) -> None:
    """aiohttp, and the JSON read: the floor."""
    import aiohttp

    body = {"model": "m-1", "messages": MESSAGES, "max_completion_tokens": 100}
    semaphore = asyncio.Semaphore(at_once)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> str:
            async with semaphore, session.post(f"{server.url}/v1/chat/completions", json=body) as reply:
                return str((await reply.json())["choices"][0]["message"]["content"])

        await asyncio.gather(*(call() for _ in range(count)))


async def with_ours(url: str, server: Provider, count: int, at_once: int) -> None:
    """Threads through the orchestrator, every step saved."""
    profile = built_in_profiles()["openai"].model_copy(update={"base_url": f"{server.url}/v1", "key_env": None})
    config = LLMConfig(client="openai", model="m-1", max_tokens=100)
    threads = (ChatThread(llm_config=config, new_message="What is two and two?") for _ in range(count))
    client = OpenAIClient(profile)
    async with aclosing(client), open_storage(url) as storage, InferenceOrchestrator(storage, clients={"openai": client}) as orchestrator:
        async for outcome in orchestrator.as_completed(threads, concurrency=at_once):
            assert isinstance(outcome, Completed), outcome


@dataclass(frozen=True)
class Case:
    """What is measured: so many calls, so many of them at once."""

    work: Work
    count: int
    at_once: int


async def costs(server: Provider, cases: Mapping[str, Case]) -> dict[str, Cost]:
    """Of one completion in each case. They take turns, for the machine changes its speed within minutes."""
    found: dict[str, list[Cost]] = {name: [] for name in cases}
    for case in cases.values():
        await case.work(server, 100, case.at_once)  # what is imported and compiled once
    for _ in range(ROUNDS):
        for name, case in cases.items():
            gc.collect()
            cpu, wall = time.process_time(), time.perf_counter()
            await case.work(server, case.count, case.at_once)
            found[name].append(Cost((time.process_time() - cpu) / case.count, (time.perf_counter() - wall) / case.count))
    return {name: Cost(min(each.cpu for each in several), min(each.wall for each in several)) for name, several in found.items()}


async def measure_completions(directory: Path) -> None:
    """Print what completions cost."""
    files = (f"sqlite:///{directory / f'completions_{number}.db'}" for number in range(1_000))

    async def in_memory(server: Provider, count: int, at_once: int) -> None:
        await with_ours("memory:", server, count, at_once)

    async def durably(server: Provider, count: int, at_once: int) -> None:
        await with_ours(next(files), server, count, at_once)

    works: dict[str, tuple[Work, str]] = {
        "plain HTTP (aiohttp)": (with_plain_http, ""),
        "openai SDK, gather and a semaphore": (with_sdk, ""),
        "ours, in memory": (in_memory, "<= 0.6x"),
        "ours, each step durable in SQLite": (durably, "<= 1.0x"),
    }
    heading(f"{COUNT:,} instant completions, {AT_ONCE} at once: CPU of the client, and completions per second")
    with provider() as server:
        measured = await costs(server, {name: Case(work, COUNT, AT_ONCE) for name, (work, _) in works.items()})
    sdk = measured["openai SDK, gather and a semaphore"]
    for name, (_, budget) in works.items():
        line(name, f"{measured[name].cpu * 1e3:.2f} ms {measured[name].cpu / sdk.cpu:>6.2f}x", budget)
        line("", f"{1 / measured[name].wall:,.0f}/s")
    heading(f"{2 * COUNT:,} in memory with 200 ms of latency: CPU of the client against {AT_ONCE} at once")
    cases = {f"{at_once:,} in flight": Case(in_memory, 2 * COUNT, at_once) for at_once in (AT_ONCE, 500, 2_000)}
    with provider(latency=0.2) as server:
        measured = await costs(server, cases)
    few = next(iter(measured.values()))
    for name, found in measured.items():
        line(name, f"{found.cpu * 1e3:.2f} ms {found.cpu / few.cpu:>6.2f}x", "<= 1.15x" if found is not few else "")
