"""New versions in the making: what is to be written, taken from live objects in one consistent cut.

`capture` gives each changed entity and each of its ancestors one new version, children first, without any I/O or await.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from minference.ecs.blob_fields import blobs_in
from minference.ecs.blobs import Blob
from minference.ecs.changes import (
    Findings,
    begins_with,
    current_version,
    find_changes,
    find_changes_thoroughly,
    members_of,
)
from minference.ecs.entity import Entity, frozen, plan_of, state_of
from minference.ecs.exactness import is_doubtful
from minference.ecs.identity import utc_now, uuid7
from minference.ecs.plain import verify_plain
from minference.ecs.plan import is_opaque
from minference.ecs.sequence_edit import SequenceEdit, edit_between
from minference.ecs.shapes import Shape, refuse_redefined
from minference.ecs.state import NOTHING, Ledger, State, Version, Watch
from minference.ecs.values import dump_json, verify_json
from minference.errors import WrongMember

_TICK = timedelta(microseconds=1)
_NO_NAMES = frozenset[str]()
_Members = tuple[list[Entity], list[Version], int]

_NO_EDITS: Mapping[str, SequenceEdit] = NOTHING
_NONE_HELD: _Members = ([], [], 0)
_NO_EDIT = SequenceEdit(0, [], 0, 0, [], 0)


@cache
def _nothing_held(cls: type[Entity]) -> tuple[Mapping[str, _Members], Mapping[str, SequenceEdit]]:
    """The members, and how they came from none, where there are none."""
    names = [collection.name for collection in plan_of(cls).collections]
    return dict.fromkeys(names, _NONE_HELD), dict.fromkeys(names, _NO_EDIT)


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
    blobs: Sequence[Blob]
    """What the values refer to."""
    opaque: Shape | None = None
    """For an imported version of a kind that the program does not define: its shape. All values are in `json` then."""
    erased_at: datetime | None = None
    """Of an imported version: when its content was erased, which it comes without."""
    merged: tuple[Version, ...] = ()
    """The versions of other branches that were merged into it."""

    @property
    def form(self) -> type[Entity] | Shape:
        """As what it is written."""
        return self.opaque if self.opaque is not None else type(self.entity)

    def undo(self) -> None:
        """Put the live object back on the version before, still holding its changes. On an imported version none stands."""


class _Making(Draft):
    """The draft of a live object that changed. It is made in three steps, each for all of them before the next."""

    __slots__ = ("current", "identity", "ledger", "old", "plan", "state")

    def __init__(self, entity: Entity, ledger: Ledger, kept: frozenset[str]) -> None:
        """Look at the object: all that can fail comes before the first one is given its new version."""
        current = state_of(entity)
        self.entity, self.ledger, self.plan = entity, ledger, plan_of(type(entity))
        self.current = current
        """Its state in the storage to which it was saved last."""
        self.old = current if current is None or current.ledger is ledger else ledger.state_of(entity)
        """Its state in this storage."""
        self.json = _storable(self, kept)
        self.opaque, self.erased_at = None, None

    def advance(self, now: datetime, *, renamed: bool, is_root: bool) -> None:
        """Give the object its new version; what that version holds is filled in when all changed objects have theirs."""
        old, data = self.old, self.entity.__dict__
        self.identity: Mapping[str, Any] = NOTHING
        """The fields of its identity, if it gets others."""
        if old is not None or renamed or data["parent_id"] is not None:
            self.identity = {"ecs_id": data["ecs_id"], "parent_id": data["parent_id"], "created_at": data["created_at"]}
        if old is not None:
            # Never before its parent, whatever the clocks of two machines say.
            data.update(ecs_id=uuid7(), parent_id=old.version.ecs_id, created_at=max(now, old.version.created_at + _TICK))
        elif renamed:
            data.update(ecs_id=uuid7(), parent_id=None, created_at=now)
        else:
            data["parent_id"] = None
        self.version = Version(data["ecs_id"], data["lineage_id"], data["created_at"])
        state = self.state = State(self.ledger, self.version, data)
        state.json = self.json
        if old is not None:
            # Its own watch would not cover what it holds now; if it is the root, `_renew_watch` sees to that.
            state.watchers, state.watch = old.watchers, old.watch if is_root else None
            old.notify()
        self.ledger.install(self.entity, state)

    def fill(self, kept: frozenset[str]) -> None:
        """Note what the new version holds. The collections in `kept` begin with all that they held before."""
        entity, plan, state, old, ledger = self.entity, self.plan, self.state, self.old, self.ledger
        self.data = data = entity.__dict__
        if plan.references:
            state.references = {name: current_version(data[name], ledger) for name in plan.references}
        self.edits = _NO_EDITS
        if plan.collections:
            if old is None and not any(data[collection.name] for collection in plan.collections):
                state.members, self.edits = _nothing_held(type(entity))
            else:
                self._fill_collections(kept)
            if plan.keyed:
                state.keys = {name: tuple(data[name]) for name in plan.keyed}
        self.references, self.keys = state.references, state.keys
        self.previous, self.merged = (old.version, old.merging) if old is not None else (None, ())
        self.blobs = blobs_in(type(entity), data)

    def _fill_collections(self, kept: frozenset[str]) -> None:
        members: dict[str, _Members] = {}
        edits: dict[str, SequenceEdit] = {}
        for collection in self.plan.collections:
            name, before = collection.name, None if self.old is None else self.old.members[collection.name]
            members[name], edits[name] = _edit(members_of(self.entity, collection), before, self.ledger, kept=name in kept)
        self.state.members, self.edits = members, edits

    def undo(self) -> None:
        """See `Draft.undo`."""
        self.ledger.withdraw(self.entity, self.state, self.old, self.current, self.identity)


def capture(roots: Sequence[Entity], ledger: Ledger) -> list[Draft]:
    """Drafts of everything that changed under `roots`, children first; the objects stand on the new versions at once.

    Raises:
        UnstorableValue: A value was changed in place into something that cannot be stored. No object was changed.
        WrongMember: A collection holds what its annotation does not allow. No object was changed.
        RedefinedClass: A class was defined again, with other fields, after an object of it was made. No object was changed.
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


