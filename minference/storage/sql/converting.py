"""Tables whose models convert values themselves: some fields (`encode`, `decode`), or whole rows (`from_entity`, `to_entity`).

What they make of a value is read back before it is written, and refused if that gives another value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Column

from minference.ecs.entity import Entity, plan_of
from minference.ecs.plan import IDENTITY_FIELDS, arms
from minference.ecs.recording import NothingRecorded
from minference.ecs.values import dump_json, load_json
from minference.errors import ConversionFailed, LossyConversion, StorageError, UnreadableVersion, UnstorableValue
from minference.storage.building import assembled
from minference.storage.sql.cells import cell_of, shown_as
from minference.storage.sql.types import DialectName

Values = dict[str, Any]
Cells = Sequence[Any]


class RowModel(Protocol):
    """What `EntityTable` is to the storage."""

    @classmethod
    def encode(cls, field: str, value: Any) -> Any:
        """See `EntityTable.encode`."""
        ...

    @classmethod
    def decode(cls, field: str, value: Any) -> Any:
        """See `EntityTable.decode`."""
        ...

    @classmethod
    def from_entity(cls, entity: Any) -> Any:
        """See `EntityTable.from_entity`."""
        ...

    def to_entity(self, **fields: Any) -> Entity:
        """See `EntityTable.to_entity`."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """A field and the column of the same name."""

    field: str
    column: Column[Any]


@dataclass(frozen=True, eq=False)
class Conversion(ABC):
    """What a model does with the fields and columns that it has taken over."""

    cls: type[Entity]
    model: Any
    """A `RowModel`, which is also its constructor."""
    fields: tuple[str, ...]
    columns: tuple[Column[Any], ...]

    def cells(self, dialect: DialectName, values: Dict[str, Any], documents: Dict[str, bytes]) -> list[Any]:
        """The cells of the columns for one version; `values` holds its identity too.

        Raises:
            ConversionFailed: The model raised, or its result does not fit the columns.
            LossyConversion: The model would give back something else.
        """
        data = {name: load_json(self.cls, name, documents[name]) if name in documents else values[name] for name in self._needed}
        data.update((name, values[name]) for name in IDENTITY_FIELDS if name in values)
        with NothingRecorded():
            try:
                cells = self._encode(dialect, data)
                given_back = self._decode(dialect, cells)
            except UnstorableValue:
                raise
            except Exception as error:
                raise ConversionFailed(self.model.__name__, self.cls.__kind__, f"{type(error).__name__}: {error}") from error
        for name in self.fields:
            if name not in given_back or not _alike(self.cls, name, data[name], given_back[name]):
                raise LossyConversion(self.model.__name__, self.cls.__kind__, name, data[name], given_back.get(name))
        return cells

    def values(self, dialect: DialectName, ecs_id: UUID, cells: Cells) -> Values:
        """What the model makes of the cells of one version.

        Raises:
            UnreadableVersion: The model raised.
        """
        with NothingRecorded():
            try:
                return self._decode(dialect, cells)
            except StorageError:
                raise
            except Exception as error:
                reason = f"{self.model.__name__} raised {type(error).__name__}: {error}"
                raise UnreadableVersion(self.cls.__kind__, ecs_id, None, reason) from error

    @property
    def _needed(self) -> tuple[str, ...]:
        return self.fields

    @abstractmethod
    def _encode(self, dialect: DialectName, data: Values) -> list[Any]:
        """Cells from values."""

    @abstractmethod
    def _decode(self, dialect: DialectName, cells: Cells) -> Values:
        """Values from cells."""

    def _shown(self, dialect: DialectName, cells: Cells) -> list[Any]:
        readers = self._readers[dialect]
        return [None if cell is None else read(cell) for read, cell in zip(readers, cells, strict=True)]

    @cached_property
    def _readers(self) -> dict[DialectName, list[Any]]:
        dialects: tuple[DialectName, ...] = ("sqlite", "postgresql")
        return {dialect: [shown_as(column.type, dialect) for column in self.columns] for dialect in dialects}


class FieldConversion(Conversion):
    """`encode` and `decode`, for a field and its column each."""

    def _encode(self, dialect: DialectName, data: Values) -> list[Any]:
        return [
            cell_of(column, dialect, self.model.encode(name, data[name])) for name, column in zip(self.fields, self.columns, strict=True)
        ]

    def _decode(self, dialect: DialectName, cells: Cells) -> Values:
        return {name: self.model.decode(name, shown) for name, shown in zip(self.fields, self._shown(dialect, cells), strict=True)}


@dataclass(frozen=True, eq=False)
class RowConversion(Conversion):
    """`from_entity` and `to_entity`, for all plain values and columns together."""

    entity: type[Entity]
    """The class that the model is declared for: `cls` or a base of it."""
    attributes: tuple[str, ...]
    """Of the model, one for each column."""
    alike: tuple[Shown, ...]
    """Fields with a column of the same name and kind: what the model need not say itself."""

    @property
    def _needed(self) -> tuple[str, ...]:
        plan = plan_of(self.cls)
        return (*plan.values, *plan.mutable)

    def _encode(self, dialect: DialectName, data: Values) -> list[Any]:
        row = self.model.from_entity(assembled(self.cls, data))
        return [cell_of(column, dialect, getattr(row, name)) for column, name in zip(self.columns, self.attributes, strict=True)]

    def _decode(self, dialect: DialectName, cells: Cells) -> Values:
        row = self.model(**dict(zip(self.attributes, self._shown(dialect, cells), strict=True)))
        found = row.to_entity(**_stand_ins(self.entity)).__dict__
        return {name: found[name] for name in self.fields if name in found}


def _stand_ins(cls: type[Entity]) -> Values:
    """Something of the right type in the place of what a version holds and the storage attaches later."""
    plan = plan_of(cls)
    held: Values = {
        name: None if type(None) in arms(cls.model_fields[name].annotation) else plan.types[name][0].__new__(plan.types[name][0])
        for name in plan.references
    }
    held.update((field.name, field.shape()) for field in plan.collections)
    return held


def _alike(cls: type[Entity], field: str, one: Any, other: Any) -> bool:
    """Stored alike. The zone of a time is not stored."""
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one == other
    return type(one) is type(other) and dump_json(cls, field, one) == dump_json(cls, field, other)
