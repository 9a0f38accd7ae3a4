"""What is to be written together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from minference.ecs.drafts import Draft
from minference.ecs.entity import Entity
from minference.ecs.recording import OnConflict
from minference.storage.commits import Commit


@dataclass(slots=True, eq=False)
class Unit:
    """What is written together or not at all."""

    drafts: list[Draft]
    author: str | None
    note: str | None
    created_at: datetime
    on_conflict: OnConflict
    done: asyncio.Future[Commit]
    roots: tuple[Entity, ...] = ()
    """The objects whose save it is; none if it is imported."""
    listeners: int = 0
    """How many wait for the outcome, and so will learn of a failure."""
    heard: bool = False
    """Whether anybody has waited to the end."""
    after: tuple[Unit, ...] = field(default=())
    """Pending units that this one waits for without writing anything itself."""
    imported: bool = False
    """Whether it was saved elsewhere before, so that branches are nothing new."""
    joins: int | None = None
    """The stored commit that it belongs to, if there is one."""

    @property
    def bulk(self) -> int:
        """Bytes of the blobs that it holds."""
        return sum(blob.size for draft in self.drafts for blob in draft.blobs)