def _draft(found: Findings, ledger: Ledger, now: datetime) -> Sequence[Draft]:
    """Drafts of the changed entities. All that can fail comes before the first object is given its new version."""
    entities = [entity for entity in found.order if id(entity) in found.changed]
    root = found.order[-1]
    for cls in {type(entity) for entity in entities}:
        refuse_redefined(cls)
    drafts = [_Making(entity, ledger, found.kept if entity is root else _NO_NAMES) for entity in entities]
    diverged = _diverged(drafts, root)
    for entity in found.order:
        ledger.claim(entity)
    for each in drafts:
        each.advance(now, renamed=id(each.entity) in diverged, is_root=each.entity is root)
    for each in drafts:
        each.fill(found.kept if each.entity is root else _NO_NAMES)
    return drafts


def _diverged(making: list[_Making], root: Entity) -> set[int]:
    """Entities that are new here and no longer as another storage holds them, so that their id stands for something else."""
    elsewhere = {id(each.entity): each.current for each in making if each.old is None and each.current is not None}
    if not elsewhere:
        return set()
    changed = {other: find_changes_thoroughly(root, other).changed for other in {state.ledger for state in elsewhere.values()}}
    return {key for key, state in elsewhere.items() if key in changed[state.ledger]}


def _storable(making: _Making, kept: frozenset[str]) -> Mapping[str, bytes]:
    """The stored form of the values that can change in place; proves that it can be read back."""
    entity, plan, old = making.entity, making.plan, making.old
    cls, data = type(entity), entity.__dict__
    if cls.__opaque__ or (making.current is not None and making.current.cold):
        raise frozen(entity, "ecs_id")
    for field in plan.collections:
        members = members_of(entity, field)
        for child in members[old.members[field.name][2] :] if old is not None and field.name in kept else members:
            if not isinstance(child, allowed := plan.types[field.name]) and not is_opaque(child):
                raise WrongMember(cls.__kind__, field.name, child, [each.__name__ for each in allowed])
    for name in verify_plain(cls, data):
        if (value := data[name]) is None or value == ():
            continue
        if is_doubtful(value) if name in plan.doubtful else old is None or old.data[name] is not value:
            verify_json(cls, name, value, dump_json(cls, name, value))
    if not plan.mutable:
        return NOTHING
    dumped = {name: dump_json(cls, name, data[name]) for name in plan.mutable}
    for name, json in dumped.items():
        if old is None or old.json[name] != json or old.data[name] is not data[name]:
            verify_json(cls, name, data[name], json)
    return dumped


def _edit(current: list[Entity], old: _Members | None, ledger: Ledger, *, kept: bool) -> tuple[_Members, SequenceEdit]:
    """The members of a collection, and how they came from the previous ones; `kept`: those are all there, none with a new version."""
    # Lists of what is empty are shared, and those of others are extended in place.
    if old is None or not old[2]:
        if not current:
            return _NONE_HELD, _NO_EDIT
        old = ([], [], 0)
    objects, versions, length = old
    continues = len(objects) == length and (kept or begins_with(current, objects, length))
    if continues and (kept or [current_version(child, ledger) for child in objects] == versions):
        added = [_known(child, ledger) for child in current[length:]]
        objects.extend(current[length:])
        versions.extend(added)
        edit = SequenceEdit(length, added, 0, length, versions, len(current))
        return (objects, versions, len(current)), edit
    now = [_known(child, ledger) for child in current]
    return (list(current), now, len(now)), edit_between(versions, length, now)


def _known(entity: Entity, ledger: Ledger) -> Version:
    state = ledger.state_of(entity)
    assert state is not None, "children have their versions before their parents are drafted"
    return state.version


def _renew_watch(root: Entity, found: Findings, ledger: Ledger) -> None:
    """Watch everything below the root as it is now. What was assigned to and proved equal counts as untouched again."""
    state = ledger.state_of(root)
    assert state is not None, "a captured root has a state"
    if len(found.order) == 1 and state.watch is None:
        state.data = root.__dict__
        return
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
