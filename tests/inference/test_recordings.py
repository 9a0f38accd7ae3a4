"""A run inside `storage.recording()`: what was answered is saved as it comes, whatever becomes of the block."""

from __future__ import annotations

import pytest

from minference.clients.scripted import ScriptedClient
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread
from tests.inference.helpers import completed, said, thread


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
