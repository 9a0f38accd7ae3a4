"""What is known in memory of stored versions: the version an object stands on, and who watches the object."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from minference.ecs.entity import Entity, state_of, write_state
from minference.errors import StillPending

NOTHING: Mapping[str, Any] = MappingProxyType({})
"""What most states hold most of: a dict of its own for each would be most of what thousands of loaded objects cost."""
FEW = 8
"""Watches up to which a tuple of them is cheaper than a set."""
FEWEST_SWEPT = 1024
"""Versions that are remembered without asking whether anybody holds them."""


class Version:
    """What is known of one version; shared by all live objects that stand on it."""

    __slots__ = ("__weakref__", "children", "created_at", "ecs_id", "id", "last_child", "lineage_id", "places", "unit")

    def __init__(self, ecs_id: UUID, lineage_id: UUID, created_at: datetime, id: int | None = None) -> None:
        self.id = id
        """The integer key; `None` until the writer has given it one."""
        self.ecs_id, self.lineage_id, self.created_at = ecs_id, lineage_id, created_at
        self.places: dict[str, Any] = {}
        """Where the backend has put each ordered field."""
        self.children = 0
        """How many versions are known to be made from this one."""
        self.last_child: UUID | None = None
        self.unit: Any = None
        """The pending write of this version; `None` once it is durable."""

    def __eq__(self, other: object) -> bool:
        # Usually the same object. When a database is opened again, what is loaded then has other ones than what lived on.
        return self is other or (isinstance(other, Version) and self.ecs_id == other.ecs_id)

    def __hash__(self) -> int:
        return hash(self.ecs_id.int)


class KnownVersions:
    """Stored versions that somebody holds, by key: two objects on one version share what is known of it.

    As `WeakValueDictionary`, at a fraction of its price: what nobody holds any more is swept out from time to time, not at once.
    """

    __slots__ = ("_full", "_refs")

    def __init__(self) -> None:
        self._refs: dict[int, weakref.ref[Version]] = {}
        self._full = FEWEST_SWEPT

    def get(self, key: int) -> Version | None:
        """The version with this key, if somebody holds it."""
        ref = self._refs.get(key)
        return None if ref is None else ref()

    def __setitem__(self, key: int, version: Version) -> None:
        self._refs[key] = weakref.ref(version)
        if len(self._refs) > self._full:
            self._refs = {key: ref for key, ref in self._refs.items() if ref() is not None}
            self._full = max(FEWEST_SWEPT, 2 * len(self._refs))

    def __len__(self) -> int:
        """How many are remembered, of which some may be gone."""
        return len(self._refs)


class Ledger:
    """What one storage remembers of the live objects that it has seen."""

    def __init__(self, database_id: UUID) -> None:
        self.database_id = database_id
        self.versions = KnownVersions()
        self.parked: weakref.WeakKeyDictionary[Entity, State] = weakref.WeakKeyDictionary()
        """States of objects that were since saved to another storage."""
        self.runs: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        """What the backend knows of runs, by key."""

    def state_of(self, entity: Entity) -> State | None:
        """The state of `entity` in this storage, or `None` if this storage never saw it.

        Raises:
            StillPending: Another storage on the same database has not written the object's version yet.
        """
        state = state_of(entity)
        if state is None or state.ledger is self:
            return state
        if state.ledger.database_id == self.database_id:
            self._adopt(state)
            return state
        return self.parked.get(entity)

    def _adopt(self, state: State) -> None:
        """Take over from another storage on the same database, usually one that was closed since."""
        if state.version.unit is not None:
            raise StillPending(state.version.ecs_id)
        state.ledger = self
        key = state.version.id
        if key is not None and self.versions.get(key) is None:
            self.versions[key] = state.version

    def install(self, entity: Entity, state: State) -> None:
        """Make `state` the one of an object that no other storage has; see `claim`."""
        write_state(entity, state)

    def claim(self, entity: Entity) -> None:
        """Make an object that was since saved to another storage stand on its version here again, if there is one.

        Its state in the other storage is kept for its return.
        """
        if (current := state_of(entity)) is None or current.ledger is self:
            return
        current.park(entity)
        state = self.parked.pop(entity, None)
        if state is not None:
            self.install(entity, state)
            entity.__dict__.update(state.identity)

    def withdraw(self, entity: Entity, state: State, old: State | None, before: State | None, identity: Mapping[str, Any]) -> None:
        """Undo that `state` became the one of `entity`, which was `old` here, while `before` was the current one."""
        state.notify()
        if old is not None:
            old.watch = None
        if state_of(entity) is state:
            entity.__dict__.update(identity)
            write_state(entity, before)
            if before is not None:
                before.ledger.parked.pop(entity, None)
        if old is None:
            self.parked.pop(entity, None)
        elif state_of(entity) is not old:
            if before is old:
                old.identity = identity
            self.parked[entity] = old


class State:
    """The version that a live object stands on, and what that version holds."""

    __slots__ = (
        "cold",
        "data",
        "erased",
        "identity",
        "json",
        "keys",
        "ledger",
        "members",
        "merging",
        "references",
        "version",
        "watch",
        "watchers",
    )

    def __init__(self, ledger: Ledger, version: Version, data: dict[str, Any], *, cold: bool = False) -> None:
        self.ledger, self.version = ledger, version
        self.data = data
        """The object's `__dict__` at that version: pydantic replaces it at each assignment, so identity means untouched."""
        self.json: Mapping[str, bytes] = NOTHING
        """Values that can change in place, as stored."""
        self.references: Mapping[str, Version | None] = NOTHING
        self.members: Mapping[str, tuple[list[Entity], list[Version], int]] = NOTHING
        """Per collection: objects and their versions in order (lists that only grow), and how many of them count."""
        self.keys: Mapping[str, tuple[str, ...]] = NOTHING
        """The keys of each keyed collection."""
        self.watchers: tuple[weakref.ref[Watch], ...] | weakref.WeakSet[Watch] = ()
        self.watch: Watch | None = None
        self.cold = cold
        """Whether the object is a cold snapshot, whose setters raise."""
        self.erased = False
        """Whether the object was loaded from a version without its content."""
        self.merging: tuple[Version, ...] = ()
        """Versions of other branches whose changes the object has by now, and the next version will have."""
        self.identity: Mapping[str, Any] = NOTHING
        """While parked: the identity fields that the object had on this version."""

    def alike(self) -> State:
        """Another state of the same version, watched by nobody."""
        other = State(self.ledger, self.version, self.data)
        other.json, other.references, other.members, other.keys = self.json, self.references, self.members, self.keys
        return other

    def park(self, entity: Entity) -> None:
        """Keep for the return to this storage what another one replaces now. Assignments are no longer noticed from here."""
        self.notify()
        self.identity = {name: entity.__dict__[name] for name in ("ecs_id", "parent_id", "created_at")}
        self.ledger.parked[entity] = self

    def touch(self, before: dict[str, Any]) -> None:
        """Tell whoever watches that the object is being assigned to."""
        if before is self.data:
            self.notify()

    def notify(self) -> None:
        """Make every watch over this object stale."""
        if isinstance(self.watchers, tuple):
            for ref in self.watchers:
                if (watch := ref()) is not None:
                    watch.stale = True
        else:
            for watch in self.watchers:
                watch.stale = True

    def join(self, watch: Watch) -> None:
        """Be watched by `watch` too."""
        known = self.watchers
        if not known:
            self.watchers = watch.alone
        elif not isinstance(known, tuple):
            known.add(watch)
        elif watch.ref not in known:
            alive = [other for ref in known if (other := ref()) is not None and not other.is_over]
            few = len(alive) < FEW
            self.watchers = (*(other.ref for other in alive), watch.ref) if few else weakref.WeakSet((*alive, watch))

    def is_watched_by(self, watch: Watch) -> bool:
        """Whether the object is known to be below the root of `watch`."""
        return (watch.ref if isinstance(self.watchers, tuple) else watch) in self.watchers


class Watch:
    """Everything below one root at its last save."""

    __slots__ = ("__weakref__", "alone", "cyclic", "inspect", "is_over", "ref", "stale")

    def __init__(self) -> None:
        self.stale = False
        self.is_over = False
        """Whether the root has another one since."""
        self.cyclic = False
        """Whether something below refers back to the root."""
        self.inspect: list[Entity] = []
        """Entities below whose values can change in place."""
        self.ref: weakref.ref[Watch] = weakref.ref(self)
        self.alone = (self.ref,)
        """The watchers of whoever has no other."""
