"""What every storage promises about versions in shapes that their classes no longer have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from pydantic import JsonValue

from minference.ecs.entity import Entity
from minference.ecs.lineage import VersionInfo


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version as it is stored, under the names that its fields had when it was written."""

    info: VersionInfo
    schema_version: int
    """The `version` that its class declared then."""
    values: dict[str, JsonValue]
    """The plain values, as JSON data."""
    references: dict[str, UUID]
    """The versions that it refers to, by field; references to nothing left out."""
    members: dict[str, tuple[UUID, ...]]
    """The versions in each collection, in order; collections that were never anything but empty may be left out."""
    keys: Mapping[str, tuple[str, ...]]
    """The keys of each keyed collection."""


class Stored(Protocol):
    """A part of `EntityStorage`."""

    async def get_stored(self, ecs_id: UUID) -> StoredVersion:
        """One version without its class: for versions that `get` refuses, so that nothing stored is ever out of reach.

        Raises:
            VersionNotFound: No version has this id.
            UnknownKind: It is in a table that this program does not declare, and where was not noted.
        """
        ...

    async def move_rows(self, cls: type[Entity], *more: type[Entity]) -> int:
        """Move what was written before classes had tables into those tables, and return how many versions that were.

        What the versions say stays the same; those in another shape than the present stay where they are, and are read from
        there. Subclasses that are stored in the tables are included. Tables that refer to each other by their keys need to be
        moved together. Others may use the database meanwhile. In memory there are no tables, and nothing to move.

        Raises:
            ConfigurationError: A class has no table.
            WriteFailed: The database refused; what was moved before stays moved.
        """
        ...
