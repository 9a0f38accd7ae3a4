"""What changed since the last save: exactly, and for the price of the change.

Each stored object has a `State`: the version that it stands on, and what that version holds. `capture` compares the
objects under some roots with their states and makes a `Draft` of each new version, children first, without any I/O or
await: a consistent cut. One logical change gives one new version to each changed entity and to each of its ancestors.

The usual turn (the root changed, or new entities were added to it) is answered without visiting the rest: the root
keeps a `Watch` over everything below it, which becomes stale as soon as any of that is assigned to or saved elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from minference.ecs.entity import Entity, plan_of, state_of
from minference.ecs.identity import utc_now, uuid7
from minference.ecs.plan import CollectionField, EntityPlan
from minference.ecs.state import Ledger, State, Version, Watch
from minference.ecs.values import dump_json

_Members = tuple[list[Entity], list[Version], int]


@dataclass(frozen=True, slots=True)
class SequenceEdit:
    """How an ordered field came from that of the previous version: its head, new members, its tail."""

    head: int
    middle: list[Version]
    tail: int
    old_length: int
    versions: list[Version]
    """All members, in a list that only grows; the first `length` count."""
    length: int

    @property
    def is_unchanged(self) -> bool:
        """Whether the members are the same as before."""
        return not self.middle and self.head + self.tail == self.old_length


@dataclass(slots=True, eq=False)
class Draft:
    """One new version, ready to be written."""

    entity: Entity
    version: Version
    previous: Version | None
    data: dict[str, Any]
    json: dict[str, bytes]
    references: dict[str, Version | None]
    edits: dict[str, SequenceEdit]
    keys: dict[str, tuple[str, ...]]
    undo: Callable[[], None]
    """Put the live object back on the version before, still holding its changes."""


def capture(roots: Sequence[Entity], ledger: Ledger) -> list[Draft]:
    """Drafts of everything that changed under `roots`, children first; the objects stand on the new versions at once."""
    drafts: list[Draft] = []
    now = utc_now()
    for root in roots:
        found = _fast(root, ledger)
        if found is None:
            found = _full(root, ledger)
        drafts.extend(_draft(found, ledger, now))
        _renew_watch(root, found, ledger)
    return drafts


def has_changes(root: Entity, ledger: Ledger) -> bool:
    """Whether saving `root` would make a version of anything."""
    found = _fast(root, ledger)
    return bool((found if found is not None else _full(root, ledger)).changed)


@dataclass(slots=True)
class _Findings:
    """What a scan saw: entities in an order with children first, and which of them changed."""

    order: list[Entity]
    changed: set[int]
    """`id()` of each changed entity; the objects are held by `order`."""
    cyclic: bool
    complete: bool
    """Whether the scan visited everything under the root."""


def _fast(root: Entity, ledger: Ledger) -> _Findings | None:
    """Findings from the root and what was newly added to it, or `None` if only a full scan can tell."""
    state = ledger.state_of(root)
    if state is None or (watch := state.watch) is None or watch.stale or watch.cyclic:
        return None
    if any(_changed_in_place(entity, ledger) for entity in watch.inspect):
        return None
    fresh = [child for child in _new_children(root, state) if not _is_member(child, ledger, watch)]
    order, dependents = _walk(fresh, lambda entity: _is_member(entity, ledger, watch))
    if any(entity is root for entity in order):
        return None
    changed = _spread([entity for entity in order if _differs(entity, ledger)], dependents)
    if any(id(child) in changed for child in fresh) or _root_differs(root, state, ledger):
        changed.add(id(root))
    return _Findings([*order, root], changed, cyclic=False, complete=False)


def _full(root: Entity, ledger: Ledger) -> _Findings:
    order, dependents = _walk([root], lambda _entity: False)
    changed = _spread([entity for entity in order if _differs(entity, ledger)], dependents)
    return _Findings(order, changed, cyclic=id(root) in dependents, complete=True)


def _is_member(entity: Entity, ledger: Ledger, watch: Watch) -> bool:
    state = ledger.state_of(entity)
    return state is not None and state.is_watched_by(watch)


def _new_children(root: Entity, state: State) -> Iterator[Entity]:
    """Children that may not have been there at the last save: all, but for the unchanged beginning of a list."""
    plan = plan_of(type(root))
    for name in plan.references:
        if (child := root.__dict__[name]) is not None:
            yield child
    for collection in plan.collections:
        current = _members(root, collection)
        objects, _, length = state.members[collection.name]
        same_beginning = len(current) >= length and current[:length] == objects[:length]
        yield from current[length:] if same_beginning else current


def _walk(starts: Iterable[Entity], skip: Callable[[Entity], bool]) -> tuple[list[Entity], dict[int, list[Entity]]]:
    """Entities reachable from `starts`, children first, and who refers to each. Iterative: depth is no limit."""
    order: list[Entity] = []
    dependents: dict[int, list[Entity]] = {}
    seen: set[int] = set()
    for start in starts:
        if id(start) in seen or skip(start):
            continue
        seen.add(id(start))
        stack = [(start, plan_of(type(start)).children(start))]
        while stack:
            entity, children = stack[-1]
            for child in children:
                dependents.setdefault(id(child), []).append(entity)
                if id(child) not in seen and not skip(child):
                    seen.add(id(child))
                    stack.append((child, plan_of(type(child)).children(child)))
                    break
            else:
                order.append(entity)
                stack.pop()
    return order, dependents


def _spread(changed: list[Entity], dependents: dict[int, list[Entity]]) -> set[int]:
    """The changed entities and everything that reaches them."""
    reached = {id(entity) for entity in changed}
    queue = list(changed)
    while queue:
        for parent in dependents.get(id(queue.pop()), ()):
            if id(parent) not in reached:
                reached.add(id(parent))
                queue.append(parent)
    return reached


def _differs(entity: Entity, ledger: Ledger) -> bool:
    """Whether the entity itself is not as its version holds it; what its children hold does not matter here."""
    state = ledger.state_of(entity)
    if state is None:
        return True
    plan = plan_of(type(entity))
    return (
        _values_differ(entity, state, plan)
        or any(_current(entity.__dict__[name], ledger) is not state.references[name] for name in plan.references)
        or any(_collection_differs(entity, collection, state, ledger) for collection in plan.collections)
    )


def _collection_differs(entity: Entity, collection: CollectionField, state: State, ledger: Ledger) -> bool:
    _, versions, length = state.members[collection.name]
    current = _members(entity, collection)
    if len(current) != length or [_current(child, ledger) for child in current] != versions[:length]:
        return True
    return collection.shape is dict and _keys(entity, collection) != state.keys[collection.name]


def _root_differs(root: Entity, state: State, ledger: Ledger) -> bool:
    """`_differs` for a root none of whose known members changed."""
    plan = plan_of(type(root))
    if _values_differ(root, state, plan):
        return True
    if any(_current(root.__dict__[name], ledger) is not state.references[name] for name in plan.references):
        return True
    for collection in plan.collections:
        if not _same_objects(root, collection, state) and _collection_differs(root, collection, state, ledger):
            return True
    return False


def _changed_in_place(entity: Entity, ledger: Ledger) -> bool:
    state = ledger.state_of(entity)
    if state is None:
        return True
    plan = plan_of(type(entity))
    return _json_differs(entity, state, plan) or any(not _same_objects(entity, each, state) for each in plan.collections)


def _same_objects(entity: Entity, collection: CollectionField, state: State) -> bool:
    objects, _, length = state.members[collection.name]
    current = _members(entity, collection)
    if len(current) != length or current != objects[:length]:
        return False
    return collection.shape is not dict or _keys(entity, collection) == state.keys[collection.name]


def _values_differ(entity: Entity, state: State, plan: EntityPlan) -> bool:
    now, then = entity.__dict__, state.data
    if now is not then and any(not _same_value(now[name], then[name]) for name in plan.values):
        return True
    return _json_differs(entity, state, plan)


def _json_differs(entity: Entity, state: State, plan: EntityPlan) -> bool:
    cls, data = type(entity), entity.__dict__
    return any(dump_json(cls, name, data[name]) != state.json[name] for name in plan.mutable)


def _same_value(one: Any, other: Any) -> bool:
    """Equal, and stored equally: True is not 1, 0.0 is not -0.0, and NaN is NaN."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same_value, one, other))
    return bool(one == other)


