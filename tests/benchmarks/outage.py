"""A PostgreSQL server that is stopped and started again, or frozen, in the middle of a run.

`python -m tests.benchmarks.outage [SECONDS]` prints what became of the run: 200 threads with a tool, 16 at once, answered over a socket.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from typing import Any

from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.open import open_storage
from minference.storage.runs import EntryState
from minference.testing import ProviderServer
from tests.benchmarks.soak import answer, new_threads, read
from tests.support.postgres import Postgres, running_postgres

THREADS = 200


async def outage(postgres: Postgres, how: str, seconds: float) -> None:
    """Run, take the database away after a third of the requests, give it back, and print."""
    with postgres.database() as url, ProviderServer(answer) as server:
        os.environ |= server.environment()
        threads = list(new_threads(THREADS, "openai"))
        async with open_storage(url) as storage, InferenceOrchestrator(storage) as orchestrator:
            began = time.monotonic()
            running = asyncio.create_task(orchestrator.run(threads, run_id="nightly", concurrency=16))
            while len(server.requests) < THREADS and not running.done():
                await asyncio.sleep(0.01)
            at_begin = len(server.requests)
            await asyncio.to_thread(_take_away, postgres, how)
            await asyncio.sleep(seconds)
            at_end = len(server.requests)
            _give_back(postgres, how)  # in this thread: the server ends with the thread that starts it
            outcomes = await running
            took = time.monotonic() - began
            resumed = [each async for each in orchestrator.resume("nightly")]
            run = await storage.runs().get("nightly")
            found = await storage.check()
    questions = Counter(_asked(request.body) for request in server.requests if request.answered)
    kinds = Counter("completed" if each.ok else type(each.error).__name__ for each in outcomes)
    print(
        f"{how} for {seconds:.0f} s: {took:.1f} s in all; {dict(kinds)}; {at_end - at_begin} requests while it was away, "
        f"{len(server.requests)} in all, {sum(count - 1 for count in questions.values())} answered twice; "
        f"resume ran {len(resumed)}; done {run.counts.get(EntryState.done, 0)} of {THREADS}; check finds {len(found)}"
    )


def _asked(body: dict[str, Any]) -> tuple[str, int]:
    question, results = read(body)
    return question, len(results)


def _take_away(postgres: Postgres, how: str) -> None:
    postgres.stop() if how == "stopped" else postgres.signal(signal.SIGSTOP)


def _give_back(postgres: Postgres, how: str) -> None:
    postgres.start() if how == "stopped" else postgres.signal(signal.SIGCONT)


if __name__ == "__main__":
    with running_postgres() as there:
        for way in ("stopped", "frozen"):
            asyncio.run(outage(there, way, float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
