"""What every storage promises about looking without loading: what is newest, what is called so, a part of something long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar
from uuid import UUID

from minference.ecs.diff import EntityDiff
from minference.ecs.entity import Entity
from minference.ecs.lineage import VersionInfo

E = TypeVar("E", bound=Entity)


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest version of a lineage."""

    version: VersionInfo
    versions: int
    """How many versions the lineage has."""


@dataclass(frozen=True, slots=True)
class Called:
    """What some digits of an id name."""

    lineages: tuple[VersionInfo, ...]
    """The newest version of each lineage whose id begins or ends so, newest first."""
    versions: tuple[VersionInfo, ...]
    """Each version whose own id does, newest first."""


class Glances(Protocol):
    """A part of `EntityStorage`. What these cost does not depend on how much the versions hold."""

    async def count(self, cls: type[Entity]) -> int:
        """How many lineages of this class or a subclass there are."""
        ...

    async def newest(self, cls: type[Entity], limit: int) -> list[Newest]:
        """The lineages of this class or a subclass that were saved last: what `list_by_type` begins with."""
        ...

    async def find_by(self, cls: type[Entity], /, **values: object) -> list[VersionInfo]:
        """Lineages of this class or a subclass whose newest version holds these plain values: that version, newest first.

        `await storage.find_by(ChatThread, name="sky")`. A value counts as equal if it would be stored equally. The database
        looks for it where the field has a column; otherwise the newest version of each lineage is looked at.

        Raises:
            NoPlainField: The class has no such field, or one that holds entities.
            UnfitValue: The field never holds such a value.
        """
        ...

    async def called(self, cls: type[Entity], digits: str) -> Called:
        """What of this class or a subclass has an id that begins or ends with these hexadecimal digits (dashes allowed): a few."""
        ...

    async def length(self, lineage_id: UUID) -> int:
        """How many versions a lineage has."""
        ...

    async def recent(self, lineage_id: UUID, limit: int, *, skip: int = 0) -> list[VersionInfo]:
        """The newest versions of a lineage, the newest first, without the first `skip` of them."""
        ...

    async def peek(self, cls: type[E], versions: Sequence[UUID], /, **windows: slice) -> list[E]:
        """Cold snapshots of these versions, in order, that hold of some collections only a part.

        `[thread] = await storage.peek(ChatThread, [version], history=slice(-10, None))`: `thread.history` has its length and
        the last ten messages, and raises `NotLoaded` for the others. Everything else is there as in any snapshot.

        Args:
            windows: For a collection of the class, which members to load.

        Raises:
            VersionNotFound: One of them is not stored here.
            WrongEntityType: One of them is of another class.
            NoSuchCollection: The class has no collection of that name.
        """
        ...

    async def changes(self, versions: Sequence[UUID]) -> list[EntityDiff | None]:
        """What each of these versions changed in the one that it was made from; `None` for first versions.

        The same as `diff` of each pair, all read together.

        Raises:
            VersionNotFound: One of them is not stored here.
        """
        ...
