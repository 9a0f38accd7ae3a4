"""Cells from values: the inverse of `decoding`, one version at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Mapping as Dict
from functools import cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy.types import TypeEngine

from minference.ecs.entity import Entity
from minference.ecs.values import dump_json
from minference.errors import UnstorableValue
from minference.storage.sql.converting import Conversion
from minference.storage.sql.types import DialectName, Kind, encoder, escape_json, kind_of


class CellEncoder:
    """Turns the plain values of a class into the cells of its value columns.

    `columns` names the fields in the order of the cells; cells that the model of the table makes itself come next; the fields
    in `packed` share a last one, if there is one, which holds `nothing_packed` if they are none. Values of the fields in `mutable`
    come as JSON documents.
    """

    def __init__(
        self,
        cls: type[Entity],
        dialect: DialectName,
        columns: Dict[str, TypeEngine[Any]],
        conversion: Conversion | None,
        packed: Sequence[str] | None,
        nothing_packed: str | None,
        mutable: Collection[str],
    ) -> None:
        self._cls = cls
        self._dialect = dialect
        self._fields = tuple(columns)
        self._encoders = tuple(encoder(column_type, dialect) for column_type in columns.values())
        json = [(at, name) for at, (name, column_type) in enumerate(columns.items()) if kind_of(column_type) is Kind.json]
        self._documents = tuple((at, name, name in mutable) for at, name in json)
        self._conversion = conversion
        self._packed, self._nothing_packed = packed, nothing_packed
        self._mutable = mutable

    def cells(self, values: Dict[str, Any], documents: Dict[str, bytes]) -> list[Any]:
        """The cells of one version.

        Raises:
            UnstorableValue: A value does not fit into its column.
        """
        try:
            cells = [
                value if encode is None or value is None else encode(value)
                for value, encode in zip(map(values.__getitem__, self._fields), self._encoders, strict=True)
            ]
        except ValueError as error:
            raise self._misfit(values) from error
        for at, name, mutable in self._documents:
            if (value := cells[at]) is not None:
                cells[at] = _document(documents[name]) if mutable else self._written(name, value)
        if self._conversion is not None:
            cells.extend(self._conversion.cells(self._dialect, values, documents))
        if self._packed is not None:
            cells.append(self._pack(self._packed, values, documents) if self._packed else self._nothing_packed)
        return cells

    def _written(self, name: str, value: Any) -> str | None:
        return _nothing_in(self._cls, name) if type(value) is tuple and not value else _document(dump_json(self._cls, name, value))

    def _misfit(self, values: Dict[str, Any]) -> UnstorableValue:
        """Which of these values does not fit into its column."""
        for name, encode in zip(self._fields, self._encoders, strict=True):
            try:
                if encode is not None and values[name] is not None:
                    encode(values[name])
            except ValueError as error:
                return UnstorableValue(self._cls.__kind__, name, str(error))
        raise AssertionError("one of them did not fit a moment ago")

    def _pack(self, packed: Sequence[str], values: Dict[str, Any], documents: Dict[str, bytes]) -> str:
        parts = (
            to_json(name) + b":" + (documents[name] if name in self._mutable else dump_json(self._cls, name, values[name]))
            for name in packed
        )
        return escape_json(f"{{{b','.join(parts).decode()}}}")


@cache
def _nothing_in(cls: type[Entity], field: str) -> str | None:
    """What is written of an empty tuple."""
    return _document(dump_json(cls, field, ()))


def _document(data: bytes) -> str | None:
    return None if data == b"null" else escape_json(data.decode())
