"""Threads and versions by what a person types: a name, some characters of an id, `@head`, `@{3}`, a tag."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from uuid import UUID, uuid5

from minference.cli.output import one_line, when
from minference.ecs.lineage import VersionInfo, short_id
from minference.errors import UnknownThread
from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread

_RUNS = UUID("5d3a8f0e-6d27-4f0a-9c55-0c1a4b7e2f61")

SHORTEST = 4
"""Characters of an id that are needed at least."""
NAMES_TRIED = 1_000
"""Threads, those saved last, among whose names one is looked for that may have been meant."""
CANDIDATES = 4
"""How many of several things that are called so are told."""
_AGO = re.compile(r"\{(\d{1,9})\}")


def lineage_of_run(name: str) -> UUID:
    """The lineage of a thread of a run: it follows from the thread's name, `run/prompt`, so that a run finds what it began."""
    return uuid5(_RUNS, name.encode(errors="backslashreplace").decode())  # halves of surrogate pairs have no bytes


async def find_version(storage: EntityStorage, text: str) -> VersionInfo:
    """The version that `text` names; of a thread that is named as a whole, its newest version.

    Raises:
        UnknownThread: Nothing or more than one thing is called so.
    """
    if (found := await _thread(storage, text)) is not None:
        return found
    for thread, version in _split(text):
        if (found := await _thread(storage, thread or "@head")) is not None:
            return await find_in_lineage(storage, found, version)
    raise UnknownThread(text, await _meant(storage, text))


async def find_in_lineage(storage: EntityStorage, thread: VersionInfo, text: str) -> VersionInfo:
    """The version of this thread that `text` names: `@head`, `@{3}`, a tag, or characters of its id.

    Raises:
        UnknownThread: None or more than one is called so.
    """
    name = text.removeprefix("@")
    tags = await storage.tags(thread.lineage_id)
    if name in tags:
        return tags[name]
    if (ago := _AGO.fullmatch("{0}" if name == "head" else name)) is not None:
        if recent := await storage.recent(thread.lineage_id, 1, skip=int(ago[1])):
            return recent[0]
        raise UnknownThread(text, f"the thread has {await storage.length(thread.lineage_id):,} versions, and {{0}} is the newest")
    digits = _digits(name)
    found = [version for version in await storage.lineage(thread.lineage_id) if _is_called(version.ecs_id, digits)] if digits else []
    if not found:
        raise UnknownThread(text, _no_version(thread, name, list(tags)))
    return _only(text, found, {})


async def _thread(storage: EntityStorage, text: str) -> VersionInfo | None:
    """What has this name or id, without a version behind it; `None` if nothing has.

    Raises:
        UnknownThread: Several have.
    """
    if text == "@head":
        return next((each.version for each in await storage.newest(ChatThread, 1)), None)
    if found := await storage.recent(lineage_of_run(text), 1):
        return found[0]
    if found := await storage.find_by(ChatThread, name=text):
        return _only(text, found, {})
    if not (digits := _digits(text)):
        return None
    called = await storage.called(ChatThread, digits)
    several = called.lineages or called.versions
    return _only(text, several, await _names(storage, several[:CANDIDATES]) if len(several) > 1 else {}) if several else None


def _split(text: str) -> Iterator[tuple[str, str]]:
    """The ways to read `THREAD@VERSION`, names with an `@` in them included."""
    for match in reversed(list(re.finditer("@", text))):
        if match.end() < len(text):
            yield text[: match.start()], text[match.end() :]


def _digits(text: str) -> str:
    """The text as digits of an id; empty if it is none."""
    digits = text.replace("-", "").lower()
    return digits if len(digits) >= SHORTEST and re.fullmatch(r"[0-9a-f]+", digits) else ""


def _is_called(name: UUID, digits: str) -> bool:
    return name.hex.startswith(digits) or name.hex.endswith(digits)


async def _names(storage: EntityStorage, versions: Sequence[VersionInfo]) -> dict[UUID, str]:
    """The names of threads that have one, by version."""
    threads = await storage.peek(ChatThread, [version.ecs_id for version in versions], history=slice(0), tools=slice(0))
    return {thread.ecs_id: thread.name for thread in threads if thread.name}


def _only(text: str, found: Sequence[VersionInfo], names: dict[UUID, str]) -> VersionInfo:
    if len(found) == 1:
        return found[0]
    told = ", ".join(
        f"{version.ecs_id} ({', '.join(filter(None, (one_line(names.get(version.ecs_id, ''), 30), when(version.created_at))))})"
        for version in found[:CANDIDATES]
    )
    more = ", ..." if len(found) > CANDIDATES else ""
    raise UnknownThread(text, f"{len(found)} versions are called so: {told}{more}: give more of the id")


async def _meant(storage: EntityStorage, text: str) -> str:
    """Why nothing was found, and what may have been meant."""
    newest = [each.version for each in await storage.newest(ChatThread, NAMES_TRIED)]
    if not newest:
        return "the database holds no threads yet"
    names = (await _names(storage, newest)).values()
    if close := _close(text, names) or _close(text.rpartition("@")[0], names):
        return f"did you mean {close}?"
    return f"give a name or at least {SHORTEST} characters of an id from `minference threads list`"


def _no_version(thread: VersionInfo, name: str, tags: Sequence[str]) -> str:
    if close := _close(name, [*tags, "head"]):
        return f"the thread has no such version; did you mean {close}?"
    known = f"its tags are {', '.join(map(repr, tags))}; " if tags else ""
    return f"the thread has no such version; {known}see `minference threads log {short_id(thread.lineage_id)}`"


def _close(text: str, names: Iterable[str]) -> str:
    folded = {name.lower(): name for name in names}
    return " or ".join(repr(folded[each]) for each in get_close_matches(text.lower(), folded, 3, 0.6))
