"""Streaming: every step as an event, and what was received when a stream breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from minference.clients.base import Request, Response, TextDelta
from minference.clients.scripted import ScriptedClient
from minference.errors import InvalidReply, MissingKey, ProviderUnreachable, ThreadBusy
from minference.inference.events import Event, Finished, Saved, ToolCalled, ToolResult
from minference.inference.limits import RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.turns import CallModel, next_step
from tests.inference.helpers import AT_ONCE, Keyless, add_tool, completed, failed, said, thread, versions

BROKEN = ProviderUnreachable("scripted", "the stream broke", retryable=True)
ADD = ToolCall.from_arguments("call-1", "add", {"a": 1, "b": 2})


class Breaking(ScriptedClient):
    """Breaks its first streams after some pieces."""

    def __init__(self, *breaks: int, silently: bool = False) -> None:
        super().__init__(lambda asked: "One two three.")
        self.breaks = list(breaks)
        self.silently = silently
        self.closed_streams = 0

    async def stream(self, request: Request, *, timeout: float) -> AsyncGenerator[TextDelta | Response, None]:
        left = self.breaks.pop(0) if self.breaks else -1
        try:
            async for item in super().stream(request, timeout=timeout):
                if left == 0 and self.silently:
                    return
                if left == 0:
                    raise BROKEN
                yield item
                left -= 1
        finally:
            self.closed_streams += 1


async def events_of(orchestrator: InferenceOrchestrator, chat: ChatThread) -> list[Event]:
    return [event async for event in orchestrator.stream(chat)]


def names(events: list[Event]) -> list[str]:
    """Text as it is, everything else by its kind."""
    return [event.text if isinstance(event, TextDelta) else type(event).__name__ for event in events]


async def test_every_step_is_told_in_order(memory: EntityStorage) -> None:
    chat = thread("1 + 2", tools=[add_tool()])
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient([ADD, "It is 3."])}) as orchestrator:
        events = await events_of(orchestrator, chat)
    assert names(events) == ["Saved", "Saved", "ToolCalled", "ToolResult", "Saved", "It ", "is ", "3.", "Saved", "Finished"]
    question, call, result, answer = chat.history
    assert [event.message for event in events if isinstance(event, Saved)] == [question, call, result, answer]
    assert [version.ecs_id for version in await memory.lineage(chat.lineage_id)] == [
        event.version for event in events if isinstance(event, Saved)
    ]
    assert [event for event in events if isinstance(event, ToolCalled | ToolResult)] == [ToolCalled(ADD), ToolResult(ADD, result)]
    assert isinstance(events[-1], Finished)
    assert completed(events[-1].outcome).reply is answer


async def test_streaming_stores_the_same_as_running(memory: EntityStorage) -> None:
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient()}) as orchestrator:
        await events_of(orchestrator, thread("Hi."))
        streamed = await versions(memory)
        await orchestrator.run([thread("Hi.")])
    assert await versions(memory) == {kind: 2 * count for kind, count in streamed.items()}


@pytest.mark.parametrize(("silently", "error"), [(False, ProviderUnreachable), (True, InvalidReply)], ids=["with an error", "silently"])
async def test_the_text_of_a_broken_stream_is_saved_as_a_message_that_says_so(
    memory: EntityStorage, silently: bool, error: type[Exception]
) -> None:
    chat = thread("Count.")
    client = Breaking(2, silently=silently)
    async with InferenceOrchestrator(memory, clients={"scripted": client}, retry=AT_ONCE) as orchestrator:
        events = await events_of(orchestrator, chat)
        assert names(events) == ["Saved", "One ", "two ", "Finished"]
        assert isinstance(events[-1], Finished)
        assert isinstance(failed(events[-1].outcome).error, error)
        assert len(failed(events[-1].outcome).attempts) == 1
        stored = await memory.get(ChatThread, chat.ecs_id)
        assert said(stored) == [("user", "Count."), ("assistant", "One two ")]
        assert (stored.history[-1].finish_reason, stored.history[-1].usage) == (FinishReason.broken_off, None)

        chat.new_message = "Go on."
        await events_of(orchestrator, chat)
    assert said(chat)[2:] == [("user", "Go on."), ("assistant", "One two three.")]
    assert client.closed_streams == 2


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed again", "run"])
async def test_a_reply_that_broke_off_is_asked_for_again_and_the_whole_one_takes_its_place(storage: EntityStorage, streamed: bool) -> None:
    chat = thread("Count.")
    client = Breaking(2, 1)
    async with InferenceOrchestrator(storage, clients={"scripted": client}, retry=AT_ONCE) as orchestrator:
        await events_of(orchestrator, chat)
        first = chat.ecs_id
        await events_of(orchestrator, chat)
        assert said(chat) == [("user", "Count."), ("assistant", "One ")]
        reloaded = await storage.get(ChatThread, chat.ecs_id)
        assert next_step(reloaded) == CallModel()
        [outcome] = (
            [event.outcome async for event in orchestrator.stream(reloaded) if isinstance(event, Finished)]
            if streamed
            else await orchestrator.run([reloaded])
        )
        output = completed(outcome).output
        assert output is not None
        rebuilt = await output.raw_output.request({"scripted": client})
    assert completed(outcome).content == "One two three."
    assert said(await storage.get(ChatThread, reloaded.ecs_id)) == [("user", "Count."), ("assistant", "One two three.")]
    assert said(await storage.get(ChatThread, first)) == [("user", "Count."), ("assistant", "One two ")]
    assert [[message["content"] for message in request["messages"]] for request in (*client.requests, rebuilt)] == [["Count."]] * 4


async def test_a_goal_is_not_reached_by_half_a_reply(memory: EntityStorage) -> None:
    chat = thread("Count.")
    async with InferenceOrchestrator(memory, clients={"scripted": Breaking(1)}, retry=AT_ONCE) as orchestrator:
        await events_of(orchestrator, chat)
        [outcome] = await orchestrator.run([chat], until=lambda thread: True)
    assert completed(outcome).content == "One two three."


async def test_an_answer_that_somebody_wrote_by_hand_is_an_answer(memory: EntityStorage) -> None:
    history = [ChatMessage(role=MessageRole.user, content="Count."), ChatMessage(role=MessageRole.assistant, content="One")]
    client = ScriptedClient([])
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([thread(None, history=history)])
    assert (completed(outcome).content, client.requests) == ("One", [])


async def test_a_stream_that_breaks_before_its_first_text_is_tried_again(memory: EntityStorage) -> None:
    chat = thread("Count.")
    async with InferenceOrchestrator(memory, clients={"scripted": Breaking(0, 0)}, retry=AT_ONCE) as orchestrator:
        events = await events_of(orchestrator, chat)
    assert names(events) == ["Saved", "One ", "two ", "three.", "Saved", "Finished"]
    assert isinstance(events[-1], Finished)
    assert len(completed(events[-1].outcome).attempts) == 2


async def test_closing_early_saves_what_was_received_and_frees_thread_and_limits(memory: EntityStorage) -> None:
    chat = thread("Count.")
    client = Breaking()
    limits = RequestLimits(max_in_flight=1)
    async with InferenceOrchestrator(memory, clients={"scripted": client}, limits=limits) as orchestrator:
        async with aclosing(orchestrator.stream(chat)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
            with pytest.raises(ThreadBusy):
                await orchestrator.run([chat])
        assert said(await memory.get(ChatThread, chat.ecs_id)) == [("user", "Count."), ("assistant", "One ")]
        assert client.closed_streams == 1
        chat.new_message = "Again."
        completed((await orchestrator.run([chat]))[0])


async def test_cancelling_saves_what_was_received(memory: EntityStorage) -> None:
    chat = thread("Count.")

    class Hanging(ScriptedClient):
        async def stream(self, request: Request, *, timeout: float) -> AsyncGenerator[TextDelta | Response, None]:
            yield TextDelta("One ")
            await asyncio.Event().wait()

    async with InferenceOrchestrator(memory, clients={"scripted": Hanging()}) as orchestrator:
        heard = asyncio.Event()

        async def listen() -> None:
            async with aclosing(orchestrator.stream(chat)) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        heard.set()

        listening = asyncio.create_task(listen())
        await heard.wait()
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
    assert said(await memory.get(ChatThread, chat.ecs_id)) == [("user", "Count."), ("assistant", "One ")]


async def test_a_failure_before_the_first_call_is_one_event(memory: EntityStorage) -> None:
    chat = thread("Hi.", client="keyless")
    async with InferenceOrchestrator(memory, clients={"keyless": Keyless()}) as orchestrator:
        [event] = await events_of(orchestrator, chat)
    assert isinstance(event, Finished)
    assert isinstance(failed(event.outcome).error, MissingKey)
    assert chat.new_message == "Hi."
