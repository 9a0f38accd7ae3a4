"""Saves that failed and of which nobody may have heard, for as long as something of them is not saved."""

from __future__ import annotations

from collections.abc import Iterator

from minference.ecs.changes import differs_itself
from minference.ecs.drafts import Draft
from minference.ecs.entity import Entity, plan_of
from minference.ecs.state import Ledger
from minference.errors import MinferenceError, StillPending
from minference.storage.units import Unit

_FEW = 8
"""Failures that are kept without asking whether they still matter."""


class Failures:
    """Units that were not written, each with those of its objects that nobody has saved since."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lost: dict[Unit, dict[int, Entity]] = {}
        """By `id()`, oldest failure first."""
        self._units: dict[int, dict[Unit, None]] = {}
        """The failures in which an object was lost, by its `id()`."""
        self._most = _FEW

    def add(self, unit: Unit) -> None:
        """Remember a failure. An earlier one of the same objects is part of it: they still held what that was to save."""
        lost = {id(draft.entity): draft.entity for draft in _lost_with(unit)}
        if not lost or unit.imported:
            return
        if not unit.listeners:
            root = next(reversed(lost))
            for earlier in [each for each in self._units.get(root, ()) if self._lost[each].keys() <= lost.keys()]:
                self._forget(earlier)
        self._lost[unit] = lost
        for key in lost:
            self._units.setdefault(key, {})[unit] = None
        if len(self._lost) > self._most:
            self._forget_the_settled()
            self._most = max(_FEW, 2 * len(self._lost))

    def make_up_for(self, unit: Unit) -> None:
        """Take it that what a unit has written is not lost any more."""
        if not self._units:
            return
        for draft in unit.drafts:
            key = id(draft.entity)
            for failed in self._units.pop(key, ()):
                del self._lost[failed][key]
                if not self._lost[failed]:
                    del self._lost[failed]

    def take(self) -> Unit | None:
        """The oldest one that nobody heard of or is about to hear of, while an object still holds what it was to save.

        It counts as heard of from here.
        """
        self._forget_the_settled()
        unit = next((each for each in self._lost if not each.listeners), None)
        if unit is not None:
            self._forget(unit)
        return unit

    def _forget_the_settled(self) -> None:
        for unit, lost in list(self._lost.items()):
            if unit.heard or not any(self._is_unsaved(entity) for entity in lost.values()):
                self._forget(unit)

    def _forget(self, unit: Unit) -> None:
        for key in self._lost.pop(unit):
            units = self._units[key]
            del units[unit]
            if not units:
                del self._units[key]

    def _is_unsaved(self, entity: Entity) -> bool:
        """Whether the object is new, or holds what the version that it stands on does not."""
        try:
            self._ledger.state_of(entity)
        except StillPending:  # another storage is about to write it
            return False
        if not all(isinstance(child, Entity) for child in plan_of(type(entity)).children(entity)):
            return True
        try:
            return differs_itself(entity, self._ledger)
        except MinferenceError:  # it holds something now that cannot be saved
            return True


def _lost_with(unit: Unit) -> Iterator[Draft]:
    """What the unit was to write, or waited for."""
    for each in unit.after:
        if each.done.done() and each.done.exception() is not None:
            yield from each.drafts
    yield from unit.drafts
