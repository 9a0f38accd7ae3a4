"""What is known in memory of stored versions: the version an object stands on, and who watches the object."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from minference.ecs.entity import Entity, state_of


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


class Ledger:
    """What one storage remembers of the live objects that it has seen."""

    def __init__(self, database_id: UUID) -> None:
        self.database_id = database_id
        self.versions: weakref.WeakValueDictionary[int, Version] = weakref.WeakValueDictionary()
        """Stored versions that somebody holds, by key: two objects on one version share what is known of it."""
        self.parked: weakref.WeakKeyDictionary[Entity, State] = weakref.WeakKeyDictionary()
        """States of objects that were since saved to another storage."""
        self.runs: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        """What the backend knows of runs, by key."""

    def state_of(self, entity: Entity) -> State | None:
        """The state of `entity` in this storage, or `None` if this storage never saw it."""
        state = state_of(entity)
        if state is None or state.ledger is self:
            return state
        if state.ledger is not None and state.ledger.database_id == self.database_id:
            state.ledger = self
            return state
        return self.parked.get(entity)

    def install(self, entity: Entity, state: State) -> None:
        """Make `state` the one of `entity`; the state of another storage is kept for its return."""
        current = state_of(entity)
        if current is not None and current is not state and current.ledger not in (None, self):
            current.ledger.parked[entity] = current
        object.__setattr__(entity, "__ecs_state__", state)


@dataclass(slots=True, eq=False)
class State:
    """The version that a live object stands on, and what that version holds."""

    ledger: Ledger | None
    version: Version
    data: dict[str, Any]
    """The object's `__dict__` at that version: pydantic replaces it at each assignment, so identity means untouched."""
    json: dict[str, bytes] = field(default_factory=dict)
    """Values that can change in place, as stored."""
    references: dict[str, Version | None] = field(default_factory=dict)
    members: dict[str, tuple[list[Entity], list[Version], int]] = field(default_factory=dict)
    """Per collection: objects and their versions in order (lists that only grow), and how many of them count."""
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The keys of each keyed collection."""
    watchers: weakref.ref[Watch] | weakref.WeakSet[Watch] | None = None
    watch: Watch | None = None
    cold: bool = False
    """Whether the object is a cold snapshot, whose setters raise."""

    def touch(self, before: dict[str, Any]) -> None:
        """Tell whoever watches that the object is being assigned to."""
        if before is self.data:
            self.notify()

    def notify(self) -> None:
        """Make every watch over this object stale."""
        match self.watchers:
            case None:
                return
            case weakref.WeakSet() as several:
                for watch in several:
                    watch.stale = True
            case single:
                if (watch_or_none := single()) is not None:
                    watch_or_none.stale = True

    def join(self, watch: Watch) -> None:
        """Be watched by `watch` too."""
        match self.watchers:
            case None:
                self.watchers = watch.ref
            case weakref.WeakSet() as several:
                several.add(watch)
            case single if single is not watch.ref:
                other = single()
                self.watchers = watch.ref if other is None else weakref.WeakSet((other, watch))

    def is_watched_by(self, watch: Watch) -> bool:
        """Whether the object is known to be below the root of `watch`."""
        match self.watchers:
            case None:
                return False
            case weakref.WeakSet() as several:
                return watch in several
            case single:
                return single is watch.ref


class Watch:
    """Everything below one root at its last save."""

    __slots__ = ("__weakref__", "cyclic", "inspect", "ref", "stale")

    def __init__(self) -> None:
        self.stale = False
        self.cyclic = False
        """Whether something below refers back to the root."""
        self.inspect: list[Entity] = []
        """Entities below whose values can change in place."""
        self.ref: weakref.ref[Watch] = weakref.ref(self)
