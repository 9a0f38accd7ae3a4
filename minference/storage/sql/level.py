"""Some versions that are read together, and what is known of them so far."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter

from minference.ecs.entity import Entity, plan_of
from minference.ecs.fitting import Fit
from minference.ecs.opaque import OpaqueEntity
from minference.ecs.shapes import Shape
from minference.ecs.state import Ledger, Version
from minference.storage.base import Record
from minference.storage.sequences import EMPTY, Place
from minference.storage.sql.decoding import Loaded
from minference.storage.sql.mapping import Mapping
from minference.storage.sql.older import StoredRow

VersionRow = tuple[int, UUID, UUID, UUID | None, int, datetime, datetime | None]
"""Key, own id, lineage, the parent's id, kind, time, when it was erased."""
VERSION_ROWS = TypeAdapter(list[VersionRow])


class Meaning(NamedTuple):
    """What the rows of a kind mean: another thing once its class is defined anew."""

    mapping: Mapping
    absent: frozenset[str]
    """The fields that the versions were written without."""


@dataclass(slots=True)
class Level:
    """Turns what is read into records, but for the members of ordered fields."""

    ledger: Ledger
    versions: dict[int, VersionRow]
    records: dict[int, Record] = field(default_factory=dict)
    wanted: dict[tuple[int, str], tuple[int | None, int]] = field(default_factory=dict)
    """By key and field: the sequence and length of what is still to be read."""
    meanings: dict[int, Meaning] = field(default_factory=dict)
    """By kind, what the rows mean that were read, where they mean what their class means."""
    rows: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    """By key, the row in its table of each version that is in the present shape of its class."""

    def name_of(self, key: int) -> UUID:
        """The id of a version."""
        return self.versions[key][1]

    def by_kind(self) -> dict[int, list[int]]:
        """The keys of the versions of each kind and shape."""
        kinds: dict[int, list[int]] = {}
        for key, row in self.versions.items():
            kinds.setdefault(row[4], []).append(key)
        return kinds

    def missing(self, keys: list[int]) -> list[int]:
        """Those of which there is no record yet."""
        return [key for key in keys if key not in self.records]

    def place(self, key: int, name: str) -> tuple[int | None, int]:
        """The sequence and length of an ordered field."""
        place = self.records[key].version.places.get(name, EMPTY)
        return self.wanted.get((key, name), (place.sequence, place.length))

    def add_loaded(self, cls: type[Entity], loaded: Loaded, rows: Sequence[tuple[Any, ...]]) -> None:
        """Versions in the present shape of their class, and the rows that they were read from."""
        self.rows.update(zip(loaded.ids, rows, strict=True))
        nothing: dict[str, list[int]] = {name: [] for name in loaded.nothing}
        parts = zip(loaded.ids, loaded.values, loaded.references, loaded.sequences, loaded.keys, strict=True)
        for key, values, references, places, keys in parts:
            record = self._add(key, cls, values, references)
            record.keys = keys
            if places is loaded.nothing:
                record.members = nothing
            else:
                self._want(record, key, places)

    def add_fitted(self, key: int, cls: type[Entity], fit: Fit, values: dict[str, Any], row: StoredRow) -> None:
        """A version in another shape, whose values have been made to fit."""
        ecs_id = self.name_of(key)
        filled = {name: place for name, place in row.sequences.items() if place[1]}
        record = self._add(key, cls, values, fit.references(ecs_id, row.references))
        places = fit.collections(ecs_id, filled, [name for name in row.keys if name in filled])
        names = fit.named(ecs_id, {name: row.keys[name] for name in row.keys if name in filled}, places)
        for each in plan_of(cls).collections:
            self._want(record, key, {each.name: places.get(each.name, (None, 0))})
        record.keys = {each.name: names.get(each.name, ()) for each in plan_of(cls).collections if each.shape is dict}

    def add_opaque(self, key: int, shape: Shape, row: StoredRow) -> None:
        """A version of a kind that the program does not define."""
        record = self._add(key, OpaqueEntity, row.values, {**row.references})
        record.opaque, record.keys = shape.completed(row.values, row.references, row.sequences, row.keys), row.keys
        self._want(record, key, row.sequences)

    def _want(self, record: Record, key: int, places: Dict[str, tuple[int | None, int]]) -> None:
        for name, place in places.items():
            if place[1]:
                self.wanted[key, name] = place
            else:
                record.members[name] = []
                if place[0] is not None:
                    record.version.places.setdefault(name, Place(place[0], 0, (), ends_open=False))

    def _add(self, key: int, cls: type[Entity], values: dict[str, Any], references: dict[str, int | None]) -> Record:
        _, ecs_id, lineage_id, parent_id, _, created_at, erased_at = self.versions[key]
        version = self.ledger.versions.get(key)
        if version is None:
            version = self.ledger.versions[key] = Version(ecs_id, lineage_id, created_at, key)
        record = self.records[key] = Record(version, parent_id, cls, values, references, {}, erased_at=erased_at)
        return record
