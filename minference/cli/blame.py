"""`minference threads blame`: who wrote each message, and which commit added it."""

from __future__ import annotations

import asyncio
from typing import Any

from rich.text import Text

from minference.cli.database import existing
from minference.cli.find import find_version
from minference.cli.output import one_line, page, print_json, stderr, when
from minference.cli.show import who
from minference.cli.tables import table
from minference.cli.threads import SHOWN, Part
from minference.cli.working import working
from minference.ecs.lineage import Blame, CommitInfo, short_id
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread


def blame_thread(database: str, thread: str, part: Part, as_json: bool) -> None:
    """Print who is responsible for each message of a version."""
    asyncio.run(_blame(database, thread, part.window(default=None if as_json else SHOWN), as_json))


async def _blame(database: str, text: str, window: slice, as_json: bool) -> None:
    async with existing(database) as storage:
        with working("looking through the versions"):
            version = await find_version(storage, text)
            lines = await storage.blame(version.ecs_id, window=window)
            [thread] = await storage.peek(ChatThread, [version.ecs_id], history=window, tools=slice(0))
    places = range(len(thread.history))[window]
    entries = [(place, line, thread.history[place]) for place, line in zip(places, lines, strict=True)]
    if as_json:
        print_json([_as_json(*entry) for entry in entries])
        return
    page(table(["#", "message", "written by", "written (UTC)", "added by", "added (UTC)", "text"], [_row(*entry) for entry in entries]))
    if more := len(thread.history) - len(entries):
        stderr().print(f"and {more:,} more messages (--first N, --last N, --all)")


def _row(place: int, line: Blame, message: ChatMessage) -> list[str | Text]:
    written, added = line.written, line.added
    told = (one_line(added.author or "", 24), when(added.created_at)) if added != written else ("", "")
    begin = [str(place), short_id(message.ecs_id), one_line(written.author or "", 24), when(written.created_at)]
    return [*begin, *told, one_line(who(message), 80)]


def _as_json(place: int, line: Blame, message: ChatMessage) -> dict[str, Any]:
    return {
        "index": place,
        "message": str(message.lineage_id),
        "version": str(message.ecs_id),
        "role": message.role.value,
        "written": _commit_json(line.written),
        "added": _commit_json(line.added),
    }


def _commit_json(commit: CommitInfo) -> dict[str, Any]:
    return {"commit": commit.id, "at": commit.created_at.isoformat(), "author": commit.author, "note": commit.note}
