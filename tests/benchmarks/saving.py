"""What saving costs: one durable turn at several lengths, many threads at once, and finding out that nothing changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import fmean, median
from time import perf_counter

from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.thread import ChatThread
from tests.benchmarks.floor import Database, Written, what_was_written
from tests.benchmarks.workload import take_turn, thread_of

WARM_UP = 20
TURNS = 300
ROUNDS = 10
"""How often all threads take a turn at once."""


@dataclass(frozen=True)
class TurnCost:
    """One durable turn on a thread of some length, in seconds: ours, and the bare driver."""

    length: int
    ours: float
    floor: float
    written: Written

    @property
    def bytes_per_turn(self) -> float:
        return self.written.bytes / self.written.turns


@dataclass
class Subject:
    """A thread of some length in a database of its own, and a copy of that from before the turns."""

    database: Database
    before: Database
    storage: EntityStorage
    thread: ChatThread
    length: int
    seconds: list[float] = field(default_factory=list)

    async def take_turn(self) -> None:
        """Save one more turn, and note how long that took."""
        outputs = take_turn(self.thread)
        begin = perf_counter()
        await self.storage.register(self.thread, *outputs)
        self.seconds.append(perf_counter() - begin)


async def cost_of_a_turn(make: Callable[[int], Database], lengths: Sequence[int]) -> list[TurnCost]:
    """Save turns on threads of several lengths, in alternation so that all meet the same neighbours; then insert their rows again."""
    async with AsyncExitStack() as stack:
        subjects = [await _subject(make(length), length, stack) for length in lengths]
        await _alternate(subjects, WARM_UP + TURNS)
    costs = []
    for subject in subjects:
        written = await what_was_written(subject.before, subject.database, WARM_UP + TURNS)
        floor = await subject.before.insert(written.each_turn())
        costs.append(TurnCost(subject.length, undisturbed(subject.seconds[WARM_UP:]), undisturbed(floor[WARM_UP:]), written))
    return costs


async def _subject(database: Database, length: int, stack: AsyncExitStack) -> Subject:
    async with open_storage(database.url) as storage:
        thread = await storage.register(thread_of(length))
        await storage.register(*take_turn(thread), thread)
    before = await database.copy()
    storage = await stack.enter_async_context(open_storage(database.url))
    return Subject(database, before, storage, await storage.get(ChatThread, thread.ecs_id), length)


async def _alternate(subjects: Sequence[Subject], turns: int) -> None:
    for _ in range(turns):
        for subject in subjects:
            await subject.take_turn()


def undisturbed(seconds: Sequence[float]) -> float:
    """What one took while nobody else used the machine: the mean of the best of ten stretches of time."""
    size = max(1, len(seconds) // 10)
    return min(fmean(seconds[start : start + size]) for start in range(0, size * 10, size))


@dataclass(frozen=True)
class Throughput:
    """Turns per second of many threads: all at once, and one after the other; and what the bare driver writes in one transaction."""

    together: float
    one_by_one: float
    bare_together: float


async def throughput(database: Database, threads: int) -> Throughput:
    """Save a turn on each of many threads, all at once and one by one, several times over; then insert the rows of the former again."""
    async with open_storage(database.url) as storage:
        all_threads = [thread_of(10) for _ in range(threads)]
        await asyncio.gather(*(storage.register(thread) for thread in all_threads))
        await storage.register(*take_turn(all_threads[0]), all_threads[0])
    before = await database.copy()
    together, one_by_one = [], []
    async with open_storage(database.url) as storage:
        all_threads = [await storage.get(ChatThread, thread.ecs_id) for thread in all_threads]
        for _ in range(ROUNDS):
            outputs = [take_turn(thread) for thread in all_threads]
            begin = perf_counter()
            await asyncio.gather(*(storage.register(thread, *more) for thread, more in zip(all_threads, outputs, strict=True)))
            together.append(perf_counter() - begin)
            outputs = [take_turn(thread) for thread in all_threads]
            begin = perf_counter()
            for thread, more in zip(all_threads, outputs, strict=True):
                await storage.register(thread, *more)
            one_by_one.append(perf_counter() - begin)
    written = await what_was_written(before, database, 1)
    [bare] = await before.insert(written.each_turn())
    return Throughput(threads / min(together), threads / min(one_by_one), 2 * ROUNDS * threads / bare)


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
