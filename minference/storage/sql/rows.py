"""One row as SQLAlchemy shows it, made from an entity or turned into one, as the mapping of its class says."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from pydantic import ValidationError
from sqlalchemy import Column

from minference.ecs.entity import Entity, plan_of
from minference.ecs.identity import utc_now, uuid7
from minference.ecs.values import dump_json, load_json, load_plain, parse
from minference.errors import IncompleteRow, NoSuchField, UnreadableVersion, WrongMember
from minference.storage.building import assembled
from minference.storage.sql.converting import RowConversion
from minference.storage.sql.decoding import Decoder
from minference.storage.sql.mapping import Mapping
from minference.storage.sql.matching import kind_of_annotation
from minference.storage.sql.types import Kind, escape_json, json_document, kind_of

Values = dict[str, Any]


def shown(cls: type[Entity], field: str, value: Any, kind: Kind) -> Any:
    """What SQLAlchemy shows in a column of this kind that holds `value`.

    Raises:
        UnstorableValue: JSON cannot hold it.
    """
    if value is None:
        return None
    if kind is Kind.json:
        return parse(dump_json(cls, field, value).decode())
    return value.value if isinstance(value, Enum) else value


def loaded(cls: type[Entity], field: str, value: Any, kind: Kind, ecs_id: UUID | None = None) -> Any:
    """The value of which `shown` is shown.

    Raises:
        UnreadableVersion: It does not fit the field.
    """
    try:
        if kind is Kind.json and value is not None:
            return load_json(cls, field, json_document(value))
        return load_plain(cls, field, _plain(value))
    except ValidationError as error:
        raise UnreadableVersion(cls.__kind__, ecs_id, field, error.errors(include_url=False)[0]["msg"]) from error


def _plain(value: Any) -> Any:
    """The same without the class that asyncpg has for ids."""
    return UUID(int=value.int) if isinstance(value, UUID) else value


def kind_of_field(cls: type[Entity], field: str) -> Kind:
    """The kind of column that a field would have by itself."""
    return kind_of_annotation(cls.model_fields[field].annotation)


@dataclass(frozen=True)
class _Plan:
    """By which attribute of the model a row shows what."""

    own: tuple[tuple[str, str, Kind | None], ...]
    """Fields with a column of their own, their attributes, and the kinds of the columns; `None` if the model encodes the field."""
    packed: str | None
    """The fields that share a column."""
    references: tuple[tuple[str, str], ...]
    lengths: tuple[tuple[str, str], ...]
    """Of ordered fields."""


@cache
def _plan(mapping: Mapping) -> _Plan:
    columns, conversion, mapper = mapping.table.c, mapping.conversion, mapping.model.__mapper__
    own = [(value.field, value.column) for value in mapping.values]
    if isinstance(conversion, RowConversion):
        own += [(each.field, each.column) for each in conversion.alike]
    elif conversion is not None:
        own += list(zip(conversion.fields, conversion.columns, strict=True))

    def attribute(column: Column[Any]) -> str:
        return str(mapper.get_property_by_column(column).key)

    encoded = mapping.model.__encoded__
    return _Plan(
        tuple((name, attribute(column), None if name in encoded else kind_of(column.type)) for name, column in own),
        attribute(columns[mapping.packed_column]) if mapping.packed_column is not None else None,
        tuple((name, attribute(columns[column])) for name, column in mapping.references.items()),
        tuple((name, attribute(columns[length])) for name, (_, length, _) in mapping.collections.items()),
    )


def attributes_of(mapping: Mapping, entity: Entity) -> Values:
    """Attribute of the model to what it shows of the plain values of `entity`."""
    cls, model, data, plan = type(entity), mapping.model, entity.__dict__, _plan(mapping)
    found: Values = {
        attribute: model.encode(name, data[name]) if kind is None else shown(cls, name, data[name], kind)
        for name, attribute, kind in plan.own
    }
    if mapping.packed and plan.packed is not None:
        found[plan.packed] = {name: parse(dump_json(cls, name, data[name]).decode()) for name in mapping.packed}
    return found


def entity_of(mapping: Mapping, row: Any, version: Any, given: Dict[str, Any]) -> Entity:
    """The entity of a row. `version` is its row in `lineage_versions` if it is stored; `given` goes before what the row says.

    Raises:
        IncompleteRow: The row has only keys of some of the fields, and they are not given.
        NoSuchField: One that is given does not exist.
        WrongMember: One that is given holds what the field does not allow.
        UnreadableVersion: What the row shows does not fit the class.
    """
    cls, model, plan, fields = mapping.cls, mapping.model, _plan(mapping), plan_of(mapping.cls)
    values, ecs_id = _checked(cls, given), version.ecs_id if version is not None else None
    for name, attribute, kind in plan.own:
        if name not in values:
            value = getattr(row, attribute)
            values[name] = model.decode(name, value) if kind is None else loaded(cls, name, value, kind, ecs_id)
    if plan.packed is not None:
        values = _unpacked(mapping, getattr(row, plan.packed), ecs_id) | values
    if version is not None:
        values = _nothing_held(cls, plan, row) | values
    missing = [name for name in (*fields.values, *fields.mutable, *_holding(cls)) if name not in values]
    if missing:
        raise IncompleteRow(cls.__kind__, version.ecs_id if version is not None else None, missing)
    values.update((name, None) for name, _ in fields.back_references)
    values.update(_identity(version))
    entity = assembled(cls, {name: values[name] for name in cls.model_fields})
    if cls.__pydantic_post_init__:
        entity.model_post_init(None)
    return entity


def _unpacked(mapping: Mapping, value: Any, ecs_id: UUID | None) -> Values:
    """The fields that share the column `extra`; what was not stored takes its default."""
    cell = None if value is None else escape_json(json_document(value))
    decoder = Decoder(mapping.cls, {}, mapping.packed, has_packed_cell=True)
    return decoder.values([[cell]], 1, lambda _: ecs_id)[0]


def _holding(cls: type[Entity]) -> tuple[str, ...]:
    """Fields that hold entities."""
    plan = plan_of(cls)
    return (*plan.references, *(field.name for field in plan.collections))


def _nothing_held(cls: type[Entity], plan: _Plan, row: Any) -> Values:
    """References to nothing and ordered fields without members: of those a stored row says all there is."""
    shapes = {field.name: field.shape for field in plan_of(cls).collections}
    found: Values = {name: None for name, attribute in plan.references if getattr(row, attribute) is None}
    found.update((name, shapes[name]()) for name, attribute in plan.lengths if getattr(row, attribute) == 0)
    return found


def _checked(cls: type[Entity], given: Dict[str, Any]) -> Values:
    plan = plan_of(cls)
    plain = (*plan.values, *plan.mutable)
    values: Values = {}
    for name, value in given.items():
        if name not in (*plain, *_holding(cls)):
            raise NoSuchField(cls.__kind__, name, [*plain, *_holding(cls)])
        if name in plan.types and not plan.accepts(name, value):
            raise WrongMember(cls.__kind__, name, value, [each.__name__ for each in plan.types[name]])
        values[name] = value if name in plan.types else load_plain(cls, name, value)
    return values


def _identity(version: Any) -> Values:
    """That of a stored version, or a new one."""
    if version is None:
        return {"ecs_id": uuid7(), "lineage_id": uuid7(), "parent_id": None, "created_at": utc_now(), "live_id": uuid4()}
    return {
        "ecs_id": _plain(version.ecs_id),
        "lineage_id": _plain(version.lineage_id),
        "parent_id": _plain(version.parent_ecs_id),
        "created_at": version.created_at,
        "live_id": uuid4(),
    }
