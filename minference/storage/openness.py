"""`Openness`: that something is open, once at a time and in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from minference.errors import AlreadyOpen


class Openness:
    """What is entered with `async with` and may be used in the event loop in which it was, until it is left."""

    def __init__(self, what: str) -> None:
        self._what = what
        """What errors call it."""
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """It is open from here on, unless the block fails: nobody else enters it meanwhile.

        What was not left before its event loop ended is not open any more.

        Raises:
            AlreadyOpen: It is open; it stays so.
        """
        if self._loop is not None and not self._loop.is_closed():
            raise AlreadyOpen(self._what)
        self._loop = asyncio.get_running_loop()
        try:
            yield
        except BaseException:
            self._loop = None
            raise

    @contextmanager
    def ending(self) -> Iterator[None]:
        """It can be entered again after the block, whatever becomes of that."""
        try:
            yield
        finally:
            self._loop = None

    def is_here(self) -> bool:
        """Whether it belongs to the event loop that runs here, if one does."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False
