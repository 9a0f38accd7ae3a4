"""Waiting for what others wait for too."""

from __future__ import annotations

import asyncio
from typing import Any


async def ended(future: asyncio.Future[Any]) -> None:
    """Return when it is done, whatever came of it. Cancelling whoever waits does not cancel it; `asyncio.wait` does the same for more."""
    if future.done():
        return
    waiter = future.get_loop().create_future()

    def wake(_: asyncio.Future[Any]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(wake)
    try:
        await waiter
    finally:
        future.remove_done_callback(wake)
