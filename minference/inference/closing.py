"""`UnderWay`: the work that goes on in an orchestrator, and its end when the orchestrator is closed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from minference.errors import OrchestratorClosed
from minference.inference.crowd import END, End
from minference.waiting import ended

T = TypeVar("T")


_INSIDE: ContextVar[tuple[UnderWay, ...]] = ContextVar("inside", default=())
"""Of which work this task is a part."""


class UnderWay:
    """Blocks of work, each in a task. Closing cancels those that are under way, as their callers could: replies on their way are saved."""

    def __init__(self) -> None:
        self._closing = asyncio.Event()
        self._cancelled = 0
        """How often each task was cancelled by us."""
        self._tasks: set[asyncio.Task[object]] = set()
        self._calls = 0
        self._ended: asyncio.Future[None] | None = None

    def is_closed(self) -> bool:
        """Whether the orchestrator was closed."""
        return self._closing.is_set()

    @contextmanager
    def call(self) -> Iterator[None]:
        """A call that is waited for when the orchestrator is closed: it ends by itself once its blocks have ended."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            self._notice()

    @contextmanager
    def block(self) -> Iterator[None]:
        """A block of work in this task.

        Raises:
            OrchestratorClosed: The orchestrator was closed before, or meanwhile: then what was on its way is saved.
        """
        task = asyncio.current_task()
        assert task is not None, "work is done in tasks"
        if self.is_closed():
            raise OrchestratorClosed(midway=True)
        outer = _INSIDE.get()
        if self in outer:  # as the thread that a tool runs: it is cancelled with the tool, and once only, so that it can end well
            yield
            return
        asked, token = task.cancelling(), _INSIDE.set((*outer, self))
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            for _ in range(self._cancelled):
                task.uncancel()
            if self.is_closed() and task.cancelling() <= asked:
                raise OrchestratorClosed(midway=True) from None
            raise
        finally:
            _INSIDE.reset(token)
            self._tasks.discard(task)
            self._notice()

    async def each(self, items: AsyncGenerator[T, None], last: Callable[[OrchestratorClosed], T]) -> AsyncGenerator[T, None]:
        """The items, each made in a block: what is done with them in between is no work of ours. `last` says how they end with it."""
        while True:
            try:
                with self.block():
                    item = await anext(items, END)
            except OrchestratorClosed as closed:
                yield last(closed)
                return
            if isinstance(item, End):
                return
            yield item

    async def close(self) -> None:
        """End what is under way, and return when it has ended; no further block begins. A cancellation meanwhile is passed on to it."""
        self._closing.set()
        self.cancel()
        if self._tasks or self._calls:
            self._ended = asyncio.get_running_loop().create_future()
            await ended([self._ended], told=[self])

    def cancel(self) -> None:
        """Cancel what is under way; for the second time, what drains is given up."""
        self._cancelled += 1
        for task in self._tasks:
            task.cancel()

    def _notice(self) -> None:
        if self._ended is not None and not self._tasks and not self._calls and not self._ended.done():
            self._ended.set_result(None)


class Closing(Protocol):
    """What has something to give back."""

    async def aclose(self) -> None:
        """Give it back."""


async def close_all(*opened: Closing | None) -> None:
    """Close these, in their order; each, whatever goes wrong with another."""
    async with AsyncExitStack() as stack:
        for each in reversed(opened):
            if each is not None:
                stack.push_async_callback(each.aclose)
