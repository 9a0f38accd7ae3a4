"""When a request leaves: its provider counts it a moment later, however long it takes to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[tuple[Callable[[], None], asyncio.AbstractEventLoop] | None] = ContextVar("departure", default=None)


@contextmanager
def told_of_departure(listener: Callable[[], None]) -> Iterator[None]:
    """Within the block, `listener` is called each time that a request has left, in this event loop."""
    token = _listener.set((listener, asyncio.get_running_loop()))
    try:
        yield
    finally:
        _listener.reset(token)


def request_left() -> None:
    """Say that the request which is being made is on its way: its last byte was handed to the network, or to whoever answers it.

    For clients, from within `send` or `stream`, or a thread that they have started with `asyncio.to_thread`. The minute of a limit
    on requests begins with it; of a client that never calls this, with the reply.
    """
    if (told := _listener.get()) is None:
        return
    listener, loop = told
    if _running_loop() is loop:
        listener()
    else:
        loop.call_soon_threadsafe(listener)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