def _current(entity: Entity | None, ledger: Ledger) -> Version | None:
    if entity is None:
        return None
    state = ledger.state_of(entity)
    return state.version if state is not None else None


def _members(entity: Entity, collection: CollectionField) -> list[Entity]:
    value = entity.__dict__[collection.name]
    return value if type(value) is list else collection.members(value)


def _keys(entity: Entity, collection: CollectionField) -> tuple[str, ...]:
    return tuple(entity.__dict__[collection.name])


def _draft(found: _Findings, ledger: Ledger, now: datetime) -> list[Draft]:
    entities = [entity for entity in found.order if id(entity) in found.changed]
    before = [(ledger.state_of(entity), _identity(entity)) for entity in entities]
    states = [_advance(entity, state, ledger, now) for entity, (state, _) in zip(entities, before, strict=True)]
    return [
        _fill(entity, old, state, identity, ledger, known=not found.complete and entity is found.order[-1])
        for entity, (old, identity), state in zip(entities, before, states, strict=True)
    ]


def _identity(entity: Entity) -> dict[str, Any]:
    data = entity.__dict__
    return {"ecs_id": data["ecs_id"], "parent_id": data["parent_id"], "created_at": data["created_at"]}


def _advance(entity: Entity, old: State | None, ledger: Ledger, now: datetime) -> State:
    """Give the object its new version; what that version holds is filled in when all changed objects have theirs."""
    data = entity.__dict__
    elsewhere = state_of(entity) if old is None else None
    if old is not None or (elsewhere is not None and elsewhere.data is not data):
        data.update(ecs_id=uuid7(), parent_id=data["ecs_id"], created_at=now)
    version = Version(data["ecs_id"], data["lineage_id"], data["created_at"])
    ledger.versions[version.ecs_id] = version
    state = State(ledger, version, data)
    if old is not None:
        state.watchers, state.watch = old.watchers, old.watch
        old.notify()
    ledger.install(entity, state)
    return state


