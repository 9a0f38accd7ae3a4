"""New versions in the making: what is to be written, taken from live objects in one consistent cut.

`capture` gives each changed entity and each of its ancestors one new version, children first, without any I/O or await.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from minference.ecs.blob_fields import blobs_in
from minference.ecs.blobs import Blob
from minference.ecs.changes import (
    Findings,
    begins_with,
    current_version,
    find_changes,
    find_changes_thoroughly,
    keys_of,
    members_of,
)
from minference.ecs.entity import Entity, frozen, plan_of, state_of
from minference.ecs.identity import utc_now, uuid7
from minference.ecs.plan import is_opaque
from minference.ecs.shapes import Shape
from minference.ecs.state import Ledger, State, Version, Watch
from minference.ecs.values import dump_json, verify_json, verify_plain
from minference.errors import WrongMember

_TICK = timedelta(microseconds=1)
_Members = tuple[list[Entity], list[Version], int]


class SequenceEdit(NamedTuple):
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
    json: Mapping[str, bytes]
    references: Mapping[str, Version | None]
    edits: Mapping[str, SequenceEdit]
    keys: Mapping[str, tuple[str, ...]]
    blobs: tuple[Blob, ...]
    """What the values refer to."""
    undo: Callable[[], None]
    """Put the live object back on the version before, still holding its changes."""
    opaque: Shape | None = None
    """For an imported version of a kind that the program does not define: its shape. All values are in `json` then."""
    erased_at: datetime | None = None
    """Of an imported version: when its content was erased, which it comes without."""

    @property
    def form(self) -> type[Entity] | Shape:
        """As what it is written."""
        return self.opaque if self.opaque is not None else type(self.entity)


class _Before(NamedTuple):
    """What was known of an object before it got its new version."""

    old: State | None
    """Its state in this storage."""
    current: State | None
    """The same, or that of the storage to which it was saved last."""
    identity: dict[str, Any]


def capture(roots: Sequence[Entity], ledger: Ledger) -> list[Draft]:
    """Drafts of everything that changed under `roots`, children first; the objects stand on the new versions at once.

    Raises:
        UnstorableValue: A value was changed in place into something that cannot be stored. No object was changed.
        WrongMember: A collection holds what its annotation does not allow. No object was changed.
        FrozenSnapshot: A cold snapshot of another storage is among what is to be saved. No object was changed.
        StillPending: A storage on the same database has yet to write what is to be built upon. No object was changed.
    """
    drafts: list[Draft] = []
    now = utc_now()
    try:
        for root in roots:
            found = find_changes(root, ledger)
            drafts.extend(_draft(found, ledger, now))
            _renew_watch(root, found, ledger)
    except BaseException:
        for draft in reversed(drafts):
            draft.undo()
        raise
    return drafts


def _draft(found: Findings, ledger: Ledger, now: datetime) -> list[Draft]:
    """Drafts of the changed entities. All that can fail comes before the first object is given its new version."""
    entities = [entity for entity in found.order if id(entity) in found.changed]
    root = found.order[-1]
    before = [_before(entity, ledger) for entity in entities]
    kept = [found.kept if entity is root else frozenset[str]() for entity in entities]
    values = [_storable(entity, was, names) for entity, was, names in zip(entities, before, kept, strict=True)]
    diverged = _diverged(entities, before, root)
    for entity in found.order:
        ledger.claim(entity)
    states = [
        _advance(entity, was.old, ledger, now, renamed=id(entity) in diverged, is_root=entity is root)
        for entity, was in zip(entities, before, strict=True)
    ]
    for state, json in zip(states, values, strict=True):
        state.json = json
    return [_fill(entity, was, state, ledger, kept=names) for entity, was, state, names in zip(entities, before, states, kept, strict=True)]


def _before(entity: Entity, ledger: Ledger) -> _Before:
    current, data = state_of(entity), entity.__dict__
    old = current if current is None or current.ledger is ledger else ledger.state_of(entity)
    return _Before(old, current, {"ecs_id": data["ecs_id"], "parent_id": data["parent_id"], "created_at": data["created_at"]})


def _diverged(entities: list[Entity], before: list[_Before], root: Entity) -> set[int]:
    """Entities that are new here and no longer as another storage holds them, so that their id stands for something else."""
    elsewhere = {
        id(entity): was.current for entity, was in zip(entities, before, strict=True) if was.old is None and was.current is not None
    }
    changed = {other: find_changes_thoroughly(root, other).changed for other in {state.ledger for state in elsewhere.values()}}
    return {key for key, state in elsewhere.items() if key in changed[state.ledger]}


def _storable(entity: Entity, was: _Before, kept: frozenset[str]) -> dict[str, bytes]:
    """The stored form of the values that can change in place; proves that it can be read back."""
    cls, plan, data, old = type(entity), plan_of(type(entity)), entity.__dict__, was.old
    if cls.__opaque__ or (was.current is not None and was.current.cold):
        raise frozen(entity, "ecs_id")
    for field in plan.collections:
        members = members_of(entity, field)
        for child in members[old.members[field.name][2] :] if old is not None and field.name in kept else members:
            if not isinstance(child, allowed := plan.types[field.name]) and not is_opaque(child):
                raise WrongMember(cls.__kind__, field.name, child, [each.__name__ for each in allowed])
    verify_plain(cls, data)
    dumped = {name: dump_json(cls, name, data[name]) for name in plan.mutable}
    for name, json in dumped.items():
        if old is None or old.json[name] != json:
            verify_json(cls, name, data[name], json)
    for name in plan.ambiguous:
        if old is None or old.data[name] is not data[name]:
            verify_json(cls, name, data[name], dump_json(cls, name, data[name]))
    return dumped


def _advance(entity: Entity, old: State | None, ledger: Ledger, now: datetime, *, renamed: bool, is_root: bool) -> State:
    """Give the object its new version; what that version holds is filled in when all changed objects have theirs."""
    data = entity.__dict__
    if old is not None:
        # Never before its parent, whatever the clocks of two machines say.
        data.update(ecs_id=uuid7(), parent_id=old.version.ecs_id, created_at=max(now, old.version.created_at + _TICK))
    elif renamed:
        data.update(ecs_id=uuid7(), parent_id=None, created_at=now)
    else:
        data.update(parent_id=None)
    version = Version(data["ecs_id"], data["lineage_id"], data["created_at"])
    state = State(ledger, version, data)
    if old is not None:
        # Its own watch would not cover what it holds now; if it is the root, `_renew_watch` sees to that.
        state.watchers, state.watch = old.watchers, old.watch if is_root else None
        old.notify()
    ledger.install(entity, state)
    return state


def _fill(entity: Entity, was: _Before, state: State, ledger: Ledger, *, kept: frozenset[str]) -> Draft:
    old = was.old
    plan, data = plan_of(type(entity)), entity.__dict__
    state.references = {name: current_version(data[name], ledger) for name in plan.references}
    members: dict[str, _Members] = {}
    edits: dict[str, SequenceEdit] = {}
    for collection in plan.collections:
        before = old.members[collection.name] if old else None
        now = _edit(members_of(entity, collection), before, ledger, kept=collection.name in kept)
        members[collection.name], edits[collection.name] = now
    state.members = members
    state.keys = {collection.name: keys_of(entity, collection) for collection in plan.collections if collection.shape is dict}
    previous = old.version if old is not None else None
    undo = partial(ledger.withdraw, entity, state, was.old, was.current, was.identity)
    blobs = tuple(blobs_in(type(entity), data))
    return Draft(entity, state.version, previous, data, state.json, state.references, edits, state.keys, blobs, undo)


def _edit(current: list[Entity], old: _Members | None, ledger: Ledger, *, kept: bool) -> tuple[_Members, SequenceEdit]:
    """The members of a collection, and how they came from the previous ones; `kept`: those are all there, none with a new version."""
    # Lists of what is loaded empty are shared, and those of others are extended in place.
    objects, versions, length = old if old is not None and old[2] else ([], [], 0)
    continues = len(objects) == length and (kept or begins_with(current, objects, length))
    if continues and (kept or [current_version(child, ledger) for child in objects] == versions):
        added = [_known(child, ledger) for child in current[length:]]
        objects.extend(current[length:])
        versions.extend(added)
        edit = SequenceEdit(length, added, 0, length, versions, len(current))
        return (objects, versions, len(current)), edit
    now = [_known(child, ledger) for child in current]
    head = 0
    while head < min(length, len(now)) and now[head] == versions[head]:
        head += 1
    tail = 0
    while tail < min(length, len(now)) - head and now[-1 - tail] == versions[length - 1 - tail]:
        tail += 1
    edit = SequenceEdit(head, now[head : len(now) - tail], tail, length, now, len(now))
    return (list(current), now, len(now)), edit


def _known(entity: Entity, ledger: Ledger) -> Version:
    state = ledger.state_of(entity)
    assert state is not None, "children have their versions before their parents are drafted"
    return state.version


def _renew_watch(root: Entity, found: Findings, ledger: Ledger) -> None:
    """Watch everything below the root as it is now. What was assigned to and proved equal counts as untouched again."""
    state = ledger.state_of(root)
    assert state is not None, "a captured root has a state"
    watch = state.watch
    if found.complete or watch is None:
        if watch is not None:
            watch.is_over = True
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
        if plan_of(type(entity)).changes_in_place:
            watch.inspect.append(entity)
