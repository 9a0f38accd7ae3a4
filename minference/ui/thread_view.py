"""One version of a thread as a page shows it: a stretch of its messages, and what that version changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from minference.cli.show import loaded_messages
from minference.ecs.diff import CollectionChanged, EntityDiff, TextChanged
from minference.ecs.diff_values import Segment
from minference.storage.base import EntityStorage
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.statistics import OutputLine, outputs_of
from minference.threads.thread import ChatThread
from minference.ui.changes import in_words
from minference.ui.sides import clipped
from minference.ui.window import Window, window_of

LONGEST = 12_000
"""Characters of a message that a thread's page shows; the rest is on the message's own page."""

Mark = Literal["new", "edited", "moved"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One message on the page."""

    index: int
    message: ChatMessage
    mark: Mark | None = None
    """What the version did to it."""
    edit: tuple[Segment, ...] = ()
    """How its text changed, in pieces."""
    outputs: tuple[OutputLine, ...] = ()
    """The replies that it was made from."""

    @property
    def text(self) -> str:
        """What is shown of its text."""
        return self.message.content[:LONGEST]

    @property
    def rest(self) -> int:
        """Characters that are not."""
        return max(0, len(self.message.content) - LONGEST)


@dataclass(frozen=True, slots=True)
class ThreadView:
    """What a page shows of one version."""

    thread: ChatThread
    messages: list[Shown]
    window: Window
    changes: str
    """What the version changed, in words."""
    touched: tuple[int, ...] = ()
    """Indexes of all messages that the version added, edited or moved."""


async def look(storage: EntityStorage, version: UUID, wanted: str | None) -> ThreadView:
    """Look at one version, whose messages are shown from the index `wanted` on, or at their end.

    Raises:
        VersionNotFound: It is not stored here.
        WrongEntityType: It is no thread.
    """
    [bare] = await storage.peek(ChatThread, [version], history=slice(0), tools=slice(0))
    window = window_of(len(bare.history), wanted)
    [thread] = await storage.peek(ChatThread, [version], history=slice(window.start, window.stop))
    [diff] = await storage.changes([version])
    marks, edits = _marks(diff)
    messages = loaded_messages(thread)
    replies = [each.lineage_id for each in messages.values() if each.role is MessageRole.assistant]
    outputs = await outputs_of(storage, replies)
    shown = [
        Shown(index, message, marks.get(index), edits.get(index, ()), tuple(outputs.get(message.lineage_id, ())))
        for index, message in messages.items()
    ]
    created = f"created with {window.length:,} message{'' if window.length == 1 else 's'}" if window.length else "created"
    told = in_words(diff) if diff is not None else created
    return ThreadView(thread, shown, window, told, tuple(sorted(marks)))


def _marks(diff: EntityDiff | None) -> tuple[dict[int, Mark], dict[int, tuple[Segment, ...]]]:
    """By index in the new version, what became of messages, and how texts changed."""
    changed = diff.fields.get("history") if diff is not None else None
    if not isinstance(changed, CollectionChanged):
        return {}, {}
    marks: dict[int, Mark] = {}
    edits: dict[int, tuple[Segment, ...]] = {}
    for moved in changed.moved:
        marks[int(moved.new_place)] = "moved"
    for added in changed.added:
        marks[int(added.place)] = "new"
    for member in changed.changed:
        marks[int(member.place)] = "edited"
        text = member.diff.fields.get("content")
        if isinstance(text, TextChanged):
            edits[int(member.place)] = clipped(text.segments)
    return marks, edits
