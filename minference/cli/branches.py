"""`minference threads branch`, `merge` and `revert`: other ways to go on from a version."""

from __future__ import annotations

import asyncio
import getpass
import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from minference.cli.database import existing
from minference.cli.find import find_in_lineage, find_version
from minference.cli.output import one_line, print_json, stderr, stdout
from minference.cli.tables import table
from minference.cli.tags import check_tag, tag_version
from minference.cli.threads import show_diff
from minference.cli.working import working
from minference.ecs.diff_render import printable, summary
from minference.ecs.diff_values import Absent
from minference.ecs.entity import Entity
from minference.ecs.lineage import VersionInfo, short_id
from minference.ecs.merge import Conflict, MergeResult
from minference.ecs.merge_lists import Strategy
from minference.errors import ConfigurationError
from minference.storage.base import EntityStorage
from minference.threads.thread import ChatThread
from minference.threads.turns import Ask, Done, next_step

CONFLICTS = 4
"""The exit code for a merge that was not made because both sides changed the same."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Who saves, and why."""

    author: str | None = None
    note: str | None = None

    @property
    def name(self) -> str:
        """The author: as given, or whoever is logged in."""
        if self.author is not None:
            return self.author
        try:
            return getpass.getuser()
        except (OSError, KeyError):  # a process without a user's name, as in some containers
            return "cli"


@dataclass(frozen=True, slots=True)
class Start:
    """What a branch is to begin with."""

    at: str | None
    name: str | None
    say: str | None
    move: bool = False


def branch_thread(database: str, thread: str, start: Start, signature: Signature, as_json: bool) -> None:
    """Name a version to go on from, or save a message as the next one after it.

    Raises:
        ConfigurationError: There is nothing to do, the name is taken, or the version waits for an answer.
    """
    if start.name is None and start.say is None:
        raise ConfigurationError(
            "a branch begins when a change to an older version is saved: pass --say TEXT to save a user message there, "
            "--name TAG to name the version so that `minference chat --thread THREAD@TAG` can, or both"
        )
    asyncio.run(_branch(database, thread, start, signature, as_json))


def merge_threads(database: str, ours: str, theirs: str, strategy: Strategy | None, signature: Signature, as_json: bool) -> int:
    """Bring what one branch changed into another. Returns 4 if there are conflicts, and nothing was saved."""
    return asyncio.run(_merge(database, ours, theirs, strategy, signature, as_json))


def revert_thread(database: str, thread: str, to: str, signature: Signature, as_json: bool) -> None:
    """Save an older version once more, as the next one, and print what that changed."""
    asyncio.run(_revert(database, thread, to, signature, as_json))


async def _branch(database: str, text: str, start: Start, signature: Signature, as_json: bool) -> None:
    async with existing(database) as storage:
        at = await find_version(storage, text)
        if start.at is not None:
            at = await find_in_lineage(storage, at, start.at)
        if start.name is not None:
            await check_tag(storage, at.lineage_id, start.name, None if start.say is not None else at.ecs_id, move=start.move)
        made, beside = at, at.ecs_id not in {head.ecs_id for head in await storage.heads(at.lineage_id)}
        if start.say is not None:
            made, beside = await _say(storage, at, start.say, signature)
        if start.name is not None:
            await tag_version(storage, made, start.name, move=start.move)
    if as_json:
        ids = {"thread": str(made.lineage_id), "version": str(made.ecs_id), "made_from": str(at.ecs_id)}
        print_json({**ids, "saved": made is not at, "branch": beside, "tag": start.name})
        return
    called = f", called {start.name!r}" if start.name is not None else ""
    if made is not at:
        kind = "a new branch" if beside else "the next version, as none was made from that one yet"
        said = f"saved version {short_id(made.ecs_id)}{called}, made from {short_id(at.ecs_id)}: {kind}"
    else:
        kind = "begins a branch" if beside else "continues it"
        said = f"version {short_id(at.ecs_id)} is called {start.name!r}: what is saved there next {kind}"
    stdout().print(said, soft_wrap=True)
    target = short_id(made.ecs_id) if start.name is None else f"{short_id(made.lineage_id)}@{start.name}"
    stderr().print(f"go on there: minference chat --thread {shlex.quote(target)}", soft_wrap=True)


async def _say(storage: EntityStorage, at: VersionInfo, text: str, signature: Signature) -> tuple[VersionInfo, bool]:
    """The version with the user's message, and whether it came beside another that was made from the same one."""
    with working("loading"):
        thread = await storage.get(ChatThread, at.ecs_id)
    broken_off = thread.last_message is not None and thread.last_message.is_partial
    if not broken_off and not isinstance(next_step(thread), Ask | Done):
        raise ConfigurationError(
            f"at version {short_id(at.ecs_id)} the thread waits for an answer, and not for the user: "
            "go on there with `minference chat --thread`, or choose the version after the answer, or one before the question (--at)"
        )
    thread.add_user_message(text)
    with _branching_on_purpose():
        commit = await storage.submit(thread, author=signature.name, note=signature.note or f"branch at {short_id(at.ecs_id)}")
    return await storage.info(thread.ecs_id), commit.branched


