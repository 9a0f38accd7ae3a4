"""The calls of one turn: side by side, each with exactly one message, and none left running."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from minference.inference.tool_runs import run_tool_calls
from minference.inference.tool_threads import ToolThreads
from minference.inference.workshop import Workshop
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool
from tests.inference.tool_calls import a_call, returning


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minference.ecs.callables._FUNCTIONS", {})


class Answer(BaseModel):
    text: str


def a_thread(*tools: CallableTool | StructuredTool) -> ChatThread:
    return ChatThread(llm_config=LLMConfig(client="scripted", model="m"), tools=list(tools))


def shown(message: ChatMessage) -> tuple[str | None, str, bool]:
    return message.tool_call_id, message.content, message.tool_error


async def messages(thread: ChatThread, *calls: ToolCall, **options: Any) -> list[ChatMessage]:
    return [message async for _, message in run_tool_calls(thread, calls, **options)]


async def test_each_call_gets_one_tool_message_that_names_call_tool_and_parent() -> None:
    def double(n: int) -> int:
        return 2 * n

    tool, parent = CallableTool.from_callable(double), uuid4()
    [message] = await messages(a_thread(tool), a_call("double", "c7", n=4), parent_message_uuid=parent)
    assert message.model_dump(exclude={"ecs_id", "lineage_id", "parent_id", "created_at", "live_id", "timestamp"}) == {
        **ChatMessage(role=MessageRole.tool).model_dump(
            exclude={"ecs_id", "lineage_id", "parent_id", "created_at", "live_id", "timestamp"}
        ),
        "content": "8",
        "tool_call_id": "c7",
        "tool_name": "double",
        "tool_uuid": tool.lineage_id,
        "parent_message_uuid": parent,
    }


async def test_results_come_as_they_complete() -> None:
    gates = {"a": asyncio.Event(), "b": asyncio.Event()}

    async def wait(name: str) -> str:
        await gates[name].wait()
        return name

    thread = a_thread(CallableTool.from_callable(wait))
    gates["b"].set()
    order: list[str] = []
    async for call, _ in run_tool_calls(thread, [a_call("wait", "1", name="a"), a_call("wait", "2", name="b")]):
        order.append(call.id)
        gates["a"].set()
    assert order == ["2", "1"]


async def test_at_most_limit_calls_run_at_once() -> None:
    inside = most = 0

    async def enter() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(5):
            await asyncio.sleep(0)
        inside -= 1

    thread = a_thread(CallableTool.from_callable(enter))
    answered = await messages(thread, *(a_call("enter", str(n)) for n in range(20)), limit=3)
    assert (len(answered), most, inside) == (20, 3, 0)
    with pytest.raises(ValueError, match="limit must be at least 1, not 0"):
        await messages(thread, limit=0)


async def test_unknown_tools_and_repeated_ids_are_answered_and_not_run() -> None:
    ran: list[int] = []

    def note(n: int) -> int:
        ran.append(n)
        return n

    thread = a_thread(CallableTool.from_callable(note))
    answered = await messages(thread, a_call("nope", "1"), a_call("note", "2", n=1), a_call("note", "2", n=2))
    assert sorted(map(shown, answered)) == [
        ("1", "there is no tool 'nope'; the tools are: note", True),
        ("2", "1", False),
        ("2", "this call of tool 'note' was not run: another call has its id '2' already. Call it again if it is needed", True),
    ]
    assert (ran, shown(answered[-1])[2]) == ([1], True)


async def test_a_structured_tool_accepts_what_fits_its_schema() -> None:
    thread = a_thread(StructuredTool.from_pydantic(Answer))
    answered = await messages(thread, a_call("Answer", "1", text="yes"), a_call("Answer", "2", text=3))
    assert sorted(map(shown, answered)) == [
        ("1", "accepted", False),
        ("2", "the arguments for tool 'Answer' are not valid: text: 3 is not of type \"string\"", True),
    ]


async def test_a_failing_tool_does_not_disturb_the_others() -> None:
    def work(n: int) -> float:
        return 6 / n

    answered = await messages(a_thread(CallableTool.from_callable(work)), *(a_call("work", str(n), n=n) for n in range(4)))
    assert sorted(map(shown, answered)) == [
        ("0", "tool 'work' raised ZeroDivisionError: division by zero", True),
        ("1", "6.0", False),
        ("2", "3.0", False),
        ("3", "2.0", False),
    ]


async def test_closing_early_ends_every_running_call() -> None:
    ended: list[str] = []

    async def wait(name: str) -> str:
        if name == "quick":
            return name
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)
        return name

    thread = a_thread(CallableTool.from_callable(wait))
    before = asyncio.all_tasks()
    async with aclosing(run_tool_calls(thread, [a_call("wait", str(n), name=n) for n in ("slow", "quick", "slower")])) as results:
        async for call, _ in results:
            assert call.arguments == {"name": "quick"}
            break
    assert (sorted(ended), asyncio.all_tasks()) == (["slow", "slower"], before)


async def test_cancelling_ends_every_running_call() -> None:
    started, ended = asyncio.Event(), list[str]()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    before = asyncio.all_tasks()
    task = asyncio.create_task(messages(a_thread(CallableTool.from_callable(wait)), a_call("wait")))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (ended, asyncio.all_tasks()) == (["cleaned up"], before)


async def test_the_thread_is_not_changed_by_running_its_tools() -> None:
    thread = a_thread(CallableTool.from_callable(returning(1), name="tool"))
    before = thread.model_dump()
    await messages(thread, a_call(), workshop=Workshop(ToolThreads(1)))
    assert thread.model_dump() == before
