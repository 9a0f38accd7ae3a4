"""Recordings: entities gathered while a block or a traced call runs, to become one commit at its end.

What is open in a context is held in a context variable, so that tasks started inside belong to it and others do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from minference.ecs.entity import Entity

OnConflict = Literal["branch", "raise"]
"""What to do when another writer has already made a version from the same one."""


class Recording:
    """What one commit will hold, and who made it. Made inside another one of the same storage, it becomes a part of that."""

    def __init__(self, storage: object, author: str | None, note: str | None, on_conflict: OnConflict = "branch") -> None:
        self.storage, self.author, self.note, self.on_conflict = storage, author, note, on_conflict
        self.parent: Recording | None = _innermost(storage)
        """The recording that it was made in."""
        self.collects: bool = self.parent is not None and self.parent.collects
        """Whether what is registered and constructed inside belongs to it: true of blocks, not of traced calls alone."""
        self.closed = False
        """Whether it has ended: a task that lives on saves for itself."""
        self._entities: dict[int, Entity] = {}

    @property
    def entities(self) -> list[Entity]:
        """What was added, each once, in that order."""
        return list(self._entities.values())

    def add(self, *entities: Entity) -> None:
        """Save these too, with everything below them."""
        for entity in entities:
            self._entities.setdefault(id(entity), entity)

    def adopt(self, author: str | None, note: str | None, on_conflict: OnConflict) -> None:
        """Take over what a save inside says, where the recording itself says nothing; the stricter wish in a conflict wins."""
        self.author = self.author if self.author is not None else author
        self.note = self.note if self.note is not None else note
        self.on_conflict = "raise" if on_conflict == "raise" else self.on_conflict

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make it the one that saves and calls inside belong to; it is closed after that."""
        before = _open.get()
        _open.set((*before, self))
        try:
            yield
        finally:
            _open.set(before)
            self.closed = True

    def is_part(self) -> bool:
        """Whether the recording around it is still open, so that this one is not saved by itself."""
        return self.parent is not None and not self.parent.closed

    def hand_over(self) -> bool:
        """Give everything to the recording around it, if that is still open; whether it was."""
        if self.parent is None or self.parent.closed:
            return False
        self.parent.add(*self.entities)
        self.parent.adopt(self.author, self.note, self.on_conflict)
        return True


_open: ContextVar[tuple[Recording, ...]] = ContextVar("minference_recordings", default=())


def _innermost(storage: object) -> Recording | None:
    return next((each for each in reversed(_open.get()) if each.storage is storage and not each.closed), None)


def collecting_recording(storage: object) -> Recording | None:
    """The recording that holds back what is registered here until its end."""
    recording = _innermost(storage)
    return recording if recording is not None and recording.collects else None


def running_author(storage: object) -> str | None:
    """Who a save that is made here says it was, if nobody is named: as the commit of the outermost call or block around it that knows."""
    recording, author = _innermost(storage), None
    while recording is not None and not recording.closed:
        author = recording.author if recording.author is not None else author
        recording = recording.parent
    return author


class NothingRecorded:
    """What is constructed inside belongs to no recording: it is made to be looked at, and thrown away."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _open.get()
        _open.set(())

    def __exit__(self, *raised: object) -> None:
        _open.set(self._before)


def note_constructed(entity: Entity) -> None:
    """Add a new entity to the block that it is constructed in, if there is one."""
    if recordings := _open.get():
        for recording in reversed(recordings):
            if recording.collects and not recording.closed:
                recording.add(entity)
                return
