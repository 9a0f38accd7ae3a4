"""A provider that fails in every way at once, and a database that goes away: each thread ends, and nothing answered is lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from minference.clients.scripted import ScriptedClient
from minference.errors import WriteFailed
from minference.inference.limits import RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Completed
from minference.inference.retries import RetryPolicy
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.testing import Fault, Hang, ProviderServer, RecordedRequest, Reset, Status, TruncatedBody
from minference.threads.config import LLMConfig
from minference.threads.messages import MessageRole
from minference.threads.outputs import RawOutput
from minference.threads.thread import ChatThread
from tests.inference.helpers import completed, failed, said, thread
from tests.storage.proxy import PostgresProxy

ATTEMPTS = 4


def faulty(seed: int) -> dict[int, Fault]:
    """What goes wrong with which request: 10 % errors of the server, 5 % too many, 2 % resets, some hung and cut off."""
    chance = random.Random(seed)
    kinds: list[tuple[float, Fault]] = [
        (0.10, Status(500)), (0.05, Status(429, {"retry-after": "0.02"})), (0.02, Reset()), (0.01, Hang()), (0.02, TruncatedBody()),
    ]  # fmt: skip
    found: dict[int, Fault] = {}
    for number in range(1, 2000):
        dice = chance.random()
        for share, fault in kinds:
            dice -= share
            if dice < 0:
                found[number] = fault
                break
    return found


@pytest.mark.parametrize("client", ["openai", "anthropic"])
async def test_under_every_fault_each_thread_ends_and_no_reply_is_lost_or_stored_twice(
    memory: EntityStorage, provider_server: ProviderServer, client: str
) -> None:
    provider_server.call_tools = False
    provider_server.faults = faulty(7)
    config = LLMConfig(client=client, model="model", max_tokens=50, timeout=3.0)
    retry = RetryPolicy(max_attempts=ATTEMPTS, first_pause=0.01, longest_pause=0.1)
    threads = [thread(f"question {number}", llm_config=config) for number in range(150)]
    async with InferenceOrchestrator(memory, retry=retry, limits=RequestLimits(max_in_flight=32)) as orchestrator:
        outcomes = await orchestrator.run(threads)
    assert [outcome.thread for outcome in outcomes] == threads
    for outcome in outcomes:
        stored = await memory.get(ChatThread, outcome.thread.ecs_id)
        asked = stored.history[0].content
        if isinstance(outcome, Completed):
            assert said(stored) == [("user", asked), ("assistant", f"You said: {asked}")]
            assert len(outcome.attempts) < ATTEMPTS
        else:
            assert said(stored) == [("user", asked)]
            assert len(outcome.attempts) == ATTEMPTS
    answered = Counter(_question(request) for request in provider_server.requests if request.answered)
    done = {each.history[0].content for each in threads if len(each.history) == 2}
    assert answered == Counter(done)
    assert len(await memory.list_by_type(RawOutput)) == len(done)
    assert len(provider_server.requests) == sum(len(outcome.attempts) + outcome.ok for outcome in outcomes)
    assert len(done) >= 140


def _question(request: RecordedRequest) -> str:
    content = request.body["messages"][-1]["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


async def test_while_the_database_is_away_work_waits_and_nothing_answered_is_lost(postgresql_storage_url: str) -> None:
    asked = 0

    async def answer(chat: ChatThread) -> str:
        nonlocal asked
        asked += 1
        if asked == 10:
            proxy.refuse(6)
        await asyncio.sleep(0)
        return f"Yes, {chat.history[-1].content}."

    async with PostgresProxy(postgresql_storage_url) as proxy, open_storage(proxy.url) as storage:
        async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(answer)}) as orchestrator:
            outcomes = await orchestrator.run([thread(str(number)) for number in range(40)], run_id="nightly", concurrency=8)
        stored = [await storage.get(ChatThread, completed(outcome).thread.ecs_id) for outcome in outcomes]
        run = await storage.runs().get("nightly")
    assert (proxy.refused >= 1, asked) == (True, 40)
    assert [said(each)[-1] for each in stored] == [("assistant", f"Yes, {number}.") for number in range(40)]
    assert all(sum(message.role is MessageRole.assistant for message in each.history) == 1 for each in stored)
    assert run.counts == {"done": 40}


async def test_when_the_database_stays_away_the_run_ends_and_running_it_again_asks_nothing_twice(
    postgresql_storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minference.storage.sql.driver.PATIENCE", 0.2)
    asked: Counter[str] = Counter()
    gone = asyncio.Event()

    async def answer(chat: ChatThread) -> str:
        asked[chat.history[-1].content] += 1
        if asked.total() == 10:
            proxy.refuse(100_000)
            gone.set()
        if asked.total() > 5:
            await gone.wait()  # so that several answers come when nothing can be saved
        return "Yes."

    threads = [thread(str(number)) for number in range(40)]
    async with PostgresProxy(postgresql_storage_url) as proxy:
        async with open_storage(proxy.url) as storage:
            async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(answer)}) as orchestrator:
                outcomes = await orchestrator.run(threads, run_id="nightly", concurrency=8)
                proxy.refuse(0)
                lost = [failed(outcome).error for outcome in outcomes if not outcome.ok]
                before = asked.total()
                again = await orchestrator.run(threads, run_id="nightly", concurrency=8)
            run = await storage.runs().get("nightly")
        assert {type(error) for error in lost} == {WriteFailed}
        assert (5 <= 40 - len(lost) < 12, before < 20) == (True, True), "who cannot save a question asks none"
        assert {outcome.ok for outcome in again} == {True}
        assert set(asked.values()) == {1}
        assert run.counts == {"done": 40}
        async with open_storage(postgresql_storage_url) as storage:
            stored = [await storage.get(ChatThread, each.ecs_id) for each in threads]
            assert [said(each) for each in stored] == [[("user", str(number)), ("assistant", "Yes.")] for number in range(40)]
            assert await storage.check() == []