async def _merge(database: str, one: str, other: str, strategy: Strategy | None, signature: Signature, as_json: bool) -> int:
    async with existing(database) as storage:
        ours, theirs = await find_version(storage, one), await find_version(storage, other)
        with working("merging"), _branching_on_purpose():
            base = await storage.common_ancestor(ours.ecs_id, theirs.ecs_id)
            thread = await storage.get(ChatThread, ours.ecs_id)
            result = await storage.merge(thread, theirs.ecs_id, strategy, author=signature.name, note=signature.note)
        what = {
            "ours": str(ours.ecs_id),
            "theirs": str(theirs.ecs_id),
            "base": str(base.ecs_id) if base is not None else None,
            "version": str(thread.ecs_id),
            "saved": not result.conflicts and thread.ecs_id not in (ours.ecs_id, theirs.ecs_id),
            "conflicts": [_conflict_json(each) for each in result.conflicts],
        }
        if result.conflicts:
            _tell_conflicts(result, what, as_json=as_json)
            return CONFLICTS
        diff = await storage.diff(ours.ecs_id, thread.ecs_id)
    if as_json:
        print_json({**what, "diff": diff.to_json()})
        return 0
    stdout().print(_told(ours, theirs, thread), soft_wrap=True)
    if diff:
        show_diff(diff)
    return 0


def _told(ours: VersionInfo, theirs: VersionInfo, thread: ChatThread) -> str:
    one, other = short_id(ours.ecs_id), short_id(theirs.ecs_id)
    if thread.ecs_id == ours.ecs_id:
        return f"nothing to merge: {one} came from {other}, or merged it, and has all of it"
    if thread.ecs_id == theirs.ecs_id:
        return f"nothing to merge: {other} came from {one}, or merged it, and has all of it"
    return f"merged {other} into {one}: saved version {short_id(thread.ecs_id)}"


def _tell_conflicts(result: MergeResult[ChatThread], what: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(what)
        return
    rows = []
    for each in result.conflicts:
        sides = (one_line(_shown(side), 60) for side in (each.base, each.ours, each.theirs))
        rows.append((each.path or "(the whole)", *sides))
    stdout().print(table(["where", "before", "ours", "theirs"], rows), soft_wrap=True)
    count = len(result.conflicts)
    stderr().print(
        f"{count} {'conflict' if count == 1 else 'conflicts'}, nothing was saved: choose a side with --strategy ours or theirs, "
        "or --strategy append to keep what both added",
        soft_wrap=True,
    )


def _shown(side: Any) -> str:
    """One side of a conflict, on a line."""
    match side:
        case Absent():
            return ""
        case Entity():
            return summary(side)
        case tuple():
            return ", ".join(_shown(each) for each in side) if side else "nothing"
        case _:
            return printable(side if isinstance(side, str) else repr(side))


def _conflict_json(conflict: Conflict) -> dict[str, Any]:
    sides = {"base": conflict.base, "ours": conflict.ours, "theirs": conflict.theirs}
    return {"path": conflict.path, **{name: None if isinstance(side, Absent) else _side_json(side) for name, side in sides.items()}}


def _side_json(side: Any) -> Any:
    match side:
        case Entity():
            return {"version": str(side.ecs_id), "text": summary(side)}
        case tuple() if all(isinstance(each, Entity) for each in side):
            return [_side_json(each) for each in side]
        case UUID():
            return str(side)
        case _:
            return side


async def _revert(database: str, text: str, to: str, signature: Signature, as_json: bool) -> None:
    async with existing(database) as storage:
        before = await find_version(storage, text)
        target = await find_in_lineage(storage, before, to)
        with working("reverting"), _branching_on_purpose():
            thread = await storage.get(ChatThread, before.ecs_id)
            note = signature.note or f"revert to {target.ecs_id}"
            await storage.revert(thread, target.ecs_id, author=signature.name, note=note)
        diff = await storage.diff(before.ecs_id, thread.ecs_id)
    saved = thread.ecs_id != before.ecs_id
    if as_json:
        ids = {"version": str(thread.ecs_id), "before": str(before.ecs_id), "to": str(target.ecs_id)}
        print_json({**ids, "saved": saved, "diff": diff.to_json()})
        return
    if not saved:
        stdout().print(f"nothing to revert: {short_id(before.ecs_id)} holds what {short_id(target.ecs_id)} does", soft_wrap=True)
        return
    stdout().print(f"reverted to {short_id(target.ecs_id)}: saved version {short_id(thread.ecs_id)}", soft_wrap=True)
    show_diff(diff)


@contextmanager
def _branching_on_purpose() -> Iterator[None]:
    """What is asked for needs no warning that it happened."""
    log = logging.getLogger("minference.storage")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
