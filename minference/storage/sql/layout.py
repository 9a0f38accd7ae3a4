"""Where versions of one shape are: in which table, and in which columns. Noted with the shape, so that it can be read without its class."""

from __future__ import annotations

import json
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from minference.ecs.opaque import OpaqueEntity
from minference.ecs.shapes import Shape
from minference.storage.sql.mapping import Mapping
from minference.storage.sql.schema import AnyEntity, Base
from minference.storage.sql.types import Kind

GENERIC = AnyEntity.__tablename__
EXTRA = "extra"
"""The JSON column of a typed table for fields without a column of their own."""


@dataclass(frozen=True)
class Layout:
    """The columns of the fields of one shape in one table. Fields that are not among them are in the tables for any entity, or packed."""

    table: str
    values: Dict[str, tuple[str, Kind]] = field(default_factory=dict)
    references: Dict[str, str] = field(default_factory=dict)
    collections: Dict[str, tuple[str, str, str | None]] = field(default_factory=dict)
    """Field to the columns of its sequence, its length and, if it has keys, of those."""
    converted: tuple[str, ...] = ()
    """Fields that only the model of the table can read."""

    def of(self, name: str) -> object:
        """Where one field is; `None` if it has no column."""
        return self.values.get(name) or self.references.get(name) or self.collections.get(name) or name in self.converted or None

    def dump(self, shape: Shape) -> str:
        """As JSON, together with the sorts of the fields."""
        parts = {
            "table": self.table,
            "sorts": {each.name: each.sort for each in shape.fields if each.sort is not None},
            "values": {name: [column, kind.value] for name, (column, kind) in sorted(self.values.items())},
            "references": dict(sorted(self.references.items())),
            "collections": {name: list(columns) for name, columns in sorted(self.collections.items())},
            "converted": list(self.converted),
        }
        return json.dumps({name: part for name, part in parts.items() if part}, ensure_ascii=False, separators=(",", ":"))


def load_layout(stored: Dict[str, Any]) -> Layout:
    """What `dump` wrote, the sorts aside."""
    return Layout(
        stored["table"],
        {name: (column, Kind(kind)) for name, (column, kind) in stored.get("values", {}).items()},
        dict(stored.get("references", {})),
        {name: (columns[0], columns[1], columns[2]) for name, columns in stored.get("collections", {}).items()},
        tuple(stored.get("converted", ())),
    )


@cache
def layout_of(mapping: Mapping) -> Layout:
    """Where a class is written now."""
    values = {value.field: (value.column.name, value.kind) for value in mapping.values}
    converted = tuple(sorted(mapping.conversion.fields)) if mapping.conversion is not None else ()
    return Layout(mapping.table.name, values, dict(mapping.references), dict(mapping.collections), converted)


@cache
def mapping_of_shape(shape: Shape) -> Mapping:
    """How versions of a kind that no class is stored as are written: as JSON data into the tables for any entity."""
    values = shape.of_sort("value")
    return Mapping(
        cls=OpaqueEntity,
        table=Base.metadata.tables[GENERIC],
        constants={},
        values=(),
        references={},
        collections={},
        packed_column="data",
        packed=values,
        links=shape.of_sort("reference"),
        sequences=shape.of_sort("list", "tuple", "dict"),
        mutable=frozenset(values),
        keyed=frozenset(shape.of_sort("dict")),
    )
