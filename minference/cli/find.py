"""Threads and versions by what a person types: a name, some characters of an id, `@head`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from uuid import UUID, uuid5

from minference.ecs.lineage import VersionInfo, short_id
from minference.errors import UnknownThread
from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread

_RUNS = UUID("5d3a8f0e-6d27-4f0a-9c55-0c1a4b7e2f61")

SHORTEST = 4
"""Characters of an id that are needed at least."""


def lineage_of_run(name: str) -> UUID:
    """The lineage of a thread of a run: it follows from the thread's name, `run/prompt`, so that a run finds what it began."""
    return uuid5(_RUNS, name)


async def find_version(storage: EntityStorage, text: str) -> VersionInfo:
    """The version that `text` names; of a thread that is named as a whole, its newest version.

    Raises:
        UnknownThread: Nothing or more than one thing is called so.
    """
    heads = await storage.list_by_type(ChatThread)
    if not heads:
        raise UnknownThread(text, "the database holds no threads yet")
    if text == "@head":
        return heads[0]
    digits = text.replace("-", "").lower()
    if len(digits) >= SHORTEST and re.fullmatch(r"[0-9a-f]+", digits):
        found = [head for head in heads if _is_called(head.lineage_id, digits)]
        if not found:
            found = await _versions(storage, heads, digits)
        if found:
            return _only(text, found)
    if heads_of_run := await storage.heads(lineage_of_run(text)):
        return heads_of_run[-1]
    named = [head for head in heads if (await storage.get_cold_snapshot(ChatThread, head.ecs_id)).name == text]
    if not named:
        raise UnknownThread(text, f"give a name or at least {SHORTEST} characters of an id from `minference threads list`")
    return _only(text, named)


async def find_in_lineage(storage: EntityStorage, thread: VersionInfo, text: str) -> VersionInfo:
    """The version of this thread that `text` names.

    Raises:
        UnknownThread: None or more than one is called so.
    """
    digits = text.replace("-", "").lower()
    found = [version for version in await storage.lineage(thread.lineage_id) if _is_called(version.ecs_id, digits)]
    if not found or len(digits) < SHORTEST:
        raise UnknownThread(text, f"the thread has no such version; see `minference threads log {short_id(thread.lineage_id)}`")
    return _only(text, found)


async def _versions(storage: EntityStorage, heads: Iterable[VersionInfo], digits: str) -> list[VersionInfo]:
    """Heads first: the version that someone names was mostly just listed."""
    found = [head for head in heads if _is_called(head.ecs_id, digits)]
    for head in () if found else heads:
        found += [version for version in await storage.lineage(head.lineage_id) if _is_called(version.ecs_id, digits)]
    return found


def _is_called(name: UUID, digits: str) -> bool:
    return name.hex.startswith(digits) or name.hex.endswith(digits)


def _only(text: str, found: list[VersionInfo]) -> VersionInfo:
    if len(found) > 1:
        some = ", ".join(str(version.ecs_id) for version in found[:3])
        raise UnknownThread(text, f"{len(found)} versions are called so ({some}{', ...' if len(found) > 3 else ''}): give more of the id")
    return found[0]
