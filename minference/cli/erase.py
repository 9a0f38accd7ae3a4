"""`minference threads erase`: the content of a thread or message, out of every version."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from minference.cli.database import existing
from minference.cli.find import SHORTEST, find_version
from minference.cli.interrupts import if_interrupted
from minference.cli.output import counted, print_json, stderr, stdout, when
from minference.cli.working import working
from minference.ecs.lineage import VersionInfo, short_id
from minference.errors import ConfigurationError, UnknownThread
from minference.storage.base import EntityStorage
from minference.storage.erasing import Erased, ErasureScope, Shared
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread

ERASED, DECLINED, REMAINS = 0, 1, 3
"""Exit codes: all is gone; whoever was asked did not say yes; the database holds copies that could not be removed now."""


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """What the command line says."""

    thread: str
    message: str | None
    reason: str
    author: str | None
    shared: Shared
    confirmed: bool


def erase(database: str, request: ErasureRequest, as_json: bool) -> int:
    """Say what will be erased, ask, erase, and say what was; returns the exit code.

    Raises:
        ConfigurationError: Nobody can be asked, or the reason is empty.
        UnknownThread: There is no one such thread or message.
    """
    if not request.reason.strip():
        raise ConfigurationError("--reason is empty: say why, without naming what is erased")
    if not request.confirmed and not sys.stdin.isatty():
        raise ConfigurationError("erasing cannot be undone and there is no terminal to ask: pass --yes if that is meant")
    with if_interrupted("nothing was erased"):
        target, scope = asyncio.run(_look_up(database, request))
        if not request.confirmed and not _is_confirmed(scope, "the thread" if request.message is None else "the message"):
            stderr().print("nothing was erased")
            return DECLINED
    with if_interrupted("either all of it was erased or nothing: the same command again says which, and erases what is left"):
        done = asyncio.run(_erase(database, target, request))
    for sentence in done.remains:
        stderr().print(f"it remains: {sentence}", soft_wrap=True)
    if as_json:
        print_json(_as_json(done))
    elif done.already:
        stdout().print(f"it was erased already, {when(done.erasure.erased_at)} UTC: {done.erasure.reason}", soft_wrap=True)
    else:
        stdout().print(f"erased {_in_words(done.scope)}", soft_wrap=True)
    return REMAINS if done.remains else ERASED


def _is_confirmed(scope: ErasureScope, what: str) -> bool:
    """Whether somebody at the terminal wants this. Nothing is open meanwhile: the answer may take its time."""
    for line in _announced(scope, what):
        stderr().print(line, soft_wrap=True)
    print("Erase it for ever? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


async def _look_up(database: str, request: ErasureRequest) -> tuple[UUID, ErasureScope]:
    async with existing(database) as storage:
        found = await find_version(storage, request.thread)
        target = found.lineage_id if request.message is None else await _message(storage, found, request.message)
        return target, await storage.erasure_scope(target, shared=request.shared)


async def _erase(database: str, target: UUID, request: ErasureRequest) -> Erased:
    async with existing(database) as storage:
        with working("erasing"):
            return await storage.erase(target, reason=request.reason, author=request.author, shared=request.shared)


async def _message(storage: EntityStorage, thread: VersionInfo, text: str) -> UUID:
    """The lineage of the message that `text` names, of which this thread holds or held a version."""
    digits = text.replace("-", "").lower()
    found: set[UUID] = set()
    for version in reversed(await storage.lineage(thread.lineage_id)):
        held = await storage.get_cold_snapshot(ChatThread, version.ecs_id)
        found = {message.lineage_id for message in held.history if _is_called(message, digits)}
        if found:
            break
    if len(found) != 1 or len(digits) < SHORTEST:
        hint = f"see `minference threads show {short_id(thread.lineage_id)}`"
        raise UnknownThread(text, f"{len(found) or 'none'} of the thread's messages are called so; {hint}")
    return found.pop()


def _is_called(message: ChatMessage, digits: str) -> bool:
    return any(each.hex.startswith(digits) or each.hex.endswith(digits) for each in (message.ecs_id, message.lineage_id))


def _announced(scope: ErasureScope, what: str) -> Iterator[str]:
    yield f"this takes the content out of {what} {short_id(scope.lineage_id)}: {_in_words(scope)}"
    if scope.affected:
        yield f"it is held by {_ids(scope.affected)}, which will show it as erased"
    if scope.kept:
        yield f"{len(scope.kept)} objects below it stay, since others hold them as well"


def _in_words(scope: ErasureScope) -> str:
    counts = [f"{kind} {each.lineages} ({counted(each.versions, 'version')})" for kind, each in scope.kinds.items()]
    return ", ".join(counts) or "nothing: it is erased already"


def _ids(lineages: tuple[UUID, ...]) -> str:
    return ", ".join(map(short_id, lineages[:5])) + (f" and {len(lineages) - 5} more" if len(lineages) > 5 else "")


def _as_json(done: Erased) -> dict[str, Any]:
    erasure, scope = done.erasure, done.scope
    return {
        "lineage": str(erasure.lineage_id),
        "erased_at": erasure.erased_at.isoformat(),
        "reason": erasure.reason,
        "author": erasure.author,
        "already": done.already,
        "kinds": {kind: {"objects": each.lineages, "versions": each.versions} for kind, each in scope.kinds.items()},
        "affected": [str(each) for each in scope.affected],
        "kept": [str(each) for each in scope.kept],
        "remains": list(done.remains),
    }
