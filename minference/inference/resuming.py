"""The threads of a named run, loaded as they are needed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from uuid import UUID

from minference.ecs.callables import CallableRegistry
from minference.errors import ErasedLineage, LineageNotFound, MinferenceError
from minference.inference.journal import Journal
from minference.inference.uncounted import regained_if_readable
from minference.storage.base import EntityStorage
from minference.storage.runs import EntryState
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool

_PAGE = 500
"""Entries that are read at once."""


def to_resume(
    storage: EntityStorage, journal: Journal, part: Sequence[UUID] | None, *, retry_failed: bool
) -> tuple[int, AsyncGenerator[ChatThread, None]]:
    """How many threads are to be gone on with, and those: of the whole run, or of a part of it."""
    if part is not None:
        return len(part), _threads_of_part(storage, journal, part)
    states = [EntryState.pending, EntryState.running, *([EntryState.failed] if retry_failed else [])]
    return sum(journal.info.counts.get(state, 0) for state in states), threads_of_run(storage, journal.name, states)


async def threads_of_run(storage: EntityStorage, run_id: str, states: Sequence[EntryState]) -> AsyncGenerator[ChatThread, None]:
    """The newest version of each thread of a run that is in one of these states, in the order of its work list."""
    after = -1
    while page := await storage.runs().entries(run_id, states, after=after, limit=_PAGE):
        for entry in page:
            after = entry.position
            yield await _newest(storage, entry.lineage_id)


async def _threads_of_part(storage: EntityStorage, journal: Journal, lineages: Sequence[UUID]) -> AsyncGenerator[ChatThread, None]:
    """The newest version of each of these threads, as it is needed.

    One that cannot be loaded, or was erased, or has a tool for which this process has no function, is noted as failed and left out: others
    of the part are not held up by it, and no model is asked with tools that nobody here can run.
    """
    for lineage_id in lineages:
        try:
            thread = await _newest(storage, lineage_id)
            _require_runnable(thread)
        except MinferenceError as error:
            await journal.refuse(lineage_id, error, await regained_if_readable(storage, journal.begun_before(lineage_id)))
        else:
            yield thread


async def _newest(storage: EntityStorage, lineage_id: UUID) -> ChatThread:
    newest = await storage.recent(lineage_id, 1)
    if not newest:
        raise LineageNotFound(lineage_id)
    return await storage.get(ChatThread, newest[0].ecs_id)


def _require_runnable(thread: ChatThread) -> None:
    """Raise if the thread takes no reply any more, or a function is missing that the model may call."""
    if thread.erased:
        raise ErasedLineage(thread.lineage_id)
    for tool in thread.tools:
        if isinstance(tool, CallableTool) and tool.source_text is None:
            CallableRegistry.get(tool.name)
