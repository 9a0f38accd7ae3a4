"""After `kill -9` in the middle of a run, running again ends with what an undisturbed run has, and pays nothing twice."""

from __future__ import annotations

from subprocess import PIPE

import pytest

from minference.clients.scripted import ScriptedClient
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.open import open_storage
from minference.threads.messages import MessageRole
from minference.threads.thread import ChatThread
from tests.inference import crash_child
from tests.inference.helpers import add_tool, completed, said
from tests.support.nursery import Program


def killed_after(requests: int, url: str) -> None:
    """Run the child until it has made this many requests, then kill it."""
    with Program("tests.inference.crash_child", url, stdout=PIPE) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(requests)]
        child.kill()
    assert lines == ["asked\n"] * requests


@pytest.mark.parametrize("requests", [1, 20, 45, 59])
async def test_after_a_kill_the_rest_is_done_and_no_answered_call_is_repeated(sql_url: str, requests: int) -> None:
    killed_after(requests, sql_url)
    add_tool()
    client = ScriptedClient(crash_child.answer)
    async with open_storage(sql_url) as storage, InferenceOrchestrator(storage, clients={"scripted": client}) as orchestrator:
        threads = [await storage.get(ChatThread, head.ecs_id) for head in await storage.list_by_type(ChatThread)]
        saved = sum(message.role is MessageRole.assistant for each in threads for message in each.history)
        outcomes = await orchestrator.run(threads)
        stored = [await storage.get(ChatThread, completed(outcome).thread.ecs_id) for outcome in outcomes]

    assert len(client.requests) == 2 * crash_child.THREADS - saved
    assert sorted((said(each) for each in stored), key=lambda messages: int(messages[0][1])) == [
        [("user", str(number)), ("assistant", ""), ("tool", str(number + 1)), ("assistant", f"The sum is {number + 1}.")]
        for number in range(crash_child.THREADS)
    ]
