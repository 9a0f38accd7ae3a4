"""Tools run in the context of whoever calls the orchestrator, so that one function can serve each user."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from minference.clients.scripted import FunctionClient, Said
from minference.ecs.callables import CallableRegistry
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, Tool

user: ContextVar[str] = ContextVar("user")


def at_once() -> str:
    """Whose turn it is, asked in a thread."""
    return user.get()


async def later() -> str:
    """Whose turn it is, asked in the event loop."""
    await asyncio.sleep(0)
    return user.get()


@pytest.fixture
def tools() -> Iterator[list[Tool]]:
    yield [CallableTool.from_callable(function) for function in (at_once, later)]
    for function in (at_once, later):
        CallableRegistry.remove(function.__name__, function)


async def ask_both(thread: ChatThread) -> Said:
    """A model that calls one tool after the other, while others are asked."""
    await asyncio.sleep(0)
    answers = [message for message in thread.history if message.tool_call_id]
    return "Done." if len(answers) > 1 else ToolCall(id=str(len(answers)), name=("at_once", "later")[len(answers)])


async def _run(orchestrator: InferenceOrchestrator, thread: ChatThread) -> None:
    await orchestrator.run([thread])


async def _turns(orchestrator: InferenceOrchestrator, thread: ChatThread) -> None:
    for _ in range(2):
        await orchestrator.run_parallel_ai_completion([thread])


async def _workflow(orchestrator: InferenceOrchestrator, thread: ChatThread) -> None:
    thread.llm_config.response_format = ResponseFormat.workflow
    await orchestrator.run_workflow(thread)


async def _all(steps: AsyncIterator[Any]) -> None:
    async for _ in steps:
        pass


WAYS: dict[str, Callable[[InferenceOrchestrator, ChatThread], Awaitable[None]]] = {
    "run": _run,
    "run_parallel_ai_completion": _turns,
    "run_workflow": _workflow,
    "stream": lambda orchestrator, thread: _all(orchestrator.stream(thread)),
    "as_completed": lambda orchestrator, thread: _all(orchestrator.as_completed([thread])),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_sync_and_async_tools_see_the_context_of_their_caller_and_of_nobody_else(
    memory: EntityStorage, tools: list[Tool], way: Callable[[InferenceOrchestrator, ChatThread], Awaitable[None]]
) -> None:
    async def request(name: str) -> list[str]:
        user.set(name)
        thread = ChatThread(name=name, llm_config=LLMConfig(client="scripted", model="m"), tools=tools, new_message="Who am I?")
        await way(orchestrator, thread)
        return [message.content for message in thread.history if message.tool_call_id]

    names = [f"user {number}" for number in range(8)]
    async with InferenceOrchestrator(memory, clients={"scripted": FunctionClient(ask_both)}) as orchestrator:
        assert await asyncio.gather(*map(request, names)) == [[name, name] for name in names]


async def test_who_resumes_a_run_says_whose_turn_it_is(memory: EntityStorage, tools: list[Tool]) -> None:
    user.set("nobody")
    thread = ChatThread(llm_config=LLMConfig(client="scripted", model="m"), tools=tools, new_message="Who am I?")
    async with InferenceOrchestrator(memory, clients={"scripted": FunctionClient(ask_both)}) as orchestrator:
        await _all(orchestrator.as_completed([thread], run_id="night", max_turns=1))
        user.set("ann")
        [outcome] = [outcome async for outcome in orchestrator.resume("night", max_turns=5)]
    assert [message.content for message in outcome.thread.history if message.tool_call_id] == ["nobody", "ann"]
