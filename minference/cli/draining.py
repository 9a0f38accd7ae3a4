"""Commands that let what is under way come to its end when they are told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from minference.cli.interrupts import Terminated, if_interrupted

T = TypeVar("T")


def run_draining(work: Coroutine[Any, Any, T], outcome: str) -> T:
    """The result of `work`. At Ctrl-C or SIGTERM it is cancelled, and has come to this outcome when it has ended.

    A second signal ends it at once.

    Raises:
        Interrupted: There was a signal.
    """
    terminated = False

    async def listening() -> T:
        nonlocal terminated
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None, "this is a coroutine"

        def heard() -> None:
            nonlocal terminated
            terminated = True
            loop.remove_signal_handler(signal.SIGTERM)
            task.cancel()

        before = signal.getsignal(signal.SIGTERM)
        try:
            loop.add_signal_handler(signal.SIGTERM, heard)
        except (NotImplementedError, RuntimeError):  # Windows, and threads that get no signals
            return await work
        try:
            return await work
        finally:
            if not terminated:
                loop.remove_signal_handler(signal.SIGTERM)
                signal.signal(signal.SIGTERM, before)

    with if_interrupted(outcome):
        try:
            return asyncio.run(listening())
        except asyncio.CancelledError as cancelled:
            if not terminated:
                raise
            raise Terminated(outcome) from cancelled
