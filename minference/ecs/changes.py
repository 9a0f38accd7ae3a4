"""What changed since the last save: exactly, and for the price of the change.

Each stored object has a `State`: the version that it stands on, and what that version holds. A scan compares the
objects under a root with their states. One logical change makes every ancestor changed too.

The usual turn (the root changed, or new entities were added to it) is answered without visiting the rest: the root
keeps a `Watch` over everything below it, which becomes stale as soon as any of that is assigned to or saved elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from minference.ecs.entity import Entity, plan_of, state_of
from minference.ecs.exactness import same_time
from minference.ecs.likeness import exactly, same_elements, same_fields
from minference.ecs.plan import CollectionField, EntityPlan
from minference.ecs.sameness import same_objects
from minference.ecs.state import Ledger, State, Version, Watch
from minference.ecs.values import dump_json, reads_back
from minference.errors import WrongMember

_EMPTY: dict[type, bytes] = {dict: b"{}", list: b"[]"}
"""What is written of what holds nothing."""

_Holder = tuple[Entity, Sequence[Entity]]
"""An entity and what it holds."""


def has_changes(root: Entity, ledger: Ledger) -> bool:
    """Whether saving `root` would make a version of anything."""
    return bool(find_changes(root, ledger).changed)


def find_changes(root: Entity, ledger: Ledger) -> Findings:
    """What changed under `root`.

    Raises:
        WrongMember: A collection holds something that is no entity.
    """
    found = _fast(root, ledger)
    return found if found is not None else find_changes_thoroughly(root, ledger)


def find_changes_thoroughly(root: Entity, ledger: Ledger) -> Findings:
    """The same by visiting everything under `root`, whatever is known of it."""
    if not plan_of(type(root)).types:
        return Findings([root], {id(root)} if _differs(root, ledger) else set(), cyclic=False, complete=True)
    order, holders = _walk([root], None)
    changed = _spread({id(entity) for entity in order if _differs(entity, ledger)}, holders)
    cyclic = any(child is root for _, children in holders for child in children)
    return Findings(order, changed, cyclic, complete=True)


@dataclass(slots=True)
class Findings:
    """What a scan saw: entities in an order with children first, and which of them changed."""

    order: list[Entity]
    changed: set[int]
    """`id()` of each changed entity; the objects are held by `order`."""
    cyclic: bool
    complete: bool
    """Whether the scan visited everything under the root."""
    kept: frozenset[str] = frozenset()
    """Collections of the root that are known to begin with all the members that they had: comparing long lists again would cost."""


def _fast(root: Entity, ledger: Ledger) -> Findings | None:
    """Findings from the root and what was newly added to it, or `None` if only a full scan can tell."""
    state = ledger.state_of(root)
    if state is None or (watch := state.watch) is None or watch.stale or watch.cyclic or state.cold:
        return None
    if any(_changed_in_place(entity, ledger) for entity in watch.inspect):
        return None
    kept = frozenset(each.name for each in plan_of(type(root)).collections if same_beginning(members_of(root, each), state, each))
    fresh = [child for child in _new_children(root, state, kept) if not _is_member(child, ledger, watch)]
    order, holders = _walk(fresh, lambda entity: _is_member(entity, ledger, watch))
    if any(entity is root for entity in order):
        return None
    changed = _spread({id(entity) for entity in order if _differs(entity, ledger)}, holders)
    if any(id(child) in changed for child in fresh) or _root_differs(root, state, ledger, kept):
        changed.add(id(root))
    return Findings([*order, root], changed, cyclic=False, complete=False, kept=kept)


def _is_member(entity: Entity, ledger: Ledger, watch: Watch) -> bool:
    state = ledger.state_of(entity)
    return state is not None and state.is_watched_by(watch)


def _new_children(root: Entity, state: State, kept: frozenset[str]) -> Iterator[Entity]:
    """Children that may not have been there at the last save: all, but for the unchanged beginning of a list."""
    plan = plan_of(type(root))
    for name in plan.references:
        if (child := root.__dict__[name]) is not None:
            yield child
    for collection in plan.collections:
        current = members_of(root, collection)
        for child in current[state.members[collection.name][2] :] if collection.name in kept else current:
            if not isinstance(child, Entity):
                raise WrongMember(type(root).__kind__, collection.name, child, ["Entity"])
            yield child


def _walk(starts: Iterable[Entity], skip: Callable[[Entity], bool] | None) -> tuple[list[Entity], list[_Holder]]:
    """Entities reachable from `starts`, children first, and those that hold others. Iterative: depth is no limit."""
    order: list[Entity] = []
    holders: list[_Holder] = []
    seen: set[int] = set()
    for start in starts:
        if id(start) in seen or (skip is not None and skip(start)):
            continue
        seen.add(id(start))
        children = _children(start)
        stack = [(start, children, iter(children))]
        while stack:
            entity, children, rest = stack[-1]
            for child in rest:
                if id(child) in seen:
                    continue
                if not isinstance(child, Entity):
                    raise WrongMember(type(entity).__kind__, "a collection", child, ["Entity"])
                if skip is not None and skip(child):
                    continue
                seen.add(id(child))
                if below := _children(child):
                    stack.append((child, below, iter(below)))
                    break
                order.append(child)
            else:
                order.append(entity)
                if children:
                    holders.append((entity, children))
                stack.pop()
    return order, holders


def _children(entity: Entity) -> Sequence[Entity]:
    """What the entity holds; nothing below a cold snapshot can have changed."""
    state = state_of(entity)
    return () if state is not None and state.cold else plan_of(type(entity)).children(entity)


def _spread(changed: set[int], holders: list[_Holder]) -> set[int]:
    """`id()` of the changed entities and of everything that reaches them."""
    # Holders come after what they hold, so that one round does it, unless there are cycles.
    goes_on = bool(changed)
    while goes_on:
        goes_on = False
        for entity, children in holders:
            if id(entity) not in changed and not changed.isdisjoint(map(id, children)):
                changed.add(id(entity))
                goes_on = True
    return changed


def _differs(entity: Entity, ledger: Ledger) -> bool:
    """Whether the entity itself is not as its version holds it, or has merged another; what its children hold does not matter here."""
    state = ledger.state_of(entity)
    if state is None:
        return True
    if state.cold:
        return False
    plan = plan_of(type(entity))
    if state.merging or _values_differ(entity, state, plan) or _references_differ(entity, state, plan, ledger):
        return True
    return bool(plan.collections) and any(_collection_differs(entity, collection, state, ledger) for collection in plan.collections)


def differs_itself(entity: Entity, ledger: Ledger | None = None) -> bool:
    """Whether the entity is new, or a value or member of its own is not as in the version that it stands on.

    Changes further down do not count. Unless a storage is named, that is the one that the entity was last saved to or loaded from.
    """
    if ledger is not None:
        return _differs(entity, ledger)
    state = state_of(entity)
    return state is None or _differs(entity, state.ledger)


def _collection_differs(entity: Entity, collection: CollectionField, state: State, ledger: Ledger) -> bool:
    _, versions, length = state.members[collection.name]
    current = members_of(entity, collection)
    if len(current) != length or [current_version(child, ledger) for child in current] != versions[:length]:
        return True
    return collection.shape is dict and keys_of(entity, collection) != state.keys[collection.name]


def _root_differs(root: Entity, state: State, ledger: Ledger, kept: frozenset[str]) -> bool:
    """`_differs` for a root none of whose known members changed."""
    plan = plan_of(type(root))
    if state.merging or _values_differ(root, state, plan) or _references_differ(root, state, plan, ledger):
        return True
    for collection in plan.collections:
        same = collection.name in kept and _is_no_longer(root, collection, state)
        if not same and _collection_differs(root, collection, state, ledger):
            return True
    return False


def _changed_in_place(entity: Entity, ledger: Ledger) -> bool:
    state = ledger.state_of(entity)
    if state is None:
        return True
    if state.cold:
        return False
    plan = plan_of(type(entity))
    return _json_differs(entity, state, plan) or any(not _same_objects(entity, each, state) for each in plan.collections)


def _same_objects(entity: Entity, collection: CollectionField, state: State) -> bool:
    return _is_no_longer(entity, collection, state) and same_beginning(members_of(entity, collection), state, collection)


def _is_no_longer(entity: Entity, collection: CollectionField, state: State) -> bool:
    """Whether a collection has as many members as at its version, under the same keys."""
    if len(entity.__dict__[collection.name]) != state.members[collection.name][2]:
        return False
    return collection.shape is not dict or keys_of(entity, collection) == state.keys[collection.name]


def _references_differ(entity: Entity, state: State, plan: EntityPlan, ledger: Ledger) -> bool:
    for name in plan.references:
        child, version = entity.__dict__[name], state.references[name]
        if child is None or version is None:
            if child is not version:
                return True
        elif current_version(child, ledger) != version:
            return True
    return False


def _values_differ(entity: Entity, state: State, plan: EntityPlan) -> bool:
    now, then = entity.__dict__, state.data
    if now is not then and any(not _same_value(now[name], then[name]) for name in plan.values):
        return True
    return _json_differs(entity, state, plan)


def _json_differs(entity: Entity, state: State, plan: EntityPlan) -> bool:
    cls, now, then = type(entity), entity.__dict__, state.data
    for name in plan.mutable:
        value, stored = now[name], state.json[name]
        if stored == _EMPTY.get(type(value)) and not value:
            continue
        if dump_json(cls, name, value) != stored:
            return True
        # What is written like the other arm of a union is no edit that may be dropped: the save will refuse it.
        if value is not then[name] and not reads_back(cls, name, value, stored):
            return True
    return False


def _same_value(one: Any, other: Any) -> bool:
    """Equal, and stored equally: True is not 1, 0.0 is not -0.0, and NaN is NaN."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    match one:
        case float() | Decimal():
            return repr(one) == repr(other)
        case datetime() | time():
            return same_time(one, other)
        case tuple():
            return len(one) == len(other) and all(map(_same_value, one, other))
        case frozenset():
            return exactly(one) == exactly(other) and (one == other or same_elements(one, other, _same_value))
        case BaseModel():
            alike = one == other or same_fields(one, other, _same_value)
            return alike and all(map(_same_value, one.__dict__.values(), other.__dict__.values()))
        case _:
            return bool(one == other)


def current_version(entity: Entity | None, ledger: Ledger) -> Version | None:
    """The version that the object stands on, if it has one here."""
    if entity is None:
        return None
    state = ledger.state_of(entity)
    return state.version if state is not None else None


def members_of(entity: Entity, collection: CollectionField) -> list[Entity]:
    """The entities of a collection, in order; not to be changed."""
    value = entity.__dict__[collection.name]
    return value if type(value) is list else collection.members(value)


def keys_of(entity: Entity, collection: CollectionField) -> tuple[str, ...]:
    """The keys of a keyed collection, in order."""
    return tuple(entity.__dict__[collection.name])


def same_beginning(members: list[Entity], old: State, field: CollectionField) -> bool:
    """Whether a collection begins with the objects that it held at its version."""
    objects, _, length = old.members[field.name]
    return begins_with(members, objects, length)


def begins_with(members: list[Entity], objects: list[Entity], length: int) -> bool:
    """Whether the first `length` of both are the same objects."""
    if len(members) < length:
        return False
    return same_objects(objects if len(objects) == length else objects[:length], members if len(members) == length else members[:length])
