"""What saving costs: one durable turn at several lengths, many threads at once, and finding out that nothing changed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from minference.storage.open import open_storage
from tests.benchmarks.floor import Written, copy_database, insert_again, what_was_written
from tests.benchmarks.workload import take_turn, thread_of

WARM_UP = 20
TURNS = 200


@dataclass(frozen=True)
class TurnCost:
    """One durable turn on a thread of some length, ours and the bare driver's."""

    length: int
    ours: float
    """Seconds, median."""
    floor: float
    """Seconds, median."""
    written: Written

    @property
    def bytes_per_turn(self) -> float:
        return self.written.bytes / self.written.turns


async def cost_of_a_turn(directory: Path, length: int) -> TurnCost:
    """Save turns on a thread of `length` messages; then insert the same rows again without us."""
    file = directory / f"ours_{length}.db"
    thread = thread_of(length)
    async with open_storage(f"sqlite:///{file}") as storage:
        await storage.register(thread)
        for _ in range(WARM_UP):
            await storage.register(thread, *take_turn(thread))
        before = copy_database(file, directory / f"floor_{length}.db")
        ours = []
        for _ in range(TURNS):
            outputs = take_turn(thread)
            begin = perf_counter()
            await storage.register(thread, *outputs)
            ours.append(perf_counter() - begin)
        after = copy_database(file, directory / f"after_{length}.db")
    written = what_was_written(before, after, TURNS)
    return TurnCost(length, median(ours), median(await insert_again(before, written)), written)


@dataclass(frozen=True)
class Throughput:
    """Turns per second of many threads: all at once, and one after the other."""

    together: float
    one_by_one: float


async def throughput(directory: Path, threads: int) -> Throughput:
    """Save a turn on each of many threads, ten times over."""
    async with open_storage(f"sqlite:///{directory / 'many.db'}") as storage:
        all_threads = [thread_of(10) for _ in range(threads)]
        await asyncio.gather(*(storage.register(thread) for thread in all_threads))
        together, one_by_one = [], []
        for _ in range(10):
            outputs = [take_turn(thread) for thread in all_threads]
            begin = perf_counter()
            await asyncio.gather(*(storage.register(thread, *more) for thread, more in zip(all_threads, outputs, strict=True)))
            together.append(perf_counter() - begin)
            outputs = [take_turn(thread) for thread in all_threads]
            begin = perf_counter()
            for thread, more in zip(all_threads, outputs, strict=True):
                await storage.register(thread, *more)
            one_by_one.append(perf_counter() - begin)
    return Throughput(threads / median(together), threads / median(one_by_one))


@dataclass(frozen=True)
class Detection:
    """Seconds to see what changed in a thread, median."""

    nothing: float
    one_edit: float
    """One message in the middle was edited: the time of taking the snapshot, without the write."""


async def cost_of_detection(length: int) -> Detection:
    """Ask what changed in a thread of `length` messages that was saved before."""
    async with open_storage("memory:") as storage:
        thread = await storage.register(thread_of(length))
        nothing, one_edit = [], []
        for number in range(100):
            begin = perf_counter()
            storage.submit(thread)
            nothing.append(perf_counter() - begin)
            thread.history[length // 2].content = f"edit {number}"
            begin = perf_counter()
            pending = storage.submit(thread)
            one_edit.append(perf_counter() - begin)
            await pending
    return Detection(median(nothing), median(one_edit))
