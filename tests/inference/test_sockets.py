"""The same run through the real SDKs over a real socket, on every storage, undisturbed and with faults."""

from __future__ import annotations

import pytest

from minference.clients.base import TextDelta
from minference.inference.limits import RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.retries import RetryPolicy
from minference.storage.base import EntityStorage
from minference.testing import ProviderServer
from minference.testing.faults import Fault, Reset, Status, TruncatedBody
from minference.testing.server import RecordedRequest
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.inference.helpers import completed, said, thread, versions

BOTH = pytest.mark.parametrize("client", ["openai", "anthropic"])


def shout(text: str) -> str:
    """Say it louder."""
    return text.upper()


def threads_with_a_tool(client: str, count: int) -> list[ChatThread]:
    tool = CallableTool.from_callable(shout, replace=True)
    return [thread(f"hello {number}", llm_config=LLMConfig(client=client, model="m"), tools=[tool]) for number in range(count)]


def conversation(number: int) -> list[tuple[str, str]]:
    louder = f"HELLO {number}"
    return [("user", f"hello {number}"), ("assistant", ""), ("tool", louder), ("assistant", f"The tools said: {louder}")]


@BOTH
async def test_a_parallel_run_with_tools_through_the_sdk(storage: EntityStorage, provider_server: ProviderServer, client: str) -> None:
    threads = threads_with_a_tool(client, 12)
    async with InferenceOrchestrator(storage) as orchestrator:
        outcomes = await orchestrator.run(threads)
    assert [said(await storage.get(ChatThread, completed(outcome).thread.ecs_id)) for outcome in outcomes] == [
        conversation(number) for number in range(12)
    ]
    assert len(provider_server.requests) == 24
    assert await versions(storage) == {
        "ChatThread": 48, "ChatMessage": 48, "LLMConfig": 12, "CallableTool": 1, "Usage": 24, "RawOutput": 24, "ProcessedOutput": 24,
    }  # fmt: skip


@BOTH
async def test_with_faults_every_thread_is_answered_once_and_no_answered_request_is_repeated(
    memory: EntityStorage, provider_server: ProviderServer, client: str
) -> None:
    wrong: list[Fault] = [Status(500), Status(429, headers={"retry-after": "0"}), Reset(), TruncatedBody()]

    def every_third(request: RecordedRequest) -> Fault | None:
        return wrong[request.number // 3 % len(wrong)] if request.number % 3 == 0 else None

    provider_server.faults = every_third
    retry = RetryPolicy(max_attempts=20, first_pause=0.0)
    async with InferenceOrchestrator(memory, retry=retry, limits=RequestLimits(max_in_flight=8)) as orchestrator:
        outcomes = await orchestrator.run(threads_with_a_tool(client, 20))
    assert [said(completed(outcome).thread) for outcome in outcomes] == [conversation(number) for number in range(20)]
    answered = [request for request in provider_server.requests if request.fault is None]
    assert (len(answered), len({str(request.body) for request in answered})) == (40, 40)
    assert sum(len(outcome.attempts) for outcome in outcomes) == len(provider_server.requests) - 40


@BOTH
async def test_a_stream_through_the_sdk_gives_text_in_pieces_and_stores_it_whole(
    memory: EntityStorage, provider_server: ProviderServer, client: str
) -> None:
    chat = thread("one two three four", llm_config=LLMConfig(client=client, model="m"))
    async with InferenceOrchestrator(memory) as orchestrator:
        pieces = [event.text async for event in orchestrator.stream(chat) if isinstance(event, TextDelta)]
    assert len(pieces) > 1
    assert "".join(pieces) == chat.history[-1].content == "You said: one two three four"
