"""What every storage promises about erasing content, and what a backend offers for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from minference.ecs.entity import Entity
from minference.ecs.lineage import KindCount

Shared = Literal["erase", "keep"]
"""What to do with what belongs to an erased lineage and is held by others as well, e.g. messages of two threads."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """The tombstone of one lineage: its content was erased, and nobody can bring it back."""

    lineage_id: UUID
    erased_at: datetime
    reason: str
    author: str | None
    because_of: UUID
    """The lineage that was to be erased: this one, or what this one belonged to."""


@dataclass(frozen=True, slots=True)
class ErasureScope:
    """What an erasure reaches."""

    lineage_id: UUID
    """The lineage that is to be erased."""
    lineages: tuple[UUID, ...]
    """Lineages that are erased, itself first; without those that were erased before."""
    kinds: Mapping[str, KindCount]
    """How much of each kind that is, by the stored name of the class, in alphabetical order."""
    affected: tuple[UUID, ...] = ()
    """Other lineages that hold some of it. They stay and can go on; what they hold of it is empty."""
    kept: tuple[UUID, ...] = ()
    """What the erased ones hold and others as well, so that it stays."""

    @property
    def versions(self) -> int:
        """How many versions lose their content."""
        return sum(each.versions for each in self.kinds.values())


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did."""

    erasure: Erasure
    """The tombstone of the lineage that was to be erased; an earlier one, if it had been erased already."""
    scope: ErasureScope
    remains: tuple[str, ...] = ()
    """Where the database may still hold copies of the content, and what to do about that: a sentence for each. Empty: nowhere."""

    @property
    def already(self) -> bool:
        """Whether everything had been erased before, so that nothing was left to do."""
        return not self.scope.lineages


def version_hint(lineage_id: UUID) -> str:
    """What to do with the id of a version where that of a lineage is wanted."""
    return f"it is the id of a version of lineage {lineage_id}: pass that, or the object"


class Erasing(Protocol):
    """A part of `EntityStorage`."""

    async def erase(
        self, what: Entity | UUID, *, reason: str, author: str | None = None, shared: Shared = "erase", scrub: bool = True
    ) -> Erased:
        """Take the content out of every version of a lineage and of what belongs to it, in one transaction, for ever.

        Version rows stay with ids, lineage, order, authors and times; each class says what is left of its values
        (`Entity.erased_values`). To a lineage belong entities that only it holds, those in fields marked `OnErase.too`, and
        those that name it in a field marked `OnErase.follows`: to a message its raw and processed outputs, to a thread also
        every message that any of its versions held. A tombstone says when, why and by whom. New versions of what is
        erased are refused. Objects in memory stay as they are. What is erased already is left alone.

        Args:
            what: An entity, or the id of its lineage.
            shared: What others hold as well in a field marked `OnErase.too`, as two threads may hold one message, loses its
                content for them too; `keep` spares it.
            scrub: Whether to call `scrub` afterwards. Who erases much in a row does that once, at the end.

        Raises:
            LineageNotFound: Nothing that is stored has this lineage id.
            ConfigurationError: The reason is empty.
            UnknownChoice: `shared` is none of its values.
            NoEmptyValue: A class does not say what is left of a field.
            UnknownKind: The program has not defined the class of what is to be erased.
            WriteFailed: The database refused; nothing was erased.
        """
        ...

    async def erasure_scope(self, what: Entity | UUID, *, shared: Shared = "erase") -> ErasureScope:
        """What `erase` would erase now; changes nothing.

        Raises:
            LineageNotFound: Nothing that is stored has this lineage id.
            UnknownChoice: `shared` is none of its values.
        """
        ...

    async def erasures(self, lineage_id: UUID | None = None) -> list[Erasure]:
        """The tombstone of a lineage, or all there are, the oldest first; empty if it was not erased."""
        ...

    async def scrub(self) -> tuple[str, ...]:
        """Remove what the database keeps of erased content outside of its tables; says where something may remain, and why.

        On SQLite the file is rebuilt (`VACUUM`), which takes as much room and time as copying it while others wait to write,
        and the write-ahead log is emptied. On PostgreSQL the tables are vacuumed.
        """
        ...


class Eraser(Protocol):
    """A part of a backend. Each call that writes is one transaction."""

    async def scope(self, lineage_id: UUID, shared: Shared) -> ErasureScope:
        """See `Erasing.erasure_scope`.

        Raises:
            LineageNotFound: As there.
        """
        ...

    async def erase(self, erasure: Erasure, shared: Shared) -> ErasureScope:
        """Erase the lineage of the tombstone and what belongs to it, and put up tombstones like this one.

        Raises:
            LineageNotFound: There is no such lineage; like all others, see `Erasing.erase`.
        """
        ...

    async def bury(self, erasures: Sequence[Erasure], *, spare: bool = False) -> list[UUID]:
        """Put up these very tombstones, where there are none, and erase their lineages and nothing else; those that had versions.

        `spare` passes over lineages that have versions.
        """
        ...

    async def erasures(self, lineages: Sequence[UUID] | None) -> list[Erasure]:
        """The tombstones of these lineages, all with `None`; by time, then by lineage."""
        ...

    async def scrub(self) -> tuple[str, ...]:
        """See `Erasing.scrub`. Never raises."""
        ...
