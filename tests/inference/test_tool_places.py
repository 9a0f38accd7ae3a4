"""How many tool calls run at once: of one reply, of one tool, of all threads."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from minference.clients.base import Reply
from minference.clients.scripted import ScriptedClient
from minference.errors import UnusableValue, WrongArgument
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.tool_places import ToolConcurrency
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig
from minference.threads.messages import FinishReason, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.inference.helpers import completed

CALLS = 12


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.ecs.callables._FUNCTIONS", {})


class Watched:
    """Counts how many of its calls run at once, by tool and in all."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def _run(self, name: str) -> str:
        self.running.update((name, "all"))
        for each in (name, "all"):
            self.most[each] = max(self.most[each], self.running[each])
        for _ in range(50):
            await asyncio.sleep(0)
        self.running.subtract((name, "all"))
        return name

    async def search(self) -> str:
        return await self._run("search")

    async def look(self) -> str:
        return await self._run("look")


def calling_both(thread: ChatThread) -> Reply | str:
    """First calls each tool as often as that, then is done."""
    if thread.history[-1].role is MessageRole.tool:
        return "done"
    calls = tuple(ToolCall(id=f"{name}-{number}", name=name) for number in range(CALLS // 2) for name in ("search", "look"))
    return Reply(content="", model="m", finish_reason=FinishReason.tool_calls, tool_calls=calls)


async def most(storage: EntityStorage, threads: int, **settings: Any) -> Counter[str]:
    """How many calls of each tool ran at once, of so many threads that make twelve each."""
    watched = Watched()
    tools = [CallableTool.from_callable(watched.search, replace=True), CallableTool.from_callable(watched.look, replace=True)]
    config = LLMConfig(client="scripted", model="m")
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(calling_both)}, **settings) as orchestrator:
        outcomes = await orchestrator.run([ChatThread(llm_config=config, tools=tools, new_message="Go.") for _ in range(threads)])
    assert [completed(outcome).content for outcome in outcomes] == ["done"] * threads
    assert +watched.running == {}
    return watched.most


async def test_as_many_calls_of_one_reply_run_at_once_as_was_said(memory: EntityStorage) -> None:
    assert (await most(memory, 1))["all"] == 8
    assert (await most(memory, 1, tool_concurrency=3))["all"] == 3
    assert (await most(memory, 1, tool_concurrency=ToolConcurrency(per_turn=CALLS)))["all"] == CALLS


async def test_as_many_calls_of_one_tool_run_at_once_as_was_said_over_all_threads(memory: EntityStorage) -> None:
    found = await most(memory, 4, tool_concurrency=ToolConcurrency(per_tool={"search": 2}))
    assert found["search"] == 2
    assert found["look"] > 4
    found = await most(memory, 4, tool_concurrency=ToolConcurrency(per_tool=3))
    assert (found["search"], found["look"]) == (3, 3)


async def test_as_many_calls_of_all_threads_run_at_once_as_was_said(memory: EntityStorage) -> None:
    assert (await most(memory, 4, tool_concurrency=ToolConcurrency(total=5)))["all"] == 5
    assert (await most(memory, 40))["all"] == 256


async def test_a_tool_that_runs_threads_with_tools_does_not_wait_for_itself(memory: EntityStorage) -> None:
    def inner() -> str:
        return "inner"

    async def outer() -> str:
        asked = ChatThread(llm_config=LLMConfig(client="within", model="m"), tools=[CallableTool.from_callable(inner)], new_message="?")
        [outcome] = await orchestrator.run([asked])
        return completed(outcome).content

    clients = {
        "scripted": ScriptedClient([ToolCall(id="1", name="outer"), "done"]),
        "within": ScriptedClient([ToolCall(id="2", name="inner"), "from within"], name="within"),
    }
    thread = ChatThread(llm_config=LLMConfig(client="scripted", model="m"), tools=[CallableTool.from_callable(outer)], new_message="Go.")
    async with InferenceOrchestrator(memory, clients=clients, tool_concurrency=ToolConcurrency(total=1)) as orchestrator:
        async with asyncio.timeout(20):
            [outcome] = await orchestrator.run([thread])
    assert completed(outcome).content == "done"
    assert [message.content for message in thread.history if message.tool_name == "outer"] == ["from within"]


