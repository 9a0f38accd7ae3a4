"""`Together`: what comes while something is being written is written together next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Together(Generic[T]):
    """Hands items to a function that writes many at once, in the order in which they come."""

    def __init__(self, write: Callable[[list[T]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, item: T) -> None:
        """Return when the item is written. It will be, also if the caller is cancelled meanwhile."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._work())
        await asyncio.shield(written)

    async def idle(self) -> None:
        """Return when nothing is being written."""
        if self._writing is not None:
            await asyncio.wait((self._writing,))

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await self._write([item for item, _ in batch])
            except BaseException as error:
                for _, written in batch:
                    if not written.done():
                        written.set_exception(error)
                        written.exception()  # whoever was cancelled meanwhile does not ask for it
                if not isinstance(error, Exception):
                    raise
                continue
            for _, written in batch:
                with suppress(asyncio.InvalidStateError):
                    written.set_result(None)
