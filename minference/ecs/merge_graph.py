"""One side of a merge as a graph: what each entity holds itself, and to which others it refers."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minference.ecs.diff import diff_entities, same_value
from minference.ecs.entity import Entity, plan_of, state_of

Key = tuple[int, type[Entity], int]
"""Which entity, on every side: lineage (as a number, which hashes fast), class, and which of the versions that one side holds."""


@dataclass(slots=True)
class Node:
    """What one entity holds itself."""

    key: Key
    path: str
    """How to get there from the root, by one of the shortest ways."""
    entity: Entity
    data: Mapping[str, Any]
    """Its plain values by field, among others."""
    references: dict[str, Key | None]
    collections: dict[str, list[Key]]
    names: dict[str, tuple[str, ...]]
    """The keys of each keyed collection."""

    def children(self, without: Container[str] = ()) -> Iterator[Key]:
        """Everything that it refers to, repetitions included; fields in `without` left out."""
        for name in (*self.references, *self.collections):
            if name not in without:
                yield from self.children_in(name)

    def children_in(self, field: str) -> Sequence[Key]:
        """What one field refers to, in order; nothing if it holds a plain value."""
        if field in self.collections:
            return self.collections[field]
        key = self.references.get(field)
        return () if key is None else (key,)


class Graph:
    """Everything reachable from one entity. Two copies of one version, with equal content, are one node."""

    def __init__(self, root: Entity) -> None:
        self.nodes: dict[Key, Node] = {}
        self._keys: dict[int, Key] = {}
        self._alike: dict[tuple[int, type[Entity]], list[Entity]] = {}
        self._waiting: deque[tuple[Key, Entity, str]] = deque()
        self.root = self._key(root, "")
        while self._waiting:
            key, entity, path = self._waiting.popleft()
            self.nodes[key] = self._node(key, entity, path)

    def entity(self, key: Key) -> Entity:
        """The object of a node."""
        return self.nodes[key].entity

    def above(self, keys: Iterable[Key]) -> set[Key]:
        """These nodes and every node that reaches one of them."""
        return above({key: list(node.children()) for key, node in self.nodes.items()}, keys)

    def _key(self, entity: Entity, path: str) -> Key:
        key = self._keys.get(id(entity))
        if key is not None:
            return key
        name = (entity.lineage_id.int, type(entity))
        alike = self._alike.setdefault(name, [])
        twin = next((number for number, other in enumerate(alike) if _is_copy(entity, other)), None)
        key = self._keys[id(entity)] = (*name, len(alike) if twin is None else twin)
        if twin is None:
            alike.append(entity)
            self._waiting.append((key, entity, path))
        return key

    def _node(self, key: Key, entity: Entity, path: str) -> Node:
        plan, data = plan_of(type(entity)), entity.__dict__
        references = {name: None if (child := data[name]) is None else self._key(child, below(path, name)) for name in plan.references}
        node = Node(key, path, entity, data, references, {} if plan.collections else _NONE, {} if plan.collections else _NONE)
        for collection in plan.collections:
            here, value = below(path, collection.name), data[collection.name]
            if collection.shape is dict:
                node.names[collection.name] = tuple(value)
                node.collections[collection.name] = [self._key(child, member(here, name)) for name, child in value.items()]
            else:
                node.collections[collection.name] = [self._key(child, member(here, place)) for place, child in enumerate(value)]
        return node


_NONE: dict[str, Any] = {}
"""Shared by the many nodes without collections, and never filled."""


def changed_fields(node: Node, base: Node) -> frozenset[str]:
    """The fields that are not as in `base`; of what is referred to, only which it is counts."""
    if node.entity is base.entity:
        return frozenset()
    plan = plan_of(type(node.entity))
    values = () if _on_one_version(node.entity, base.entity) else plan.values
    names = (*values, *plan.mutable, *plan.references, *(collection.name for collection in plan.collections))
    return frozenset(name for name in names if not agree(name, node, base))


def agree(name: str, one: Node, other: Node) -> bool:
    """Whether a field is the same in both."""
    if name in one.references:
        return one.references[name] == other.references[name]
    if name in one.collections:
        return one.collections[name] == other.collections[name] and one.names.get(name) == other.names.get(name)
    return is_same(type(one.entity), name, one.data[name], other.data[name])


def is_same(cls: type[Entity], field: str, one: Any, other: Any) -> bool:
    """Whether two values of a field are stored equally."""
    return one is other or same_value(cls, field, one, other)


def above(children: Mapping[Key, Iterable[Key]], keys: Iterable[Key]) -> set[Key]:
    """`keys` and every key that reaches one of them."""
    holders: dict[Key, list[Key]] = {}
    for key, below_it in children.items():
        for child in below_it:
            holders.setdefault(child, []).append(key)
    reached = set(keys)
    queue = list(reached)
    while queue:
        for holder in holders.get(queue.pop(), ()):
            if holder not in reached:
                reached.add(holder)
                queue.append(holder)
    return reached


def reach(children: Mapping[Key, Iterable[Key]], start: Key) -> set[Key]:
    """`start` and every key that it reaches."""
    reached = {start}
    queue = [start]
    while queue:
        for child in children.get(queue.pop(), ()):
            if child not in reached:
                reached.add(child)
                queue.append(child)
    return reached


def below(path: str, field: str) -> str:
    """The path of a field of the entity at `path`."""
    return f"{path}.{field}" if path else field


def member(path: str, place: int | str) -> str:
    """The path of a member of the collection at `path`."""
    return f"{path}[{place if isinstance(place, int) else json.dumps(place, ensure_ascii=False)}]"


def _on_one_version(one: Entity, other: Entity) -> bool:
    """Whether both stand on one version and were not assigned to since."""
    return one.ecs_id == other.ecs_id and all(
        (state := state_of(entity)) is not None and entity.__dict__ is state.data for entity in (one, other)
    )


def _is_copy(one: Entity, other: Entity) -> bool:
    return one.ecs_id == other.ecs_id and not diff_entities(one, other)
