"""Waiting for what is to end, also when whoever waits is cancelled."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Coroutine, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Cancellable(Protocol):
    """What a cancellation can be passed on to."""

    def cancel(self) -> object:
        """Ask it to end."""


async def ended(work: Collection[asyncio.Future[Any]], *, told: Iterable[Cancellable] | None = None) -> None:
    """Return when all of this work has ended, however often the caller is cancelled meanwhile.

    Each such cancellation is passed on to the work, or to `told` in its place, and the first of them is raised at the end.
    """
    cancellations: list[asyncio.CancelledError] = []
    with told_once():
        while waiting := [each for each in work if not each.done()]:
            try:
                await asyncio.wait(waiting)
            except asyncio.CancelledError as cancelled:
                cancellations.append(cancelled)
                for each in list(waiting if told is None else told):
                    each.cancel()
    if cancellations:
        raise cancellations[0]


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run what puts things in order to its end, however often the caller is cancelled meanwhile; that goes on then."""
    task = asyncio.create_task(work)
    try:
        await ended([task], told=())
    except asyncio.CancelledError:
        if not task.cancelled():
            task.exception()  # the cancellation is what the caller hears of
        raise
    return task.result()


def told_once() -> AbstractContextManager[object]:
    """Inside, a cancellation by anyio that this task knows of is not delivered to it again.

    Elsewhere anyio does so at each turn of the event loop, until its scope is left: nobody could say that from a second cancellation.
    """
    anyio: Any = sys.modules.get("anyio")  # who has not imported it cannot be cancelled by it
    return nullcontext() if anyio is None else anyio.CancelScope(shield=True)