class Agents:
    """Tools that are agents: they run a thread whose model calls another tool, and count how many of each run at once."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.orchestrator: InferenceOrchestrator | None = None
        self.tools = {name: CallableTool.from_callable(getattr(self, name), replace=True) for name in ("search", "one", "other")}

    async def search(self) -> str:
        with self._counted("search"):
            for _ in range(20):
                await asyncio.sleep(0)
        return "found"

    async def one(self, then: str) -> str:
        with self._counted("one"):
            return await self._ask(then)

    async def other(self, then: str) -> str:
        with self._counted("other"):
            return await self._ask(then)

    @contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        self.running[name] += 1
        self.most[name] = max(self.most[name], self.running[name])
        yield
        self.running[name] -= 1

    async def _ask(self, words: str) -> str:
        assert self.orchestrator is not None
        [outcome] = await self.orchestrator.run([self.thread(words)])
        return completed(outcome).content

    def thread(self, words: str) -> ChatThread:
        """One whose model calls the first of these tools, and hands on the others."""
        return ChatThread(llm_config=LLMConfig(client="scripted", model="m"), tools=list(self.tools.values()), new_message=words)


def call_first(thread: ChatThread) -> ToolCall | str:
    if thread.history[-1].role is MessageRole.tool:
        return "done"
    name, _, rest = thread.history[0].content.partition(" ")
    return ToolCall.from_arguments("1", name, {"then": rest} if rest else {})


async def agents(storage: EntityStorage, threads: list[str], bounds: ToolConcurrency) -> Counter[str]:
    made = Agents()
    clients = {"scripted": ScriptedClient(call_first)}
    async with InferenceOrchestrator(storage, clients=clients, tool_concurrency=bounds) as orchestrator, asyncio.timeout(60):
        made.orchestrator = orchestrator
        outcomes = await orchestrator.run([made.thread(words) for words in threads])
    assert [completed(outcome).content for outcome in outcomes] == ["done"] * len(threads)
    return made.most


async def test_the_bound_of_a_tool_holds_for_calls_that_other_tools_make(memory: EntityStorage) -> None:
    assert (await agents(memory, ["one search"] * 10, ToolConcurrency(per_tool={"search": 2})))["search"] == 2


@pytest.mark.parametrize("bounds", [ToolConcurrency(per_tool=1), ToolConcurrency(per_tool=1, total=2), ToolConcurrency(total=1)])
async def test_tools_that_call_each_other_do_not_wait_for_each_other_for_ever(memory: EntityStorage, bounds: ToolConcurrency) -> None:
    threads = ["one other search", "other one search", "search", "one one search", "other search", "one other one search"]
    assert (await agents(memory, threads * 3, bounds))["search"] >= 1


async def test_what_a_tool_has_left_running_has_no_place_any_more(memory: EntityStorage) -> None:
    left: list[asyncio.Task[object]] = []
    made = Agents()

    async def start() -> str:
        async def later() -> None:
            await started.wait()
            assert made.orchestrator is not None
            await made.orchestrator.run([made.thread("search") for _ in range(6)])

        left.append(asyncio.create_task(later()))
        return "started"

    started = asyncio.Event()
    made.tools["start"] = CallableTool.from_callable(start, replace=True)
    clients = {"scripted": ScriptedClient(call_first)}
    async with InferenceOrchestrator(memory, clients=clients, tool_concurrency=ToolConcurrency(per_tool=1)) as made.orchestrator:
        [outcome] = await made.orchestrator.run([made.thread("start")])
        assert completed(outcome).content == "done"
        started.set()
        async with asyncio.timeout(60):
            await left[0]
    assert made.most["search"] == 1


@pytest.mark.parametrize("settings", [{"per_turn": 0}, {"per_tool": 0}, {"per_tool": {"search": -1}}, {"total": 0}])
def test_a_bound_of_nothing_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UnusableValue, match="at least one tool call must be able to run"):
        ToolConcurrency(**settings)


@pytest.mark.parametrize("settings", [{"per_turn": "8"}, {"per_tool": 1.5}, {"per_tool": {"search": None}}, {"total": True}])
def test_a_bound_that_is_no_number_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(WrongArgument, match="must be an int"):
        ToolConcurrency(**settings)
