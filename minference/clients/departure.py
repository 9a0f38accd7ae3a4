"""When a request leaves: its provider counts it a moment later, however long it takes to answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[], None] | None] = ContextVar("departure", default=None)


@contextmanager
def told_of_departure(listener: Callable[[], None]) -> Iterator[None]:
    """Within the block, `listener` is called each time that a request has left."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def request_left() -> None:
    """Say that the request which is being made is on its way: its last byte was handed to the network, or to whoever answers it.

    For clients, from within `send` or `stream`. The minute of a limit on requests begins with it; of a client that never calls
    this, with the reply.
    """
    listener = _listener.get()
    if listener is not None:
        listener()