def _fill(entity: Entity, old: State | None, state: State, identity: dict[str, Any], ledger: Ledger, *, known: bool) -> Draft:
    cls, plan, data = type(entity), plan_of(type(entity)), entity.__dict__
    state.json = {name: dump_json(cls, name, data[name]) for name in plan.mutable}
    state.references = {name: _current(data[name], ledger) for name in plan.references}
    edits: dict[str, SequenceEdit] = {}
    for collection in plan.collections:
        members, edit = _edit(_members(entity, collection), old.members[collection.name] if old else None, ledger, known=known)
        state.members[collection.name], edits[collection.name] = members, edit
        if collection.shape is dict:
            state.keys[collection.name] = _keys(entity, collection)
    previous = old.version if old is not None else None
    undo = _undo(entity, old, state, identity)
    return Draft(entity, state.version, previous, data, state.json, state.references, edits, state.keys, undo)


def _edit(current: list[Entity], old: _Members | None, ledger: Ledger, *, known: bool) -> tuple[_Members, SequenceEdit]:
    """The members of a collection, and how they came from the previous ones; `known`: none of those has a new version."""
    objects, versions, length = old if old is not None else ([], [], 0)
    added = [_known(child, ledger) for child in current[length:]]
    same_beginning = len(objects) == length <= len(current) and current[:length] == objects
    if same_beginning and (known or [_current(child, ledger) for child in objects] == versions):
        objects.extend(current[length:])
        versions.extend(added)
        edit = SequenceEdit(length, added, 0, length, versions, len(current))
        return (objects, versions, len(current)), edit
    now = [_known(child, ledger) for child in current]
    head = 0
    while head < min(length, len(now)) and now[head] is versions[head]:
        head += 1
    tail = 0
    while tail < min(length, len(now)) - head and now[-1 - tail] is versions[length - 1 - tail]:
        tail += 1
    edit = SequenceEdit(head, now[head : len(now) - tail], tail, length, now, len(now))
    return (list(current), now, len(now)), edit


def _known(entity: Entity, ledger: Ledger) -> Version:
    state = ledger.state_of(entity)
    assert state is not None, "children have their versions before their parents are drafted"
    return state.version


def _undo(entity: Entity, old: State | None, state: State, identity: dict[str, Any]) -> Callable[[], None]:
    lengths = {name: length for name, (_, _, length) in old.members.items()} if old is not None else {}

    def undo() -> None:
        entity.__dict__.update(identity)
        state.notify()
        if old is None:
            object.__setattr__(entity, "__ecs_state__", None)
            return
        for name, length in lengths.items():
            objects, versions, _ = old.members[name]
            del objects[length:]
            del versions[length:]
        old.watch = None
        object.__setattr__(entity, "__ecs_state__", old)

    return undo


def _renew_watch(root: Entity, found: _Findings, ledger: Ledger) -> None:
    """Watch everything below the root as it is now. What was assigned to and proved equal counts as untouched again."""
    state = ledger.state_of(root)
    assert state is not None, "a captured root has a state"
    watch = state.watch
    if found.complete or watch is None:
        watch = state.watch = Watch()
        watch.cyclic = found.cyclic
    watch.stale = False
    for entity in found.order:
        below = ledger.state_of(entity)
        assert below is not None, "everything under a captured root has a state"
        below.data = entity.__dict__
        if entity is root:
            continue
        below.join(watch)
        plan = plan_of(type(entity))
        if plan.mutable or plan.collections:
            watch.inspect.append(entity)
