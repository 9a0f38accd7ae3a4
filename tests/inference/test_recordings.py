"""A run inside `storage.recording()`: what was answered is saved as it comes, whatever becomes of the block."""

from __future__ import annotations

import pytest

from minference.clients.scripted import ScriptedClient
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.threads.attachments import ImageAttachment
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from tests.inference.helpers import completed, said, thread, versions


async def test_answers_inside_a_block_that_fails_are_saved(storage: EntityStorage) -> None:
    asked = thread("Hello.")

    async def run_and_fail() -> None:
        async with (
            InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(["Hello yourself."])}) as orchestrator,
            storage.recording(author="a block"),
        ):
            [outcome] = await orchestrator.run([asked])
            stored = await storage.get(ChatThread, asked.ecs_id)
            assert said(stored) == [("user", "Hello."), ("assistant", "Hello yourself.")]
            output = completed(outcome).output
            assert output is not None
            assert output.raw_output.thread_version == asked.parent_id
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await run_and_fail()
    assert len(await storage.lineage(asked.lineage_id)) == 2


async def test_a_block_saves_nothing_that_was_only_made_up_for_a_request(storage: EntityStorage) -> None:
    image = ImageAttachment.from_bytes(b"\x89PNG\r\n\x1a\n", "a.png")
    asked = thread("And now?", llm_config=LLMConfig(client="scripted", model="m", response_format=ResponseFormat.json_beg))
    asked.history.append(ChatMessage(role=MessageRole.user, content="Look.", attachments=(image,)))
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient()}) as orchestrator, storage.recording():
        await orchestrator.run([asked])
    assert await versions(storage) == {
        "ChatThread": 2, "ChatMessage": 3, "LLMConfig": 1, "Usage": 1, "RawOutput": 1, "ProcessedOutput": 1,
    }  # fmt: skip
