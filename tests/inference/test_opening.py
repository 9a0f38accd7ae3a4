"""What a client has to do once, such as importing an SDK, takes up no time of a call that has its room under the limits."""

from __future__ import annotations

import asyncio
import time

import pytest

from minference.clients.anthropic import AnthropicClient
from minference.clients.openai import OpenAIClient
from minference.clients.scripted import FunctionClient
from minference.clients.transport import Sdk
from minference.inference.limits import RateLimiter, RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.profiles import load_profiles
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.testing import ProviderServer
from minference.threads.thread import ChatThread
from tests.inference.helpers import completed, thread
from tests.support.virtual_time import run_virtually, virtual_now

built: list[str] = []


class OpenAI(OpenAIClient):
    """Tells when it makes the SDK's object."""

    def _build(self) -> Sdk:
        built.append(self.name)
        return super()._build()


class Anthropic(AnthropicClient):
    """The same."""

    def _build(self) -> Sdk:
        built.append(self.name)
        return super()._build()


@pytest.mark.parametrize("cls", [OpenAI, Anthropic])
async def test_an_sdk_is_there_before_a_call_takes_its_room(
    memory: EntityStorage, provider_server: ProviderServer, cls: type[OpenAI | Anthropic]
) -> None:
    built.clear()
    taken: list[bool] = []

    def clock() -> float:
        taken.append(bool(built))
        return time.monotonic()

    client = cls(load_profiles()["openai" if cls is OpenAI else "anthropic"])
    limiter = RateLimiter(RequestLimits(requests_per_minute=60), clock=clock)
    threads = [thread(str(number), client="mine") for number in range(5)]
    async with InferenceOrchestrator(memory, limits=limiter, clients={"mine": client}) as orchestrator:
        outcomes = await orchestrator.run(threads)
    await client.aclose()
    assert all(outcome.ok for outcome in outcomes)
    assert (built, set(taken)) == ([client.name], {True})
    assert len(provider_server.requests) == 5


def test_a_client_that_takes_long_to_open_leaves_no_gap_in_the_minute() -> None:
    called: list[float] = []

    class Slow(FunctionClient):
        def __init__(self) -> None:
            super().__init__(self._answer)
            self._opened: asyncio.Task[None] | None = None

        async def open(self) -> None:
            if self._opened is None:
                self._opened = asyncio.create_task(asyncio.sleep(30.0))
            await asyncio.shield(self._opened)

        def _answer(self, _: ChatThread) -> str:
            called.append(virtual_now())
            return "an answer"

    async def main() -> None:
        limiter = RateLimiter(RequestLimits(requests_per_minute=1), clock=virtual_now)
        async with (
            open_storage("memory:") as storage,
            InferenceOrchestrator(storage, limits=limiter, clients={"scripted": Slow()}) as orchestrator,
        ):
            for outcome in await orchestrator.run([thread("one"), thread("two")]):
                completed(outcome)
        assert called[0] == 30.0
        assert called[1] - called[0] >= 60.0

    run_virtually(main())
