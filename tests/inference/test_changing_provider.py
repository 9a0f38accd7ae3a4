"""A conversation changes its provider at any turn, and each takes what the others left in the history."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest

from minference.clients.catalog import create_client
from minference.clients.local_dialect import lower
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.testing import Answer, Called, ProviderServer
from minference.testing.answers import default_answer
from minference.testing.rules import openai_problem
from minference.threads.config import LLMConfig
from minference.threads.messages import MessageRole
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.clients.cells import find_through_environment, shout
from tests.inference.helpers import completed

PROVIDERS = ("openai", "anthropic", "openrouter", "litellm", "vllm")
FIELDS: dict[str, Any] = {"openrouter": "reasoning_details", "litellm": "thinking_blocks"}


def thinks_and_calls(body: dict[str, Any]) -> Answer:
    """Thoughts, words and two calls, whose ids another call has had before; then an answer."""
    plain = default_answer(body, call_tools=True)
    field = FIELDS.get(body["model"], "reasoning_content")
    if not plain.calls:
        return Answer(plain.text, reasoning="Done.", reasoning_field=field)
    calls = (Called("shout", {"text": "a"}, "same"), Called("shout", {"text": "b", "times": "many"}, "functions.shout:" + "9" * 40))
    return Answer("Let me see.", calls, "Hm.", field)


@pytest.fixture
def strict_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """A strict provider whose replies hold all that a reply can."""
    with ProviderServer(thinks_and_calls, strict=True) as server:
        find_through_environment(server, monkeypatch)
        yield server


def asking(provider: str) -> LLMConfig:
    return LLMConfig(client=provider, model=provider, reasoner=True)


async def converse(memory: EntityStorage, providers: tuple[str, ...], *, change_within_turns: bool) -> ChatThread:
    """Each provider is asked in turn; if they change within turns, another one answers than the one that called the tools."""
    thread = ChatThread(llm_config=asking(providers[0]), tools=[CallableTool.from_callable(shout, replace=True)])
    async with InferenceOrchestrator(memory) as orchestrator:
        for number, provider in enumerate(providers):
            thread.new_message = f"Question {number}?"
            following = providers[(number + 1) % len(providers)] if change_within_turns else provider
            for answering in (provider, following):
                thread.llm_config = asking(answering)
                completed((await orchestrator.run_parallel_ai_completion([thread]))[0])
    return thread


@pytest.mark.parametrize("providers", list(permutations(PROVIDERS, 2)), ids="-".join)
async def test_each_takes_over_from_each(memory: EntityStorage, strict_server: ProviderServer, providers: tuple[str, str]) -> None:
    one, other = providers
    await converse(memory, (one, other, one), change_within_turns=True)
    assert [request.problem for request in strict_server.requests] == [None] * 6


async def test_thoughts_go_back_to_whoever_had_them_and_to_nobody_else(memory: EntityStorage, strict_server: ProviderServer) -> None:
    await converse(memory, PROVIDERS, change_within_turns=False)
    for request in strict_server.requests[1::2]:  # right after the tools ran, with the thoughts before their calls
        thoughts = str(request.body["messages"]).count("'Hm.'")
        assert thoughts == (request.body["model"] in ("anthropic", "openrouter", "litellm"))


async def test_from_openai_to_anthropic_to_the_model_on_this_machine(memory: EntityStorage, strict_server: ProviderServer) -> None:
    thread = await converse(memory, ("openai", "anthropic"), change_within_turns=False)
    thread.llm_config, thread.new_message = LLMConfig(client="local", model="local"), "And now?"
    request = create_client("local").to_request(thread)
    assert openai_problem(request, set()) is None
    lowered = lower(request).body["messages"]
    assert {message["role"] for message in lowered} == {"system", "user", "assistant"}
    assert all(set(message) == {"role", "content"} and message["content"] for message in lowered)
    assert [message.role for message in thread.history].count(MessageRole.tool) == 4


@pytest.mark.local_model
async def test_the_model_on_this_machine_goes_on_with_what_the_others_began(memory: EntityStorage, strict_server: ProviderServer) -> None:
    thread = await converse(memory, ("openai", "anthropic"), change_within_turns=False)
    thread.llm_config, thread.new_message = LLMConfig(client="local", model="local", max_tokens=20, temperature=0, seed=7), "Say hello."
    thread.tools = []
    async with InferenceOrchestrator(memory) as orchestrator:
        completed((await orchestrator.run_parallel_ai_completion([thread]))[0])
        thread.llm_config, thread.new_message = asking("anthropic"), "And again?"
        completed((await orchestrator.run([thread]))[0])
