"""What a graph of entities holds, told without the code under test: no plans, no states, no stored form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from minference.ecs.entity import Entity, state_of

IDENTITY = {"ecs_id", "lineage_id", "parent_id", "created_at", "live_id"}


@dataclass(frozen=True)
class Content:
    """One version, as it must be restored."""

    kind: type[Entity]
    lineage_id: UUID
    parent_id: UUID | None
    created_at: datetime
    fields: Any
    """Everything else, with entities replaced by the ids of their versions."""


def content_of(entity: Entity) -> Content:
    """What the version that the object stands on holds, if nothing was changed since."""
    return Content(type(entity), entity.lineage_id, entity.parent_id, entity.created_at, fields_of(entity, lambda child: child.ecs_id))


def fields_of(entity: Entity, name_of: Callable[[Entity], Any]) -> Any:
    """The plain fields of an entity in a form that compares exactly, with `name_of` for the entities in them."""
    return [(name, exact(entity.__dict__[name], name_of)) for name in _names(type(entity))]


@cache
def _names(cls: type[Entity]) -> list[str]:
    return sorted(cls.model_fields.keys() - IDENTITY)


def exact(value: Any, name_of: Callable[[Entity], Any]) -> Any:
    """A value in a form that compares exactly, with `name_of` for the entities in it."""
    match value:
        case Entity():
            return ("entity", name_of(value))
        case BaseModel():
            return (type(value).__name__, exact(value.__dict__, name_of))
        case dict():
            return ("dict", [(key, exact(item, name_of)) for key, item in value.items()])
        case list() | tuple():
            return (list.__name__ if isinstance(value, list) else tuple.__name__, [exact(item, name_of) for item in value])
        case datetime():
            return value.astimezone(UTC).isoformat()
        case _:
            return (type(value).__name__, repr(value))


def reachable(roots: Iterable[Entity]) -> list[Entity]:
    """Every entity under the roots, themselves included, each once."""
    found: dict[int, Entity] = {}
    queue = list(roots)
    for entity in queue:
        if id(entity) not in found:
            found[id(entity)] = entity
            queue.extend(children_of(entity))
    return list(found.values())


def children_of(entity: Entity) -> Iterator[Entity]:
    """The entities that an entity holds, in the order of `fields_of`."""
    data = entity.__dict__
    for name in _names(type(entity)):
        value = data[name]
        if isinstance(value, Entity):
            yield value
        elif value and isinstance(value, dict | list | tuple):
            yield from (each for each in (value.values() if isinstance(value, dict) else value) if isinstance(each, Entity))


def expected_changes(roots: Iterable[Entity], versions: Mapping[UUID, Content]) -> list[Entity]:
    """What saving the roots must make versions of: all that is not as its version says, and what reaches it."""
    entities = reachable(roots)
    parents: dict[int, list[Entity]] = {}
    for entity in entities:
        for child in children_of(entity):
            parents.setdefault(id(child), []).append(entity)
    queue = [
        entity for entity in entities if entity.ecs_id not in versions or content_of(entity) != versions[entity.ecs_id] or is_merge(entity)
    ]
    changed = {id(entity): entity for entity in queue}
    while queue:
        for parent in parents.get(id(queue.pop()), ()):
            if id(parent) not in changed:
                changed[id(parent)] = parent
                queue.append(parent)
    return list(changed.values())


def is_merge(entity: Entity) -> bool:
    """Whether the next version of the entity will be one that merged another."""
    state = state_of(entity)
    return state is not None and bool(state.merging)


def contents_of(root: Entity) -> dict[UUID, Content]:
    """The content of every version under a root, by id."""
    return {entity.ecs_id: content_of(entity) for entity in reachable([root])}
