"""Runs with a name: all threads that are known beforehand are in the work list before the first is asked anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from pydantic import JsonValue

from minference.ecs.registry import CurrentStorage
from minference.errors import ConfigurationError, InvalidRunName, MinferenceError
from minference.inference.journal import Journal
from minference.inference.options import RunOptions, settings_of
from minference.inference.thread_run import Setup
from minference.inference.uncounted import regained
from minference.storage.base import EntityStorage
from minference.storage.lineages import is_tag_name
from minference.threads.thread import ChatThread
from minference.waiting import to_the_end

_log = logging.getLogger(__name__)

_AT_ONCE = 500
"""Threads that are saved together."""


@asynccontextmanager
async def entered(run_id: str | None, setup: Setup, options: RunOptions, threads: Sequence[ChatThread]) -> AsyncGenerator[Setup, None]:
    """The setup with the journal of the run, if it has a name; these threads are saved and in its work list then.

    They are all entered in one transaction, in their order. One that cannot be saved is left out: it fails when its turn
    comes, and no other does because of it.

    Raises:
        InvalidRunName: No run can be called so; nothing was written.
        RunBusy: Another process works on it; nothing was written.
        StorageError: The work list cannot be written.
    """
    if run_id is None:
        yield setup
        return
    if not isinstance(run_id, str) or not is_tag_name(run_id):
        raise InvalidRunName(run_id)
    async with journal_of(setup, run_id, settings_of(options)) as journal:
        done = await _save_all(threads, setup.storage, setup.author)
        saved = [thread for thread, error in zip(threads, done, strict=True) if error is None]
        await journal.enter([thread.lineage_id for thread in saved])
        yield replace(setup, journal=journal)


async def begun(thread: ChatThread, setup: Setup, journal: Journal) -> None:
    """The thread is saved, and noted as begun with, as is what came of it before and nobody has counted.

    If the caller is cancelled meanwhile, it is saved and in the work list all the same.

    Raises:
        StorageError: It cannot be saved, or the work list cannot be written.
    """
    saving = setup.storage.submit(thread, author=setup.author, note="work list")  # so that whoever resumes the run finds it
    try:
        await saving
    except asyncio.CancelledError:
        await to_the_end(_put_down(thread, saving, journal))
        raise
    before = await regained(keeping_runs(setup), journal.begun_before(thread.lineage_id))
    await journal.begin(thread.lineage_id, thread.ecs_id, before)


async def _put_down(thread: ChatThread, saving: Awaitable[object], journal: Journal) -> None:
    try:
        await saving
        await journal.put_down(thread.lineage_id)
    except MinferenceError as error:
        _log.warning("thread %s could not be put into the work list of run %s: %s", thread.lineage_id, journal.name, error)


async def save_threads(threads: Sequence[ChatThread], storage: EntityStorage, author: str) -> None:
    """All of these threads are saved.

    Raises:
        StorageError: One of them cannot be; others may have been.
    """
    for error in await _save_all(threads, storage, author):
        if error is not None:
            raise error


async def _save_all(threads: Sequence[ChatThread], storage: CurrentStorage, author: str) -> list[MinferenceError | None]:
    """For each thread, why it cannot be saved; `None` if it is, so that whoever resumes the run finds it."""
    done: list[MinferenceError | None] = []
    for start in range(0, len(threads), _AT_ONCE):
        done += await asyncio.gather(*(_save(thread, storage, author) for thread in threads[start : start + _AT_ONCE]))
    return done


async def _save(thread: ChatThread, storage: CurrentStorage, author: str) -> MinferenceError | None:
    try:
        await storage.submit(thread, author=author, note="work list")
    except MinferenceError as error:
        return error
    return None


def journal_of(setup: Setup, run_id: str, settings: Mapping[str, JsonValue] | None) -> Journal:
    """The journal of a run, to be opened.

    Raises:
        ConfigurationError: The storage keeps no runs.
    """
    return Journal(keeping_runs(setup).runs(), run_id, settings, setup.holder)


def keeping_runs(setup: Setup) -> EntityStorage:
    """The storage, if it keeps runs.

    Raises:
        ConfigurationError: It does not.
    """
    if not isinstance(setup.storage, EntityStorage):
        name = type(setup.storage).__name__
        raise ConfigurationError(f"named runs need a storage that keeps them, and {name} does not: use open_storage")
    return setup.storage
