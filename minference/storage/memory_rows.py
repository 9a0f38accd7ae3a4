"""Versions as they lie in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from minference.ecs.entity import Entity
from minference.ecs.lineage import VersionInfo
from minference.storage.erasing import Erasure
from minference.storage.sequences import Place, Run


@dataclass(frozen=True, slots=True)
class Row:
    """One stored version."""

    info: VersionInfo
    cls: type[Entity]
    values: dict[str, Any]
    json: dict[str, bytes]
    references: dict[str, UUID | None]
    places: dict[str, Place]
    keys: dict[str, tuple[str, ...]]


@dataclass(slots=True)
class Rows:
    """What there is, under every name that it is looked up by."""

    by_id: dict[UUID, Row]
    keys: dict[UUID, int]
    by_key: dict[int, Row]
    lineages: dict[UUID, list[UUID]]
    cells: dict[Run, list[UUID]]
    erasures: dict[UUID, Erasure]

    def replace(self, row: Row) -> None:
        """Keep this of a stored version instead of what there is."""
        self.by_id[row.info.ecs_id] = self.by_key[self.keys[row.info.ecs_id]] = row

    def of(self, lineage_id: UUID) -> list[Row]:
        """All versions of a lineage, oldest first."""
        return [self.by_id[ecs_id] for ecs_id in self.lineages.get(lineage_id, ())]

    def members(self, place: Place) -> list[UUID]:
        """What is in an ordered field."""
        return [child for span in place.spans for child in self.cells[span.run][span.start : span.start + span.length]]
