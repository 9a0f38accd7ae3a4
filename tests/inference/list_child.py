"""Begins with a run of several threads, one at a time, and kills itself while one of them is asked.

`python -m tests.inference.list_child URL`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from minference.clients.scripted import ScriptedClient
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.open import open_storage
from minference.threads.thread import ChatThread
from tests.inference.helpers import thread

THREADS = 6
KILLED_AT = "2"
"""What the thread says that is asked when the process dies."""


def _answer(asked: ChatThread) -> str:
    if asked.history[-1].content == KILLED_AT:
        os.kill(os.getpid(), signal.SIGKILL)
    return "Yes."


async def main(url: str) -> None:
    """Run until the process dies."""
    async with open_storage(url) as storage, InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(_answer)}) as orchestrator:
        await orchestrator.run([thread(str(number)) for number in range(THREADS)], run_id="nightly", concurrency=1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
