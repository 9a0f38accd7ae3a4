"""What a backend offers for looking without loading: the primitives of `Glances` and of differences between stored versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from minference.ecs.entity import Entity, kind_to_class
from minference.ecs.lineage import Blame, VersionInfo
from minference.ecs.opaque import OpaqueEntity
from minference.ecs.state import Version
from minference.storage.base import Record
from minference.storage.glances import Called, Newest
from minference.storage.sequences import Span


@dataclass(frozen=True, slots=True)
class Known:
    """A stored version, and of what."""

    version: Version
    kind: str
    """The name under which its class is stored."""

    @property
    def key(self) -> int:
        """That of the version."""
        assert self.version.id is not None, "what is stored has a key"
        return self.version.id

    @property
    def cls(self) -> type[Entity]:
        """The class that objects of it have: `OpaqueEntity` if the program does not define its kind."""
        return kind_to_class(self.kind) or OpaqueEntity

    @property
    def cls_name(self) -> str:
        """What to call its class: the kind, if the program does not define it."""
        return self.kind if self.cls is OpaqueEntity else self.cls.__name__


class Shallow(Protocol):
    """A part of a backend. Each call is one consistent view; versions never change, so several fit together."""

    async def count(self, kinds: Sequence[str]) -> int:
        """How many lineages of these kinds there are."""
        ...

    async def newest(self, kinds: Sequence[str], limit: int) -> list[Newest]:
        """The lineages of these kinds that were saved last."""
        ...

    async def length(self, lineage_id: UUID) -> int:
        """See `Glances.length`."""
        ...

    async def recent(self, lineage_id: UUID, limit: int, skip: int) -> list[VersionInfo]:
        """See `Glances.recent`."""
        ...

    async def heads(self, lineage_id: UUID) -> list[VersionInfo]:
        """The versions of a lineage that no other was made from, oldest first."""
        ...

    async def merges(self, lineage_id: UUID) -> dict[UUID, tuple[UUID, ...]]:
        """See `Lineages.merges`."""
        ...

    async def called(self, kinds: Sequence[str], digits: str) -> Called:
        """See `Glances.called`; a few of each, enough to see whether they are unique."""
        ...

    async def candidates(self, classes: Sequence[type[Entity]], field: str, value: object) -> list[VersionInfo]:
        """The newest version of each lineage of these classes that may hold the value now, and of some that do not; newest first."""
        ...

    async def records(self, keys: Sequence[int]) -> dict[int, Record]:
        """These versions without the members of their ordered fields, whose places they have.

        Those of kinds that the program does not define have their members: their fields are known by what is there.
        """
        ...

    async def known(self, *, ids: Sequence[UUID] = (), keys: Sequence[int] = ()) -> list[Known]:
        """Those of these versions that are stored, in any order."""
        ...

    async def cells(self, spans: Sequence[Span]) -> list[list[int]]:
        """The keys of the members in each of these spans, in order."""
        ...

    async def origins(self, ecs_id: UUID, keys: Sequence[int]) -> list[Blame]:
        """For each of these members of a version, in order: itself, and the commit that first put it there.

        That is the commit of the oldest among the version and its ancestors that put a version of the member's lineage
        into an ordered field.
        """
        ...

    async def trees(self, keys: Sequence[int]) -> dict[int, Record]:
        """These versions and everything that they reach."""
        ...
