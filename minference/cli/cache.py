"""`minference cache`: the replies that are kept to be given again."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from minference.cli.database import existing
from minference.cli.output import print_json, stdout, when
from minference.inference.caching import ResponseCache
from minference.storage.replies import CacheSize


def show(database: str, as_json: bool) -> None:
    """Print how many there are, and of which times.

    Raises:
        StorageError: The database cannot be used.
    """

    async def read() -> CacheSize:
        async with existing(database) as storage:
            return await storage.replies().size()

    size = asyncio.run(read())
    if as_json:
        print_json(asdict(size))
        return
    times = f", the oldest of {when(size.oldest)}, the newest of {when(size.newest)}" if size.oldest and size.newest else ""
    stdout().print(f"{_replies(size.replies)}{times}", soft_wrap=True)


def clear(database: str, older_than: float | None) -> None:
    """Forget all, or those that came so many seconds ago.

    Raises:
        StorageError: The database cannot be used.
    """

    async def work() -> int:
        async with existing(database) as storage:
            return await ResponseCache().clear(storage, older_than=older_than)

    stdout().print(f"{_replies(asyncio.run(work()))} forgotten", soft_wrap=True)


def _replies(count: int) -> str:
    return f"{count:,} {'reply' if count == 1 else 'replies'}"
