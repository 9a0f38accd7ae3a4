"""Two entities compared in the shapes that the concept papers use; `minference.ecs.diff` has the whole structure."""

from __future__ import annotations

from typing import Any, TypedDict

from minference.ecs.diff import CollectionChanged, EntityDiff, FieldDiff, Replaced, diff_entities
from minference.ecs.entity import Entity


class FieldValues(TypedDict):
    """One field of two entities."""

    old: Any
    new: Any


def compare_fields(old: Entity, new: Entity) -> tuple[bool, dict[str, FieldValues]]:
    """See `Entity.compare_entity_fields`."""
    names = diff_entities(old, new).fields
    values: dict[str, FieldValues] = {name: {"old": old.__dict__[name], "new": new.__dict__[name]} for name in names}
    return bool(values), values


def modified_entities(old: Entity, new: Entity) -> list[Entity]:
    """See `Entity.modified_entities`."""
    found: dict[int, Entity] = {}
    waiting: list[EntityDiff] = [diff] if (diff := diff_entities(old, new)) else []
    while waiting:
        diff = waiting.pop()
        if id(diff.new) in found:
            continue
        found[id(diff.new)] = diff.new
        for field in reversed(list(diff.fields.values())):
            below, added = _parts(field)
            waiting.extend(reversed(below))
            for entity in added:
                found.update({id(each): each for each in (entity, *entity.get_sub_entities())})
    return list(found.values())


def _parts(field: FieldDiff) -> tuple[list[EntityDiff], list[Entity]]:
    """The differences right below one of a field, and the entities that it puts there."""
    match field:
        case EntityDiff():
            return [field], []
        case Replaced(new=Entity() as entity):
            return [], [entity]
        case CollectionChanged():
            return [member.diff for member in field.changed], [placed.entity for placed in field.added]
        case _:
            return [], []
