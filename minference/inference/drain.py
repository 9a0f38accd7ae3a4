"""Finishing what is under way when the caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from minference.errors import ProviderUnreachable
from minference.inference.tracebacks import forget_locals
from minference.waiting import ended, told_once

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """What was under way has ended with a result."""

    result: T
    interrupted: bool
    """Whether the caller was cancelled meanwhile: it must raise CancelledError once the result is safe."""


async def finish(work: Coroutine[Any, Any, T], grace: float) -> Finished[T]:
    """Run `work` to its end, also if the caller is cancelled: then it has `grace` seconds more.

    Without a result by then, or at a second cancellation, `work` is cancelled and the cancellation goes on; what `work` raised
    meanwhile is its cause. In every case, `work` has ended when this returns or raises, however many cancellations there were.
    """
    task = asyncio.create_task(work)
    try:
        return Finished(await asyncio.shield(task), interrupted=False)
    except asyncio.CancelledError as cancelled:
        with told_once():
            await _wait_and_stop(task, grace)
        if task.cancelled():
            raise
        if (error := task.exception()) is not None:
            forget_locals(error)  # it is kept for as long as the cancellation is, and came with all that was sent
            raise cancelled from error
        return Finished(task.result(), interrupted=True)


async def _wait_and_stop(task: asyncio.Task[Any], grace: float) -> None:
    try:
        await asyncio.wait((task,), timeout=grace)
    finally:
        if not task.done():
            task.cancel()
            await ended([task])


@dataclass(frozen=True, slots=True)
class CancelledByUs:
    """Lets the caller's cancellation pass. One that a client raises by itself is a call that failed, not the end of the run."""

    client: str

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) is not None and not task.cancelling():
            raise ProviderUnreachable(self.client, "the client cancelled the call by itself", retryable=True) from error
