"""Commands that let what is under way come to its end when they are told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

from minference.cli.interrupts import Interrupted, Terminated, if_interrupted

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 0.5
"""Seconds for which nobody needs to be told why a command has not ended yet."""
_LEAVE_BAR = "\x1b[?25h\n"
"""Shows the cursor that a progress bar has hidden, and goes to the line after it."""


def run_draining(work: Coroutine[Any, Any, T], outcome: str) -> T:
    """The result of `work`. At Ctrl-C or SIGTERM it is cancelled, and has come to this outcome when it has ended.

    A second signal ends the process at once.

    Raises:
        Interrupted: There was a signal.
    """
    told: list[int] = []

    async def listening() -> T:
        task = asyncio.current_task()
        assert task is not None, "this is a coroutine"

        def stop(number: int) -> None:
            told.append(number)
            asyncio.get_running_loop().call_later(_PATIENCE, print_stopping)
            task.cancel()

        with told_to_stop(stop):
            return await work

    with if_interrupted(outcome):
        try:
            return asyncio.run(listening())
        except asyncio.CancelledError as cancelled:
            if not told:
                raise
            raise (Terminated if told == [signal.SIGTERM] else Interrupted)(outcome) from cancelled


def print_stopping() -> None:
    """Say what the process is waiting for, and what does not wait."""
    print("stopping: replies on their way are waited for; a second signal ends at once", file=sys.stderr, flush=True)


@contextmanager
def told_to_stop(stop: Callable[[int], None]) -> Iterator[None]:
    """A block in an event loop in which the first SIGINT or SIGTERM is handed to `stop`, and a second one ends the process at once.

    Not by an exception: whatever it met on its way could hold it up, as could work that was to be cancelled twice and notices it once.
    """
    loop, heard = asyncio.get_running_loop(), False

    def hear(number: int) -> None:
        nonlocal heard
        if heard:  # both came before the loop could look
            _end(number, None)
        heard = True
        for each in _SIGNALS:  # the loop keeps its own handlers too, and with them what wakes it
            signal.signal(each, _end)
        stop(number)

    before = [signal.getsignal(each) for each in _SIGNALS]
    try:
        for each in _SIGNALS:
            loop.add_signal_handler(each, hear, each)
    except (NotImplementedError, RuntimeError, ValueError):  # Windows, and threads that get no signals
        yield
        return
    try:
        yield
    finally:
        if not heard:
            for each, handler in zip(_SIGNALS, before, strict=True):
                loop.remove_signal_handler(each)
                signal.signal(each, handler)


def _end(number: int, _: FrameType | None) -> NoReturn:
    before = _LEAVE_BAR if os.isatty(2) else ""
    how = (Terminated if number == signal.SIGTERM else Interrupted).how
    try:
        os.write(2, f"{before}error: {how} at once: replies on their way are lost, what was saved before stays\n".encode())
    finally:
        os._exit(128 + number)
