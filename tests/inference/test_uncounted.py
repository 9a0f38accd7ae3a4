"""What a process had saved of a thread when it was killed counts in its run as soon as anybody turns to the thread again."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from pydantic import ValidationError

from minference.clients.scripted import ScriptedClient
from minference.distributed.parts import Desk, Part
from minference.ecs.callables import CallableRegistry
from minference.errors import QueueFailed
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.runs import Began, EntryState
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from tests.inference.helpers import add, add_tool, completed, thread

CALL = ToolCall.from_arguments("call", "add", {"a": 1, "b": 2})


def scripted(storage: EntityStorage, *script: str | ToolCall) -> InferenceOrchestrator:
    return InferenceOrchestrator(storage, clients={"scripted": ScriptedClient([*script])})


async def left_by_the_dead(storage: EntityStorage, chat: ChatThread) -> None:
    """A run that knows that somebody has begun with a thread, and a reply of the thread that it does not know of."""
    await storage.register(chat)
    runs = storage.runs()
    await runs.take("nightly", "the dead", 0.0, settings={})
    await runs.add("nightly", [chat.lineage_id])
    await runs.note("nightly", [Began(chat.lineage_id, chat.ecs_id)])
    async with scripted(storage, CALL) as orchestrator:
        [outcome] = await orchestrator.run([chat], until="turn")
    completed(outcome)
    assert await counted(storage) == (0, 0)


async def counted(storage: EntityStorage) -> tuple[int, int]:
    """Replies and tokens of the run."""
    run = await storage.runs().get("nightly")
    return run.replies, run.tokens


def used(chat: ChatThread) -> tuple[int, int]:
    """Replies and tokens of the thread."""
    usages = [message.usage for message in chat.history if message.usage is not None]
    return len(usages), sum(usage.total_tokens for usage in usages)


async def test_it_counts_once_however_often_the_run_is_resumed(storage: EntityStorage) -> None:
    chat = thread("Add.", tools=[add_tool()])
    await left_by_the_dead(storage, chat)
    async with scripted(storage, "Three.") as orchestrator:
        [outcome] = [outcome async for outcome in orchestrator.resume("nightly")]
        assert (completed(outcome).spent.replies, await counted(storage)) == (1, used(outcome.thread))
        [again] = await orchestrator.run([outcome.thread], run_id="nightly")
        assert await counted(storage) == used(completed(again).thread)
    assert used(again.thread)[0] == 2


async def test_a_thread_that_cannot_be_gone_on_with_keeps_what_was_saved(storage: EntityStorage) -> None:
    chat = thread("Add.", tools=[add_tool()])
    await left_by_the_dead(storage, chat)
    CallableRegistry.remove("add", add)
    async with scripted(storage) as orchestrator:
        assert [_ async for _ in orchestrator.resume("nightly", part=[chat.lineage_id])] == []
    [entry] = await storage.runs().entries("nightly")
    assert (entry.state, entry.replies, entry.tokens) == (EntryState.failed, *used(chat))


async def test_a_job_that_is_given_up_keeps_what_was_saved(storage: EntityStorage) -> None:
    chat = thread("Add.", tools=[add_tool()])
    await left_by_the_dead(storage, chat)
    part = Part(run="nightly", threads=(chat.lineage_id,))
    for _ in range(2):
        await Desk(storage, None, None).give_up(part, part.threads, QueueFailed("no"))
    [entry] = await storage.runs().entries("nightly")
    assert (entry.state, entry.error, entry.replies, entry.tokens) == (EntryState.failed, f"QueueFailed: {QueueFailed('no')}", *used(chat))


async def test_replies_of_every_branch_count_and_what_no_model_has_finished_does_not(storage: EntityStorage) -> None:
    chat = thread("Add.", tools=[add_tool()])
    await storage.register(chat)
    branch = await storage.get(ChatThread, chat.ecs_id)
    await left_by_the_dead(storage, chat)
    async with scripted(storage, CALL) as orchestrator:
        await orchestrator.run([branch], until="turn")
    branch.history += [
        ChatMessage(role=MessageRole.assistant, content="By hand."),
        ChatMessage(role=MessageRole.assistant, content="Broken", finish_reason=FinishReason.broken_off),
    ]
    await storage.register(branch)
    async with scripted(storage, "Three.") as orchestrator:
        [outcome] = [outcome async for outcome in orchestrator.resume("nightly")]
    replies, tokens = used(completed(outcome).thread)
    assert await counted(storage) == (replies + 1, tokens + used(chat)[1])


async def test_a_run_whose_work_list_cannot_be_read_is_left_to_others(sqlite_storage_url: str) -> None:
    def in_the_file(sql: str) -> None:
        with closing(sqlite3.connect(sqlite_storage_url.removeprefix("sqlite:///"))) as connection:
            connection.execute(sql)
            connection.commit()

    chat = thread("Add.", tools=[add_tool()])
    async with open_storage(sqlite_storage_url) as storage:
        await left_by_the_dead(storage, chat)
        in_the_file("UPDATE run_entry SET starts = 'garbage'")
        async with scripted(storage) as orchestrator:
            with pytest.raises(ValidationError):
                [_ async for _ in orchestrator.resume("nightly")]
        in_the_file("UPDATE run_entry SET starts = 1")
        async with scripted(storage, "Three.") as orchestrator:
            [outcome] = [outcome async for outcome in orchestrator.resume("nightly")]
            assert await counted(storage) == used(completed(outcome).thread)
