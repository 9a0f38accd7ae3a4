"""`minference threads ...`: what is saved, for reading."""

from __future__ import annotations

import asyncio

from minference.cli.database import reading
from minference.cli.find import find_in_lineage, find_version
from minference.cli.output import print_json, stderr, stdout
from minference.cli.show import (
    ThreadLine,
    list_table,
    log_entry,
    log_table,
    summarise,
    thread_json,
    thread_text,
)
from minference.ecs.diff import EntityDiff, diff_entities
from minference.ecs.lineage import VersionInfo
from minference.errors import UnknownThread
from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread


def list_threads(database: str, limit: int, as_json: bool) -> None:
    """Print the threads, the one saved last first."""
    asyncio.run(_list(database, limit, as_json))


def show_thread(database: str, thread: str, version: str | None, as_json: bool) -> None:
    """Print one version of a thread, message by message."""
    asyncio.run(_show(database, thread, version, as_json))


def log_thread(database: str, thread: str, limit: int, as_json: bool) -> None:
    """Print the versions of a thread, the newest first."""
    asyncio.run(_log(database, thread, limit, as_json))


def diff_threads(database: str, first: str, second: str | None, as_json: bool) -> None:
    """Print what differs between two versions."""
    asyncio.run(_diff(database, first, second, as_json))


async def print_list(storage: EntityStorage, limit: int, *, as_json: bool = False) -> None:
    """Print the threads of an open storage."""
    heads = await storage.list_by_type(ChatThread)
    lines = [await _line(storage, head) for head in heads[:limit]]
    if as_json:
        print_json([line.as_json() for line in lines])
        return
    stdout().print(list_table(lines) if lines else "no threads yet")
    if len(heads) > limit:
        stderr().print(f"and {len(heads) - limit} more (--limit)")


async def print_log(storage: EntityStorage, thread: VersionInfo, limit: int, *, as_json: bool = False) -> None:
    """Print the log of one thread of an open storage."""
    versions = await storage.lineage(thread.lineage_id)
    heads = {head.ecs_id for head in await storage.heads(thread.lineage_id)}
    shown = versions[::-1][:limit]
    entries = [log_entry(version, await _changes(storage, version), head=version.ecs_id in heads) for version in shown]
    if as_json:
        print_json(entries)
        return
    stdout().print(log_table(entries))
    if len(versions) > limit:
        stderr().print(f"and {len(versions) - limit} older versions (--limit)")


async def print_diff(storage: EntityStorage, old: VersionInfo, new: VersionInfo, *, as_json: bool = False) -> None:
    """Print what differs between two versions of an open storage."""
    diff = await _difference(storage, old, new)
    if as_json:
        print_json(diff.to_json())
    else:
        stdout().print(diff if stdout().is_terminal else str(diff), soft_wrap=True)


async def _list(database: str, limit: int, as_json: bool) -> None:
    async with reading(database) as storage:
        await print_list(storage, limit, as_json=as_json)


async def _show(database: str, text: str, version: str | None, as_json: bool) -> None:
    async with reading(database) as storage:
        found = await find_version(storage, text)
        if version is not None:
            found = await find_in_lineage(storage, found, version)
        thread = await storage.get_cold_snapshot(ChatThread, found.ecs_id)
    if as_json:
        print_json(thread_json(thread))
    else:
        stdout().print(thread_text(thread), soft_wrap=True)


async def _log(database: str, text: str, limit: int, as_json: bool) -> None:
    async with reading(database) as storage:
        await print_log(storage, await find_version(storage, text), limit, as_json=as_json)


async def _diff(database: str, first: str, second: str | None, as_json: bool) -> None:
    async with reading(database) as storage:
        one = await find_version(storage, first)
        if second is not None:
            await print_diff(storage, one, await find_version(storage, second), as_json=as_json)
            return
        if one.parent_id is None:
            raise UnknownThread(first, "it is a first version, with nothing before it: name two versions to compare")
        await print_diff(storage, await storage.info(one.parent_id), one, as_json=as_json)


async def _line(storage: EntityStorage, head: VersionInfo) -> ThreadLine:
    thread = await storage.get_cold_snapshot(ChatThread, head.ecs_id)
    return ThreadLine(thread, head, versions=len(await storage.lineage(head.lineage_id)))


async def _changes(storage: EntityStorage, version: VersionInfo) -> list[str]:
    if version.parent_id is None:
        thread = await storage.get_cold_snapshot(ChatThread, version.ecs_id)
        return ["created" + (f", {len(thread.history)} messages" if thread.history else "")]
    return summarise(await _difference(storage, await storage.info(version.parent_id), version))


async def _difference(storage: EntityStorage, old: VersionInfo, new: VersionInfo) -> EntityDiff:
    before = await storage.get_cold_snapshot(ChatThread, old.ecs_id)
    return diff_entities(before, await storage.get_cold_snapshot(ChatThread, new.ecs_id))
