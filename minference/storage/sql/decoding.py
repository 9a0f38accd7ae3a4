"""Values from rows, validated in bulk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

from pydantic import Json, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from minference.ecs.entity import Entity
from minference.ecs.fitting import add_defaults, dump_data, load_value, misfit
from minference.ecs.values import parse, stored_config, stored_type
from minference.errors import UnknownStoredField, UnreadableVersion
from minference.storage.sql.types import MARKER, DamagedCell, Kind, decode_time, unescape_json, unescape_text

NameOf = Callable[[int], UUID | None]
"""The id of the version in a row, by the row's number: for errors."""

C = TypeVar("C")
_PACKED = "*"
_JSON: Any = Json
_LIST: Any = list
_TYPED_DICT: Any = TypedDict


@dataclass(slots=True)
class Loaded:
    """Versions of one class as they are stored; the lists run parallel."""

    ids: list[int]
    values: list[dict[str, Any]]
    """Every plain value, validated."""
    references: list[dict[str, int | None]]
    """Field to the key of the child."""
    sequences: list[dict[str, tuple[int | None, int]]]
    """Field to where the ordered field is: its sequence and its length."""
    keys: list[dict[str, tuple[str, ...]]]
    """Field to the keys of a keyed field."""
    nothing: dict[str, tuple[int | None, int]] = field(default_factory=dict)
    """What `sequences` has for every version none of whose ordered fields ever held anything: the same object, not to be changed."""


class Decoder:
    """Turns the cells of a class's value columns into validated values, column by column.

    `kinds` names the fields in the order of the cells; the fields in `packed` come together in a last JSON cell, if there is one.
    """

    def __init__(self, cls: type[Entity], kinds: Mapping[str, Kind], packed: Sequence[str], *, has_packed_cell: bool) -> None:
        self._cls = cls
        self._kinds = {**kinds, _PACKED: Kind.json} if has_packed_cell else dict(kinds)
        self._packed = tuple(packed)
        self._fields = (*kinds, *packed)

    def values(
        self, columns: Sequence[Sequence[Any]], count: int, name_of: NameOf, *, absent: Collection[str] = ()
    ) -> list[dict[str, Any]]:
        """The values of each of `count` rows. The fields in `absent` get their defaults, whatever is in their columns.

        Raises:
            UnknownStoredField: A row holds a field that the class has not.
            UnreadableVersion: A row does not fit the class.
        """
        found = {
            name: self._column(name, kind, column, name_of)
            for (name, kind), column in zip(self._kinds.items(), columns, strict=True)
            if name not in absent
        }
        packed = found.pop(_PACKED, None)
        names = tuple(found)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*found.values(), strict=True)] if found else [{} for _ in range(count)]
        if self._packed:
            for row, values in zip(rows, packed or (), strict=True):
                row.update(values or {})
        for number, row in enumerate(rows):
            if len(row) < len(self._fields):
                add_defaults(self._cls, self._fields, name_of(number), row)
        return rows

    def _column(self, name: str, kind: Kind, cells: Sequence[Any], name_of: NameOf) -> list[Any]:
        """Validated values of one column."""
        escaped: dict[int, str] = {}
        if kind is Kind.time:
            cells = [None if cell is None else decode_time(cell) for cell in cells]
        elif kind is Kind.text and _is_any_marked(cells):
            cells = [None if cell is None else unescape_text(cell) for cell in cells]
        elif kind is Kind.json and _is_any_marked(cells):
            escaped = {i: document for i, cell in enumerate(cells) if cell and (document := unescape_json(cell)) is not cell}
            cells = [None if i in escaped else cell for i, cell in enumerate(cells)]
        try:
            found = self._adapters[name].validate_python(cells, strict=False, by_alias=False, by_name=True)
        except ValidationError as error:
            raise self._explained(name, name_of, error) from error
        for index, document in escaped.items():
            found[index] = self._load_escaped(name, name_of(index), document)
        return found

    @cached_property
    def _adapters(self) -> dict[str, TypeAdapter[list[Any]]]:
        config = stored_config(self._cls)
        types = {name: self._packed_type() if name == _PACKED else stored_type(self._cls, name) for name in self._kinds}
        columns: dict[str, Any] = {
            name: _LIST[_JSON[kind] | None if self._kinds[name] is Kind.json else kind] for name, kind in types.items()
        }
        return {name: TypeAdapter(column, config=config) for name, column in columns.items()}

    def _packed_type(self) -> Any:
        packed_type = _TYPED_DICT(f"{self._cls.__name__}Packed", {name: stored_type(self._cls, name) for name in self._packed}, total=False)
        packed_type.__pydantic_config__ = {**stored_config(self._cls), "extra": "forbid"}
        return packed_type

    def _load_escaped(self, name: str, ecs_id: UUID | None, document: str) -> Any:
        if name != _PACKED:
            return load_value(self._cls, name, ecs_id, document)
        parts = parse(document)
        if unknown := parts.keys() - set(self._packed):
            raise UnknownStoredField(self._cls.__kind__, ecs_id, sorted(unknown))
        return {part: load_value(self._cls, part, ecs_id, dump_data(value)) for part, value in parts.items()}

    def _explained(self, name: str, name_of: NameOf, error: ValidationError) -> UnknownStoredField | UnreadableVersion:
        (row, *place), reason = misfit(error)
        ecs_id = name_of(int(row))
        if name == _PACKED:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            unknown = {each["loc"][-1] for each in problems if each["type"] == "extra_forbidden" and each["loc"][0] == int(row)}
            if unknown:
                return UnknownStoredField(self._cls.__kind__, ecs_id, sorted(map(str, unknown)))
        return UnreadableVersion(self._cls.__kind__, ecs_id, ".".join(place if name == _PACKED else [name, *place]), reason)


def _is_any_marked(cells: Sequence[str | None]) -> bool:
    try:
        return MARKER in "".join(filter(None, cells))
    except TypeError as error:
        raise DamagedCell(next(cell for cell in cells if not isinstance(cell, str | None))) from error


def across(columns: Sequence[Sequence[C]], count: int) -> Iterable[tuple[C, ...]]:
    """Columns as so many rows."""
    return zip(*columns, strict=True) if columns else [()] * count


def rows_of(columns: Mapping[str, Sequence[C]], count: int) -> list[dict[str, C]]:
    """A dict for each row."""
    if not columns:
        return [{} for _ in range(count)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
