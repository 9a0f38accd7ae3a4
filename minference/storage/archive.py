"""What a backend offers to export, import and checks: versions without what hangs on them, and how they hang together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from minference.ecs.entity import Entity
from minference.ecs.lineage import CommitInfo
from minference.ecs.state import Version
from minference.storage.base import Record


@dataclass(frozen=True, slots=True)
class Outlined:
    """One version by keys."""

    key: int
    parent: int | None
    fork_no: int
    """How many versions were made from its parent before it."""
    commit: int


@dataclass(frozen=True, slots=True)
class Outline:
    """How versions hang together, without their content."""

    versions: dict[int, Outlined]
    edges: list[tuple[int, int]]
    """Who holds whom, by key. Of ordered fields only members that a version added: the others are its parent's."""
    commits: dict[int, CommitInfo]
    lineages: set[UUID]


@dataclass(frozen=True, slots=True)
class Known:
    """A stored version that others can refer to."""

    version: Version
    cls: type[Entity]


class Archive(Protocol):
    """A part of a backend."""

    async def outline(self, lineages: Sequence[UUID] | None) -> Outline:
        """Whole lineages: these and all that any of their versions reaches; every one with `None`."""
        ...

    async def records(self, keys: Sequence[int]) -> dict[int, Record]:
        """These versions alone, with the places of their ordered fields."""
        ...

    async def known(self, *, ids: Sequence[UUID] = (), keys: Sequence[int] = ()) -> list[Known]:
        """Those of these versions that are stored, in any order."""
        ...

    async def commit(self, created_at: datetime, author: str | None, note: str | None) -> int | None:
        """The id of a commit of this moment, author and note."""
        ...
