"""Threads for functions that block: bounded, in order, and never in the way."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from minference.inference.tool_threads import Abandoned, Raised, Returned, ToolThreads

PATIENCE = 30.0
"""Seconds after which a test gives up; none takes long unless something is broken."""


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What a function waits for; set when the test is over."""
    event = threading.Event()
    yield event
    event.set()


async def started(threads: ToolThreads, release: threading.Event, timeout: float | None = None) -> asyncio.Task[object]:
    """A function that runs until `release`, and is running now."""
    loop, running = asyncio.get_running_loop(), asyncio.Event()

    def block() -> str:
        loop.call_soon_threadsafe(running.set)
        release.wait(PATIENCE)
        return "released"

    task: asyncio.Task[object] = asyncio.create_task(threads.run(block, timeout))
    await running.wait()
    return task


async def test_a_blocking_function_leaves_the_loop_free(release: threading.Event) -> None:
    task = await started(ToolThreads(), release)
    release.set()
    assert await task == Returned("released")


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), StopIteration(), asyncio.CancelledError()])
async def test_whatever_a_function_raises_is_a_value(error: BaseException) -> None:
    def fail() -> None:
        raise error

    assert await ToolThreads().run(fail, None) == Raised(error)


async def test_at_most_size_functions_run_at_once_and_all_get_their_turn() -> None:
    threads, pair = ToolThreads(2), threading.Barrier(2)
    lock, inside, most = threading.Lock(), 0, 0

    def meet() -> int:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        pair.wait(PATIENCE)
        with lock:
            inside -= 1
        return threading.get_ident()

    outcomes = await asyncio.gather(*(threads.run(meet, None) for _ in range(10)))
    assert all(isinstance(outcome, Returned) for outcome in outcomes)
    assert most == 2


async def test_functions_are_served_in_the_order_in_which_they_came(release: threading.Event) -> None:
    threads, order = ToolThreads(1), list[int]()
    first = await started(threads, release)
    others = [asyncio.create_task(threads.run(lambda n=n: order.append(n), None)) for n in range(5)]  # type: ignore[misc]  # mypy can't infer
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(first, *others)
    assert order == [0, 1, 2, 3, 4]


async def test_a_function_that_hangs_is_left_behind_and_its_place_is_free(release: threading.Event) -> None:
    threads = ToolThreads(1)
    assert await (await started(threads, release, timeout=0.01)) == Abandoned()
    assert await threads.run(lambda: "next", PATIENCE) == Returned("next")


async def test_a_waiting_function_takes_the_place_of_one_that_hangs(release: threading.Event) -> None:
    threads = ToolThreads(1)
    hung = await started(threads, release, timeout=0.01)
    following = asyncio.create_task(threads.run(lambda: "next", PATIENCE))
    assert (await hung, await following) == (Abandoned(), Returned("next"))


async def test_a_cancelled_caller_leaves_a_running_function_behind(release: threading.Event) -> None:
    threads = ToolThreads(1)
    task = await started(threads, release)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await threads.run(lambda: "next", PATIENCE) == Returned("next")


async def test_a_cancelled_caller_takes_a_waiting_function_with_it(release: threading.Event) -> None:
    threads, ran = ToolThreads(1), list[str]()
    first = await started(threads, release)
    waiting = asyncio.create_task(threads.run(lambda: ran.append("waiting"), None))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    release.set()
    await first
    assert await threads.run(lambda: ran.append("last"), None) == Returned(None)
    assert ran == ["last"]


async def test_a_function_sees_the_context_of_its_caller_and_cannot_change_it() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("mine")

    def look() -> str:
        seen = variable.get()
        variable.set("changed")
        return seen

    assert (await ToolThreads().run(look, None), variable.get()) == (Returned("mine"), "mine")


async def test_a_system_without_threads_left_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = ToolThreads(1)
    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", refuse)
        outcomes = await asyncio.gather(*(threads.run(lambda: 1, None) for _ in range(3)))
    assert [str(outcome.error) for outcome in outcomes if isinstance(outcome, Raised)] == ["can't start new thread"] * 3
    assert await threads.run(lambda: 2, None) == Returned(2)


def test_one_pool_serves_many_event_loops() -> None:
    threads = ToolThreads(1)
    assert [asyncio.run(threads.run(lambda n=n: n, None)) for n in range(3)] == [Returned(0), Returned(1), Returned(2)]  # type: ignore[misc]


def test_a_pool_of_no_threads_is_refused() -> None:
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        ToolThreads(0)


PROGRAM = """
import asyncio, threading
from minference.inference.tool_threads import ToolThreads
print(asyncio.run(ToolThreads().run(threading.Event().wait, 0.01)))
"""


def test_a_program_ends_although_a_function_hangs() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Abandoned()\n", "")
