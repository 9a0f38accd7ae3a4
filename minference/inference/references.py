"""References in tool arguments: `"@<ecs_id>.field.path"` stands for what is stored there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import JsonValue

from minference.ecs.entity import Entity, plan_of
from minference.ecs.plan import IDENTITY_FIELDS
from minference.ecs.registry import CurrentStorage, current_storage
from minference.ecs.values import dump_json, parse
from minference.errors import EntityError, StorageError, UnresolvedReference

LARGEST_VALUE = 100_000
"""How many values one reference may stand for: entities that share others could be written out without end."""

_REFERENCE = re.compile(r"@(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?P<path>(?:\..*)?)", re.IGNORECASE | re.DOTALL)
_STORED_IDENTITY = tuple(name for name in IDENTITY_FIELDS if name != "live_id")


async def resolve_references(tool: str, arguments: Mapping[str, JsonValue], storage: CurrentStorage | None) -> dict[str, JsonValue]:
    """The arguments with every reference, at any depth, replaced by what is stored there, as JSON data.

    A path goes through stored fields, indexes of lists and keys of dicts, and never to properties, private attributes or
    back-references. What was found is taken as it is: a reference in it is text.

    Raises:
        UnresolvedReference: A reference leads nowhere, or to what JSON cannot hold; says why.
    """
    loaded: dict[UUID, Entity] = {}
    for text in sorted(set(_references(arguments))):
        match = _REFERENCE.fullmatch(text)
        assert match is not None, "it was found as one"
        if (ecs_id := UUID(match["id"])) not in loaded:
            loaded[ecs_id] = await _load(tool, text, ecs_id, storage)
    return {name: _resolved(tool, value, loaded) for name, value in arguments.items()}


def _references(value: Any) -> list[str]:
    """Every string that is a reference."""
    match value:
        case str() if _REFERENCE.fullmatch(value):
            return [value]
        case dict():
            return [found for item in value.values() for found in _references(item)]
        case list():
            return [found for item in value for found in _references(item)]
        case _:
            return []


def _resolved(tool: str, value: JsonValue, loaded: Mapping[UUID, Entity]) -> JsonValue:
    match value:
        case str() if found := _REFERENCE.fullmatch(value):
            return _look_up(tool, value, loaded[UUID(found["id"])], found["path"])
        case dict():
            return {key: _resolved(tool, item, loaded) for key, item in value.items()}
        case list():
            return [_resolved(tool, item, loaded) for item in value]
        case _:
            return value


async def _load(tool: str, reference: str, ecs_id: UUID, storage: CurrentStorage | None) -> Entity:
    try:
        return await (storage or current_storage()).get_cold_snapshot(Entity, ecs_id)
    except (StorageError, EntityError) as error:
        raise UnresolvedReference(tool, reference, str(error)) from error


def _look_up(tool: str, reference: str, root: Entity, path: str) -> JsonValue:
    steps = path.split(".")[1:]
    if not all(steps):
        raise UnresolvedReference(tool, reference, "a step of the path is empty")
    if not steps:
        raise UnresolvedReference(tool, reference, f"it names no field: {_offer(root)}")
    value: Any = root
    try:
        for step in steps:
            value = _step(value, step)
        found: JsonValue = _Writer().plain(value)
        return found
    except _Astray as error:
        raise UnresolvedReference(tool, reference, str(error)) from error
    except RecursionError as error:
        raise UnresolvedReference(tool, reference, "what it names is nested too deeply") from error


class _Astray(Exception):
    """The path leads nowhere; says why."""


def _step(value: Any, step: str) -> Any:
    """What lies one step below: an entity, entities in order or by key, or JSON data."""
    match value:
        case Entity():
            return _field(value, step)
        case dict() if step in value:
            return value[step]
        case list() | tuple() if re.fullmatch(r"-?[0-9]{1,9}", step) and -len(value) <= int(step) < len(value):
            return value[int(step)]
        case dict():
            raise _Astray(f"there is no key {step!r}: it has {_some(value)}")
        case list() | tuple():
            raise _Astray(f"there is no item {step!r} in a list of {len(value)}")
        case _:
            raise _Astray(f"there is nothing below a {type(value).__name__}, so no {step!r}")


def _field(entity: Entity, name: str) -> Any:
    """A stored field: entities as they are, everything else in the form in which it is stored."""
    if entity.erased:
        raise _Astray(f"the content of this {type(entity).__name__} was erased")
    plan = plan_of(type(entity))
    if name in plan.references or any(field.name == name for field in plan.collections):
        return entity.__dict__[name]
    if name in plan.values or name in plan.mutable or name in _STORED_IDENTITY:
        return parse(dump_json(type(entity), name, entity.__dict__[name]).decode())
    raise _Astray(f"a {type(entity).__name__} stores no field {name!r}: {_offer(entity)}")


class _Writer:
    """Entities as objects of their stored fields, without what names the version."""

    def __init__(self) -> None:
        self._left = LARGEST_VALUE
        self._above: list[Entity] = []

    def plain(self, value: Any) -> Any:
        """The value as JSON data."""
        self._left -= 1
        if self._left < 0:
            raise _Astray(f"what it names holds more than {LARGEST_VALUE} values: name a part of it")
        match value:
            case Entity():
                return self._entity(value)
            case dict():
                return {key: self.plain(item) for key, item in value.items()}
            case list() | tuple():
                return [self.plain(item) for item in value]
            case _:
                return value

    def _entity(self, entity: Entity) -> dict[str, Any]:
        if any(entity is each for each in self._above):
            raise _Astray(f"what it names contains itself, through a {type(entity).__name__}: name a field of it")
        self._above.append(entity)
        fields = {name: self.plain(_field(entity, name)) for name in _names(entity)}
        self._above.pop()
        return fields


def _names(entity: Entity) -> list[str]:
    plan = plan_of(type(entity))
    stored = {*plan.values, *plan.mutable, *plan.references, *(field.name for field in plan.collections)}
    return [name for name in type(entity).model_fields if name in stored]


def _offer(entity: Entity) -> str:
    return f"the fields are {', '.join(_names(entity))}"


def _some(keys: Mapping[str, Any], most: int = 10) -> str:
    shown = [repr(key) for key in list(keys)[:most]]
    return ", ".join([*shown, "..."] if len(keys) > most else shown) or "none"
