"""Running again after an end at any point: nothing twice, nothing lost."""

from __future__ import annotations

import asyncio

import pytest

from minference.clients.base import Reply
from minference.clients.scripted import ScriptedClient
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.threads.messages import FinishReason, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.inference.helpers import completed, said, thread

FIRST, SECOND = (ToolCall.from_arguments(f"call-{name}", "book", {"seat": name}) for name in ("A1", "B2"))


class Bookings:
    """A tool that can hang and remembers what it did."""

    def __init__(self, *, idempotent: bool) -> None:
        self.made: list[str] = []
        self.began = asyncio.Event()
        self.hangs_on = ""
        self.tool = CallableTool.from_callable(self.book, name="book", idempotent=idempotent, replace=True)

    async def book(self, seat: str) -> str:
        """Book a seat."""
        if seat == self.hangs_on:
            self.began.set()
            await asyncio.Event().wait()
        self.made.append(seat)
        return f"{seat} is yours"


def asks_for_both() -> ScriptedClient:
    """A model that books two seats in one reply, then says goodbye."""
    both = Reply(content="", model="m", finish_reason=FinishReason.tool_calls, tool_calls=(FIRST, SECOND))
    return ScriptedClient([both, "Enjoy the show."])


async def stopped_in_a_tool(memory: EntityStorage, bookings: Bookings, client: ScriptedClient) -> ChatThread:
    """The stored thread of a run that was ended while the first of two tools hung and the second was done."""
    chat = thread("Two seats, please.", tools=[bookings.tool])
    bookings.hangs_on = "A1"
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        running = asyncio.create_task(orchestrator.run([chat]))
        await bookings.began.wait()
        while len(chat.history) < 3:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    bookings.hangs_on = ""
    assert bookings.made == ["B2"]
    return await memory.get(ChatThread, chat.ecs_id)


async def test_only_missing_tool_results_are_made_and_the_reply_is_not_asked_for_again(memory: EntityStorage) -> None:
    bookings, client = Bookings(idempotent=True), asks_for_both()
    chat = await stopped_in_a_tool(memory, bookings, client)
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([chat])
    assert completed(outcome).content == "Enjoy the show."
    assert said(chat) == [
        ("user", "Two seats, please."), ("assistant", ""), ("tool", "B2 is yours"), ("tool", "A1 is yours"),
        ("assistant", "Enjoy the show."),
    ]  # fmt: skip
    assert (bookings.made, len(client.requests)) == (["B2", "A1"], 2)


async def test_a_tool_that_must_not_run_twice_is_not_run_again_and_the_model_is_told(memory: EntityStorage) -> None:
    bookings, client = Bookings(idempotent=False), asks_for_both()
    chat = await stopped_in_a_tool(memory, bookings, client)
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([chat])
    assert (completed(outcome).content, bookings.made) == ("Enjoy the show.", ["B2"])
    told = chat.history[3]
    assert (told.role, told.tool_call_id, told.tool_error) == (MessageRole.tool, "call-A1", True)
    assert told.content.startswith("the call of tool 'book' was interrupted before its result was saved; it may have taken effect")
    assert client.requests[-1]["messages"][-1]["content"] == told.content


async def test_in_one_run_a_tool_that_must_not_run_twice_runs_once(memory: EntityStorage) -> None:
    bookings, client = Bookings(idempotent=False), asks_for_both()
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([thread("Two seats, please.", tools=[bookings.tool])])
    assert (completed(outcome).content, bookings.made) == ("Enjoy the show.", ["A1", "B2"])


async def test_a_run_that_ended_before_the_reply_sends_the_saved_question(memory: EntityStorage) -> None:
    began = asyncio.Event()

    async def hang(asked: ChatThread) -> str:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    chat = thread("Hi.")
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient([hang, "Hello."])}, drain_seconds=0.0) as orchestrator:
        running = asyncio.create_task(orchestrator.run([chat]))
        await began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        again = await memory.get(ChatThread, chat.ecs_id)
        [outcome] = await orchestrator.run([again])
    assert completed(outcome).content == "Hello."
    assert said(again) == [("user", "Hi."), ("assistant", "Hello.")]
