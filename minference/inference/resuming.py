"""The threads of a named run, loaded as they are needed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from minference.errors import LineageNotFound
from minference.storage.base import EntityStorage
from minference.storage.runs import EntryState
from minference.threads.thread import ChatThread

_PAGE = 500
"""Entries that are read at once."""


async def threads_of_run(storage: EntityStorage, run_id: str, states: Sequence[EntryState]) -> AsyncGenerator[ChatThread, None]:
    """The newest version of each thread of a run that is in one of these states, in the order of its work list."""
    after = -1
    while page := await storage.runs().entries(run_id, states, after=after, limit=_PAGE):
        for entry in page:
            after = entry.position
            newest = await storage.recent(entry.lineage_id, 1)
            if not newest:
                raise LineageNotFound(entry.lineage_id)
            yield await storage.get(ChatThread, newest[0].ecs_id)
