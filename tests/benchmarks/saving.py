"""What saving costs: one durable turn at several lengths, many threads at once, and finding out that nothing changed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from time import perf_counter

from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.threads.thread import ChatThread
from tests.benchmarks.floor import Written, copy_database, insert_again, insert_again_in_one_thread, what_was_written
from tests.benchmarks.workload import take_turn, thread_of

WARM_UP = 20
TURNS = 300


@dataclass(frozen=True)
class TurnCost:
    """One durable turn on a thread of some length, in seconds: ours, bare aiosqlite, and bare sqlite3 without asyncio."""

    length: int
    ours: float
    floor: float
    one_thread: float
    written: Written

    @property
    def bytes_per_turn(self) -> float:
        return self.written.bytes / self.written.turns


@dataclass
class Subject:
    """A thread of some length in a database of its own."""

    file: Path
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


async def cost_of_a_turn(directory: Path, lengths: Sequence[int]) -> list[TurnCost]:
    """Save turns on threads of several lengths, in alternation so that all meet the same neighbours; then insert their rows again."""
    async with AsyncExitStack() as stack:
        subjects = []
        for length in lengths:
            file = directory / f"ours_{length}.db"
            storage = await stack.enter_async_context(open_storage(f"sqlite:///{file}"))
            subjects.append(Subject(file, storage, await storage.register(thread_of(length)), length))
        await _alternate(subjects, WARM_UP)
        before = {subject.length: copy_database(subject.file, directory / f"floor_{subject.length}.db") for subject in subjects}
        for subject in subjects:
            subject.seconds.clear()
        await _alternate(subjects, TURNS)
        after = {subject.length: copy_database(subject.file, directory / f"after_{subject.length}.db") for subject in subjects}
    costs = []
    for subject in subjects:
        written = what_was_written(before[subject.length], after[subject.length], TURNS)
        again = copy_database(before[subject.length], directory / f"again_{subject.length}.db")
        floor = undisturbed(await insert_again(before[subject.length], written))
        one_thread = undisturbed(insert_again_in_one_thread(again, written))
        costs.append(TurnCost(subject.length, undisturbed(subject.seconds), floor, one_thread, written))
    return costs


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
    return Throughput(threads / min(together), threads / min(one_by_one))


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
