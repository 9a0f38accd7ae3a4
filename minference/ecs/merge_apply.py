"""What was decided becomes objects: whose object stands for each entity, and on which version it stands."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from minference.ecs.cold import thaw
from minference.ecs.entity import Entity, plan_of, state_of
from minference.ecs.merge_graph import Graph, Key, Node, above


@dataclass(frozen=True, slots=True)
class Merged:
    """What an entity is to hold, and whether that is just what one side has."""

    node: Node
    is_ours: bool
    is_theirs: bool


def apply_merged(merged: Mapping[Key, Merged], ours: Graph, theirs: Graph, *, onto_theirs: bool, settled: Container[int] = ()) -> None:
    """Make the root of ours hold what was decided.

    An entity that is in everything below it as one side has it is represented by that side's object, so that it needs no
    new version. The others, and always the root, are our objects with new content; they stay on their versions or, with
    `onto_theirs`, come to stand on those of theirs, but for the settled ones.
    """
    stays = {key for key, node in ours.nodes.items() if id(node.entity) in settled} if settled else set[Key]()
    whole_ours, whole_theirs = _whole(merged, ours, theirs, stays, onto_theirs=onto_theirs)
    objects: dict[Key, Entity] = {}
    for key in merged:
        mine, yours = (graph.nodes[key].entity if key in graph.nodes else None for graph in (ours, theirs))
        keeps_mine = key in whole_ours or (key not in whole_theirs and mine is not None and not _is_cold(mine))
        chosen = mine if keeps_mine or yours is None else yours
        assert chosen is not None, "only what one side holds was merged"
        objects[key] = chosen
    for key, decided in merged.items():
        if key in whole_ours or _is_cold(objects[key]):
            continue
        if onto_theirs and key not in stays and key not in whole_theirs and key in ours.nodes and key in theirs.nodes:
            stand_on(objects[key], theirs.entity(key))
        _fill(objects[key], decided.node, objects)


def _is_cold(entity: Entity) -> bool:
    """Whether the object pins a version: a warm tree may hold cold snapshots."""
    state = state_of(entity)
    return state is not None and state.cold


def _whole(merged: Mapping[Key, Merged], ours: Graph, theirs: Graph, stays: set[Key], *, onto_theirs: bool) -> tuple[set[Key], set[Key]]:
    """The entities that are with all below them as ours (as theirs) has them; one that is both is of one version."""
    as_ours = {key for key, decided in merged.items() if decided.is_ours} - {ours.root}
    as_theirs = {key for key, decided in merged.items() if decided.is_theirs} - {ours.root} - stays
    twice = {key for key in as_ours & as_theirs if ours.entity(key).ecs_id != theirs.entity(key).ecs_id}
    children = {key: list(decided.node.children()) for key, decided in merged.items()}

    def closed(keys: set[Key]) -> set[Key]:
        return keys - above(children, children.keys() - keys)

    if onto_theirs:
        whole_theirs = closed(as_theirs)
        return closed(as_ours - (twice & whole_theirs)), whole_theirs
    whole_ours = closed(as_ours)
    return whole_ours, closed(as_theirs - (twice & whole_ours))


def stand_on(entity: Entity, other: Entity) -> None:
    """Let an object stand on the version of another of its lineage, still with its own content, which is now a change."""
    state, before = state_of(other), state_of(entity)
    identity = {name: other.__dict__[name] for name in ("ecs_id", "parent_id", "created_at")}
    object.__setattr__(entity, "__dict__", {**entity.__dict__, **identity})
    if state is None:
        return
    fresh = state.alike()
    if before is not None:
        fresh.watchers, fresh.merging = before.watchers, before.merging
        before.notify()
    state.ledger.install(entity, fresh)


def _fill(entity: Entity, node: Node, objects: Mapping[Key, Entity]) -> None:
    """Give the object the decided content, in one step: validators of the class have seen it as a whole."""
    plan, before = plan_of(type(entity)), entity.__dict__
    fields: dict[str, Any] = {name: node.data[name] for name in plan.values}
    fields |= {name: value if (value := node.data[name]) is before[name] else thaw(value) for name in plan.mutable}
    fields |= {name: None if key is None else objects[key] for name, key in node.references.items()}
    for collection in plan.collections:
        members = [objects[key] for key in node.collections[collection.name]]
        names = node.names.get(collection.name)
        value = collection.build(members, list(names) if names is not None else None)
        _answer(entity, collection.name, members)
        fields[collection.name] = before[collection.name] if _is_as_before(before[collection.name], value) else value
    for name in plan.references:
        if (child := fields[name]) is not None:
            _answer(entity, name, [child])
    changed = {name: value for name, value in fields.items() if before[name] is not value}
    if changed:
        if (state := state_of(entity)) is not None:
            state.touch(before)
        object.__setattr__(entity, "__dict__", {**before, **changed})
        entity.__pydantic_fields_set__.update(changed)


def _is_as_before(before: Any, value: Any) -> bool:
    """Whether two collections hold the same objects, under the same keys."""
    if isinstance(value, dict):
        return list(before) == list(value) and _is_as_before(list(before.values()), list(value.values()))
    return len(before) == len(value) and all(one is other for one, other in zip(before, value, strict=True))


def _answer(owner: Entity, field: str, children: list[Entity]) -> None:
    """Let the weak inverses of `field` show the owner."""
    for cls in {type(child) for child in children}:
        for name, inverse in plan_of(cls).back_references:
            if inverse == field:
                for child in children:
                    if type(child) is cls:
                        child.__dict__[name] = owner
