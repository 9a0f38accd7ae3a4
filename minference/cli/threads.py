"""`minference threads ...`: what is saved, for reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from minference.cli.database import existing
from minference.cli.find import find_in_lineage, find_version
from minference.cli.output import counted, page, print_json, stderr, stdout
from minference.cli.show import ThreadLine, list_table, log_entry, log_table, log_widths, summarise, thread_json, thread_text
from minference.cli.working import working
from minference.ecs.diff import EntityDiff
from minference.ecs.lineage import VersionInfo
from minference.errors import ConfigurationError, UnknownThread
from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread

T = TypeVar("T")

PART = 500
"""Threads or versions that are read at once."""
SHOWN = 100
"""Messages that are printed of a longer thread, if nobody says how many."""


@dataclass(frozen=True, slots=True)
class Part:
    """Which messages to show: so many from one end, all, or what is sensible."""

    first: int | None = None
    last: int | None = None
    everything: bool = False

    def window(self, *, default: int | None) -> slice:
        """The messages to load; `default`: how many of the last ones, if nothing was said.

        Raises:
            ConfigurationError: Several things were said.
        """
        if sum((self.first is not None, self.last is not None, self.everything)) > 1:
            raise ConfigurationError("--first, --last and --all contradict each other: give one of them")
        if self.first is not None:
            return slice(self.first)
        last = None if self.everything else self.last if self.last is not None else default
        return slice(None) if last is None else slice(-last, None)


def list_threads(database: str, limit: int, as_json: bool) -> None:
    """Print the threads, the one saved last first."""
    asyncio.run(_list(database, limit, as_json))


def show_thread(database: str, thread: str, version: str | None, part: Part, as_json: bool) -> None:
    """Print one version of a thread, message by message."""
    asyncio.run(_show(database, thread, version, part.window(default=None if as_json else SHOWN), as_json))


def log_thread(database: str, thread: str, limit: int, as_json: bool) -> None:
    """Print the versions of a thread, the newest first."""
    asyncio.run(_log(database, thread, limit, as_json))


def diff_threads(database: str, first: str, second: str | None, as_json: bool) -> None:
    """Print what differs between two versions."""
    asyncio.run(_diff(database, first, second, as_json))


async def print_list(storage: EntityStorage, limit: int, *, as_json: bool = False) -> None:
    """Print the threads of an open storage."""
    lines: list[ThreadLine] = []
    with working("reading") as tell:
        newest = await storage.newest(ChatThread, limit)
        for part in parts(newest):
            ids = [each.version.ecs_id for each in part]
            threads = await storage.peek(ChatThread, ids, history=slice(0), tools=slice(0))
            lines += [ThreadLine(thread, each.version, each.versions) for thread, each in zip(threads, part, strict=True)]
            tell(f"{len(lines):,} of {counted(len(newest), 'thread')}")
    if as_json:
        print_json([line.as_json() for line in lines])
        return
    stdout().print(list_table(lines) if lines else "no threads yet", soft_wrap=True)
    if len(lines) == limit and (more := await storage.count(ChatThread) - limit) > 0:
        stderr().print(f"and {more:,} more (--limit)")


async def print_log(storage: EntityStorage, thread: VersionInfo, limit: int, *, as_json: bool = False) -> None:
    """Print the log of one thread of an open storage: a long one part by part, as they are read."""
    versions = await storage.recent(thread.lineage_id, limit)
    heads = {head.ecs_id for head in await storage.heads(thread.lineage_id)}
    tags = await tags_by_version(storage, thread)
    entries = [log_entry(each, tags.get(each.ecs_id, []), head=each.ecs_id in heads) for each in versions]
    if as_json:
        with working("comparing versions") as tell:
            async for done, _ in _told(storage, versions, entries):
                tell(f"{done:,} of {len(versions):,}")
        print_json(entries)
        return
    least = log_widths(entries) if len(entries) > PART else []
    console = stdout()
    async for done, part in _told(storage, versions, entries):
        console.print(log_table(part, least, headed=done == len(part)), soft_wrap=True)
    if len(versions) == limit and (more := await storage.length(thread.lineage_id) - limit) > 0:
        stderr().print(f"and {counted(more, 'older version')} (--limit)")


async def _told(
    storage: EntityStorage, versions: list[VersionInfo], entries: list[dict[str, Any]]
) -> AsyncIterator[tuple[int, list[dict[str, Any]]]]:
    """Fill in what the versions changed; parts of the log, each with how many entries are there by then."""
    done = 0
    for part in parts(versions):
        told = entries[done : done + len(part)]
        for entry, changes in zip(told, await _changes(storage, part), strict=True):
            entry["changes"] = changes
        done += len(part)
        yield done, told


def parts(whole: list[T]) -> Iterator[list[T]]:
    """Parts of something long, to be read one after the other."""
    for start in range(0, len(whole), PART):
        yield whole[start : start + PART]


async def print_diff(storage: EntityStorage, old: VersionInfo, new: VersionInfo, *, as_json: bool = False) -> None:
    """Print what differs between two versions of an open storage."""
    with working("comparing"):
        diff = await storage.diff(old.ecs_id, new.ecs_id)
    show_diff(diff, as_json=as_json)


def show_diff(diff: EntityDiff, *, as_json: bool = False) -> None:
    """Print a difference."""
    if as_json:
        print_json(diff.to_json())
    elif stdout().is_terminal:
        page(diff.__rich__())
    else:
        stdout().print(str(diff), soft_wrap=True)


async def tags_by_version(storage: EntityStorage, thread: VersionInfo) -> dict[object, list[str]]:
    """The names of the versions of a thread."""
    found: dict[object, list[str]] = {}
    for name, version in (await storage.tags(thread.lineage_id)).items():
        found.setdefault(version.ecs_id, []).append(name)
    return found


async def _list(database: str, limit: int, as_json: bool) -> None:
    async with existing(database) as storage:
        await print_list(storage, limit, as_json=as_json)


async def _show(database: str, text: str, version: str | None, window: slice, as_json: bool) -> None:
    async with existing(database) as storage:
        with working("loading"):
            found = await find_version(storage, text)
            if version is not None:
                found = await find_in_lineage(storage, found, version)
            if window == slice(None):
                thread = await storage.get_cold_snapshot(ChatThread, found.ecs_id)
            else:
                [thread] = await storage.peek(ChatThread, [found.ecs_id], history=window)
    if as_json:
        print_json(thread_json(thread))
    else:
        page(thread_text(thread))


async def _log(database: str, text: str, limit: int, as_json: bool) -> None:
    async with existing(database) as storage:
        await print_log(storage, await find_version(storage, text), limit, as_json=as_json)


async def _diff(database: str, first: str, second: str | None, as_json: bool) -> None:
    async with existing(database) as storage:
        one = await find_version(storage, first)
        if second is not None:
            await print_diff(storage, one, await find_version(storage, second), as_json=as_json)
            return
        if one.parent_id is None:
            raise UnknownThread(first, "it is a first version, with nothing before it: name two versions to compare")
        await print_diff(storage, await storage.info(one.parent_id), one, as_json=as_json)


async def _changes(storage: EntityStorage, versions: list[VersionInfo]) -> list[list[str]]:
    """What each of these versions changed, in a few words per field."""
    told = await storage.changes([version.ecs_id for version in versions])
    firsts = [version.ecs_id for version in versions if version.parent_id is None]
    lengths = {thread.ecs_id: len(thread.history) for thread in await storage.peek(ChatThread, firsts, history=slice(0), tools=slice(0))}
    return [
        summarise(diff)
        if diff is not None
        else ["created" + (f", {counted(length, 'message')}" if (length := lengths[version.ecs_id]) else "")]
        for version, diff in zip(versions, told, strict=True)
    ]
