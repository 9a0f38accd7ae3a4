"""Finishing what is under way when the caller is cancelled."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from minference.errors import ProviderUnreachable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """What was under way has ended with a result."""

    result: T
    interrupted: bool
    """Whether the caller was cancelled meanwhile: it must raise CancelledError once the result is safe."""


async def finish(work: Coroutine[Any, Any, T], grace: float) -> Finished[T]:
    """Run `work` to its end, also if the caller is cancelled: then it has `grace` seconds more.

    Without a result by then, or at a second cancellation, `work` is cancelled and the cancellation goes on. In every
    case, `work` has ended when this returns or raises, however many cancellations there were.
    """
    task = asyncio.create_task(work)
    try:
        return Finished(await asyncio.shield(task), interrupted=False)
    except asyncio.CancelledError:
        with _told_once():
            await _wait_and_stop(task, grace)
        if task.cancelled() or task.exception() is not None:
            raise
        return Finished(task.result(), interrupted=True)


async def _wait_and_stop(task: asyncio.Task[Any], grace: float) -> None:
    try:
        await asyncio.wait((task,), timeout=grace)
    finally:
        if not task.done():
            task.cancel()
            await ended([task])


class Cancellable(Protocol):
    """What a cancellation can be passed on to."""

    def cancel(self) -> object:
        """Ask it to end."""


async def ended(work: Collection[asyncio.Future[Any]], *, told: Iterable[Cancellable] | None = None) -> None:
    """Return when all of this work has ended, however often the caller is cancelled meanwhile.

    Each such cancellation is passed on to the work, or to `told` in its place, and the first of them is raised at the end.
    """
    cancellations: list[asyncio.CancelledError] = []
    with _told_once():
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


def _told_once() -> AbstractContextManager[object]:
    """Inside, a cancellation by anyio that this task knows of is not delivered to it again.

    Elsewhere anyio does so at each turn of the event loop, until its scope is left: nobody could say that from a second cancellation.
    """
    anyio: Any = sys.modules.get("anyio")  # who has not imported it cannot be cancelled by it
    return nullcontext() if anyio is None else anyio.CancelScope(shield=True)


@contextmanager
def cancelled_by_us(client: str) -> Iterator[None]:
    """Lets the caller's cancellation pass. One that a client raises by itself is a call that failed, not the end of the run."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ProviderUnreachable(client, "the client cancelled the call by itself", retryable=True) from error
