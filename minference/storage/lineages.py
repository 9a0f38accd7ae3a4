"""What every storage promises about lineages: time travel, going back, rebasing, merging, and names for versions."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from minference.ecs.entity import Entity
from minference.ecs.lineage import VersionInfo
from minference.ecs.merge import MergeResult
from minference.ecs.merge_lists import Strategy

E = TypeVar("E", bound=Entity)

LONGEST_TAG = 200
"""Characters in the name of a version."""


def is_tag_name(name: str) -> bool:
    """Whether a version can be called so."""
    return 0 < len(name) <= LONGEST_TAG and name.isprintable() and name == name.strip()


class Lineages(Protocol):
    """A part of `EntityStorage`. Where a version is asked for, an object stands for the version that it is on."""

    async def at(self, cls: type[E], lineage_id: UUID, when: datetime) -> E:
        """A warm copy of what the lineage was at a time: the newest version of its main line among those created by then.

        What is created later never changes the answer.

        Raises:
            TimeWithoutZone: `when` is naive.
            WrongArgument: It is no time.
            NothingYet: The first version was created after `when`.
            VersionNotFound: There is no such lineage.
            WrongEntityType: It is of another class.
        """
        ...

    async def revert(self, entity: E, to: UUID, *, author: str | None = None, note: str | None = None) -> E:
        """Make the object as one of its versions was, and save that as the next version of the one that it stands on.

        Its unsaved changes are given up. Whatever on it is as it was then stays the same object; the rest are new copies of
        the old versions, so that no version of them is made. If it cannot be written, the object is reverted and unsaved.

        Raises:
            VersionNotFound: No version is called `to`.
            UnrelatedVersions: It is a version of something else.
            FrozenSnapshot: The object is a cold snapshot.
            WriteFailed: The database refused.
        """
        ...

    async def rebase(self, entity: E, onto: Entity | UUID | None = None, *, strategy: Strategy | None = None) -> MergeResult[E]:
        """Let the object stand on another version, with its own changes replayed there; saves nothing.

        Its changes are what is unsaved and, on a branch, what was saved since that began. By default it goes to the end of
        the main line that continues its version; if none does, to that of the lineage; and what it holds and was changed goes
        to the end of its own, as a message that moved on with another thread. So after `StaleVersion`:
        `await storage.rebase(thread)`, look at the conflicts, and register again. At a conflict the object stays as it was. If the
        database fails in the middle, what was done stands, nothing is lost, and the same call does the rest.

        Args:
            strategy: As in `merge`; `append` puts one's own additions after those that are there.

        Raises:
            VersionNotFound: The object or `onto` is not stored here.
            UnrelatedVersions: `onto` is a version of something else.
            FrozenSnapshot: The object is a cold snapshot.
            UnknownChoice: There is no such strategy.
        """
        ...

    async def merges(self, lineage_id: UUID) -> dict[UUID, tuple[UUID, ...]]:
        """For each version of a lineage that came of merges: the versions of other branches that were merged into it."""
        ...

    async def merge(
        self, ours: E, theirs: E | UUID, strategy: Strategy | None = None, *, author: str | None = None, note: str | None = None
    ) -> MergeResult[E]:
        """Bring what the branch `theirs` changed since it parted from `ours` into `ours`, and save it as its next version.

        The note of the commit names both versions, and `merges` keeps them: merging the branch again brings in what it changed
        since, and nothing that was settled. If theirs continues the version that ours stands on, or merged it, ours moves on to
        it and there is nothing to save but its own changes. With conflicts nothing is saved: `ours` holds everything else of
        both, and its own side at each conflict. Edit it and register it, which settles them, or give it up with `revert` to the
        version that it stood on before.

        Args:
            strategy: `ours` or `theirs` settles each conflict by that side. `append` keeps both sides' additions to ordered
                collections where they meet, theirs after ours: two continuations of one thread.

        Raises:
            VersionNotFound: One of them is not stored here.
            UnrelatedVersions: They are not of one lineage.
            UnsavedChanges: `theirs` is an object that holds unsaved changes.
            FrozenSnapshot: `ours` is a cold snapshot.
            UnknownChoice: There is no such strategy.
            WriteFailed: The database refused; `ours` is merged and unsaved.
        """
        ...

    async def common_ancestor(self, one: Entity | UUID, other: Entity | UUID) -> VersionInfo | None:
        """The newest version that both came from, themselves included; `None` if they are not of one lineage.

        Raises:
            VersionNotFound: One of them is not stored here.
        """
        ...

    async def tag(self, name: str, version: Entity | UUID, *, move: bool = False) -> VersionInfo:
        """Give a version a name, which no other version of its lineage has then. Unsaved changes are not part of it.

        Raises:
            TagTaken: Another version has the name, and `move` is false.
            VersionNotFound: The version is not stored here.
            InvalidTagName: The name is empty, too long or not printable.
        """
        ...

    async def untag(self, name: str, lineage_id: UUID) -> None:
        """Take a name away.

        Raises:
            TagNotFound: No version of the lineage has it.
        """
        ...

    async def tags(self, lineage_id: UUID) -> dict[str, VersionInfo]:
        """The named versions of a lineage, by name in alphabetical order; empty if there are none."""
        ...

    async def tagged(self, cls: type[E], lineage_id: UUID, name: str) -> E:
        """A warm copy of the version that has this name.

        Raises:
            TagNotFound: No version of the lineage has it.
            WrongEntityType: The version is of another class.
        """
        ...
