"""Whether memory stays flat while very many threads go through `as_completed`."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.open import open_storage
from minference.testing import ScriptedClient
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread
from tests.benchmarks.report import heading, line

THREADS = 100_000


async def measure_memory(directory: Path) -> None:
    """Run 100,000 threads, each step saved in SQLite, and look at the process every tenth of the way."""
    heading(f"{THREADS:,} threads through as_completed, saved in SQLite: memory of the process")
    process, sizes, began = psutil.Process(), [], time.perf_counter()
    config = LLMConfig(client="scripted", model="m-1")
    threads = (ChatThread(llm_config=config, new_message=f"Question {number}?") for number in range(THREADS))
    client = ScriptedClient()
    url = f"sqlite:///{directory / 'filling.db'}"
    async with (
        open_storage(url, durability="fast") as storage,
        InferenceOrchestrator(storage, clients={"scripted": client}) as orchestrator,
    ):
        done = 0
        async for _ in orchestrator.as_completed(threads):
            done += 1
            client.requests.clear()
            if done % (THREADS // 10) == 0:
                sizes.append(process.memory_info().rss / 1e6)
                print(f"  {done:>9,} threads {sizes[-1]:>7.0f} MB {time.perf_counter() - began:>6.0f} s", flush=True)
    line("after all, against after a tenth", f"{sizes[-1] / sizes[0]:.2f}x", "flat")
