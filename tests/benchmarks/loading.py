"""What loading costs: a whole thread, and the list of its versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import aiosqlite

from minference.storage.open import open_storage
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread
from tests.benchmarks.workload import thread_of

ROUNDS = 15
MESSAGES = """
SELECT version.*, message.* FROM run_item
JOIN entity_version AS version ON version.id = run_item.child_id
JOIN chat_message AS message ON message.id = run_item.child_id
ORDER BY run_item.run_id, run_item.position
"""


@dataclass(frozen=True)
class LoadCost:
    """A cold load of a thread, and what the rows alone cost."""

    ours: float
    """Seconds, median."""
    select: float
    """Seconds for the bare SELECT of the same messages."""
    validation: float
    """Seconds for pydantic to validate the same values."""


async def cost_of_a_load(directory: Path, length: int) -> LoadCost:
    """Load a thread of `length` messages from a file, as a fresh process would."""
    file = directory / "load.db"
    thread = thread_of(length)
    async with open_storage(f"sqlite:///{file}") as storage:
        await storage.register(thread)
    values = [message.model_dump(mode="json") for message in thread.history]
    ours, select, validation = [], [], []
    async with open_storage(f"sqlite:///{file}") as storage, aiosqlite.connect(file) as bare:
        for _ in range(ROUNDS):
            begin = perf_counter()
            loaded = await storage.get(ChatThread, thread.ecs_id)
            ours.append(perf_counter() - begin)
            begin = perf_counter()
            rows = list(await bare.execute_fetchall(MESSAGES))
            select.append(perf_counter() - begin)
            begin = perf_counter()
            validated = [ChatMessage.model_validate(each) for each in values]
            validation.append(perf_counter() - begin)
            if not len(loaded.history) == len(rows) == len(validated) == length:
                raise RuntimeError(
                    f"loaded {len(loaded.history)}, selected {len(rows)} and validated {len(validated)} of {length} messages"
                )
    return LoadCost(median(ours), median(select), median(validation))


async def cost_of_listing(directory: Path, versions: int) -> float:
    """Seconds to list the versions of one thread, median."""
    thread = thread_of(2)
    async with open_storage(f"sqlite:///{directory / 'list.db'}", durability="fast") as storage:
        for number in range(versions):
            thread.name = f"version {number}"
            await storage.register(thread)
        seconds = []
        for _ in range(ROUNDS):
            begin = perf_counter()
            listed = await storage.lineage(thread.lineage_id)
            seconds.append(perf_counter() - begin)
            if len(listed) != versions:
                raise RuntimeError(f"{len(listed)} versions were listed and {versions} made")
    return median(seconds)
