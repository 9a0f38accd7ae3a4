"""What a backend offers to export, import and checks: versions without what hangs on them, how they hang together, and bytes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from minference.ecs.lineage import CommitInfo
from minference.ecs.state import Version
from minference.storage.base import Record


@dataclass(frozen=True, slots=True)
class Outlined:
    """One version by keys, with its name, which is the same everywhere."""

    key: int
    parent: int | None
    fork_no: int
    """How many versions were made from its parent before it."""
    commit: int
    ecs_id: UUID


@dataclass(frozen=True, slots=True)
class Tagged:
    """A version that has a name."""

    name: str
    key: int
    lineage_id: UUID
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Outline:
    """How versions hang together, without their content."""

    versions: dict[int, Outlined]
    edges: list[tuple[int, int]]
    """Who holds whom, by key. Of ordered fields only members that a version added: the others are its parent's."""
    commits: dict[int, CommitInfo]
    tags: list[Tagged]
    """In any order."""
    lineages: set[UUID]
    """Those of the versions, and those that were asked for."""
    merges: list[tuple[int, int]]
    """Versions, each with one that was merged into it."""


Said = tuple[datetime, str | None, str | None]
"""What a commit says of itself: when, by whom and why."""


class Archive(Protocol):
    """A part of a backend."""

    async def outline(self, lineages: Sequence[UUID] | None) -> Outline:
        """Whole lineages: these and all that any of their versions reaches; every one with `None`."""
        ...

    async def records(self, keys: Sequence[int]) -> dict[int, Record]:
        """These versions alone, with the places of their ordered fields."""
        ...

    async def known(self, *, ids: Sequence[UUID] = (), keys: Sequence[int] = ()) -> list[Version]:
        """Those of these versions that are stored, in any order."""
        ...

    async def commits(self, said: Collection[Said]) -> dict[Said, int]:
        """The id of a commit of each moment, author and note for which there is one."""
        ...

    async def stored_blobs(self, hashes: Sequence[str]) -> set[str]:
        """Those of these hashes whose bytes are stored."""
        ...

    async def read_blobs(self, hashes: Sequence[str]) -> dict[str, bytes]:
        """The bytes of each of these hashes.

        Raises:
            BlobNotFound: One is not stored.
        """
        ...
