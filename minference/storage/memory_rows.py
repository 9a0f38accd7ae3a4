"""Versions as they lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from minference.ecs.blob_fields import blob_fields
from minference.ecs.entity import Entity, plan_of
from minference.ecs.lineage import VersionInfo
from minference.ecs.shapes import Shape, shape_of
from minference.ecs.values import dump_json, parse, time_fields
from minference.storage.erasing import Erasure
from minference.storage.sequences import Place, Run

NO_BLOBS = frozenset[str]()


class Row(NamedTuple):
    """One stored version."""

    info: VersionInfo
    cls: type[Entity]
    values: dict[str, Any]
    json: Mapping[str, bytes]
    """Values that become new objects each time they are read."""
    references: dict[str, UUID | None]
    places: dict[str, Place]
    keys: Mapping[str, tuple[str, ...]]
    opaque: Shape | None
    """If the program did not define the kind when it was imported: its shape."""
    blobs: frozenset[str]
    """The hashes of what its values refer to."""

    def data(self) -> dict[str, Any]:
        """The plain values, as JSON data."""
        documents = {name: dump_json(self.cls, name, value) for name, value in self.values.items()} | dict(self.json)
        return {name: parse(document.decode()) for name, document in documents.items()}

    @property
    def shape(self) -> Shape:
        """The shape in which it was written."""
        return self.opaque if self.opaque is not None else shape_of(self.cls)


def kept(cls: type[Entity], data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Values that cannot change in place: as they are, and those in JSON that every storage reads as other objects than were written.

    Blobs are read without their bytes, and times with the offset of their zone alone.
    """
    values = dict(zip(plan_of(cls).values, _values_of(cls)(data), strict=True))
    names = [*_plain_blob_fields(cls), *(name for name in time_fields(cls) if not _is_read_as_it_is(values[name]))]
    return values, {name: dump_json(cls, name, values.pop(name)) for name in dict.fromkeys(names)} if names else {}


@cache
def _values_of(cls: type[Entity]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    match plan_of(cls).values:
        case ():
            return lambda _: ()
        case (name,):
            return lambda data: (data[name],)
        case names:
            return itemgetter(*names)


@cache
def _plain_blob_fields(cls: type[Entity]) -> tuple[str, ...]:
    values = plan_of(cls).values
    return tuple(name for name in blob_fields(cls) if name in values)


def _is_read_as_it_is(value: object) -> bool:
    return value is None or (isinstance(value, datetime) and (value.tzinfo is UTC or (value.tzinfo is None and value.fold == 0)))


@dataclass(slots=True)
class Rows:
    """What there is, under every name that it is looked up by."""

    by_id: dict[UUID, Row]
    keys: dict[UUID, int]
    by_key: dict[int, Row]
    lineages: dict[UUID, list[UUID]]
    cells: dict[Run, list[UUID]]
    erasures: dict[UUID, Erasure]
    blobs: dict[str, bytes]

    def replace(self, row: Row) -> None:
        """Keep this of a stored version instead of what there is."""
        self.by_id[row.info.ecs_id] = self.by_key[self.keys[row.info.ecs_id]] = row

    def drop_blobs(self, hashes: Iterable[str]) -> None:
        """Forget those of these bytes to which nothing refers any more."""
        lost = set(hashes)
        lost = lost.difference(*(row.blobs for row in self.by_id.values())) if lost else lost
        for each in lost:
            self.blobs.pop(each, None)

    def of(self, lineage_id: UUID) -> list[Row]:
        """All versions of a lineage, oldest first."""
        return [self.by_id[ecs_id] for ecs_id in self.lineages.get(lineage_id, ())]

    def members(self, place: Place) -> list[UUID]:
        """What is in an ordered field."""
        return [child for span in place.spans for child in self.cells[span.run][span.start : span.start + span.length]]
