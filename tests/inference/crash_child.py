"""A program that runs threads with a tool on a database, and is killed in the middle: `python -m tests.inference.crash_child URL`."""

from __future__ import annotations

import asyncio
import random
import sys

from minference.clients.scripted import ScriptedClient
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.open import open_storage
from minference.threads.messages import MessageRole, ToolCall
from minference.threads.thread import ChatThread
from tests.inference.helpers import add_tool, thread

THREADS = 30


async def answer(asked: ChatThread) -> str | ToolCall:
    """Calls `add` for a question, and tells its result; says on standard output that it was asked."""
    print("asked", flush=True)
    await asyncio.sleep(random.random() / 50)
    last = asked.history[-1]
    if last.role is MessageRole.tool:
        return f"The sum is {last.content}."
    return ToolCall.from_arguments(f"call-{last.content}", "add", {"a": int(last.content), "b": 1})


async def main(url: str) -> None:
    """Save the threads, then run them."""
    async with open_storage(url) as storage, InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(answer)}) as orchestrator:
        tool = add_tool()
        threads = [thread(str(number), tools=[tool]) for number in range(THREADS)]
        await storage.register(threads[0], *threads[1:])
        await orchestrator.run(threads)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
