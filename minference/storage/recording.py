"""`storage.recording()`: a block of code that becomes one commit."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Self

from minference.ecs.entity import Entity
from minference.ecs.graph import top_most
from minference.ecs.recording import OnConflict, Recording
from minference.storage.arguments import check_entities

if TYPE_CHECKING:
    from minference.storage.base import Commit, EntityStorage


class RecordingBlock:
    """See `EntityStorage.recording`. To be entered once."""

    def __init__(self, storage: EntityStorage, author: str | None, note: str | None, on_conflict: OnConflict) -> None:
        self._storage = storage
        self._wishes = (author, note, on_conflict)
        self._recording: Recording | None = None
        self._running: AbstractContextManager[None] | None = None
        self.commit: Commit | None = None
        """What the end of the block made durable. `None` inside, after a failure, and if an outer block or call saves it."""

    def add(self, *entities: Entity) -> None:
        """Save these too at the end of the block, with everything below them.

        Raises:
            RuntimeError: The block is not running.
            WrongArgument: Something is no entity.
        """
        if self._recording is None or self._recording.closed:
            raise RuntimeError("this recording is not running: call add() inside `async with storage.recording() as s:`")
        check_entities(entities)
        self._recording.add(*entities)

    async def __aenter__(self) -> Self:
        if self._recording is not None:
            raise RuntimeError("a recording is entered once: call storage.recording() again")
        self._recording = Recording(self._storage, *self._wishes)
        self._recording.collects = True
        self._running = self._recording.running()
        self._running.__enter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        recording, running = self._recording, self._running
        assert recording is not None, "it was entered"
        assert running is not None, "it was entered"
        running.__exit__(None, None, None)
        if kind is None and not recording.hand_over():
            roots = top_most(recording.entities)
            self.commit = await self._storage.submit(
                *roots, author=recording.author, note=recording.note, on_conflict=recording.on_conflict
            )
