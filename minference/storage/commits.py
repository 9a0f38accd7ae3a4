"""What a save has made."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from minference.ecs.lineage import CommitInfo


@dataclass(frozen=True, slots=True)
class Branch:
    """One new version that became a sibling of an older one."""

    lineage_id: UUID
    parent: UUID
    """The version that both were made from."""
    sibling: UUID | None
    """A version that was made from it before."""
    version: UUID
    """The new version."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One atomic save: who, when, why, and which versions it made."""

    info: CommitInfo | None
    """`None` if nothing had changed, so that nothing was written."""
    versions: tuple[UUID, ...]
    branches: tuple[Branch, ...] = ()

    @property
    def branched(self) -> bool:
        """Whether any of the versions became a second child of its parent."""
        return bool(self.branches)
