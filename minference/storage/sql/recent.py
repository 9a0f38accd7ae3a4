"""`Recent`: what was read lately of long lists, so that another version of a thread is mostly known before it is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from minference.ecs.entity import plan_of
from minference.storage.base import Record
from minference.storage.building import blank_of
from minference.storage.sql.level import Level
from minference.storage.sql.mapping import Mapping

FEWEST_ROWS = 100
"""Fewer of one kind that are read together cost little to read again."""
MOST_ROWS = 20_000
MOST_CHARACTERS = 16_000_000
"""Of text in the rows that are remembered."""


class Meaning(NamedTuple):
    """What the rows of a kind mean: another thing once its class is defined anew."""

    mapping: Mapping
    absent: frozenset[str]
    """The fields that the versions were written without."""


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The records of one kind, by key."""

    meaning: Meaning
    records: dict[int, Record] = field(default_factory=dict)


class Recent:
    """Records of versions with all that they hold. They are given out again and again, and never changed.

    A version never changes but by being erased: whoever takes a record has asked the database for that. Versions whose values can
    change in place are not remembered: each object needs values of its own.
    """

    def __init__(self) -> None:
        self._shelves: dict[int, _Shelf] = {}
        self._batches: deque[tuple[int, list[int], int]] = deque()
        """What was remembered together: its kind, its keys, and the characters of its text."""
        self._erasures = 0
        self.characters = 0
        """Of text in what is remembered."""

    def __len__(self) -> int:
        return sum(len(shelf.records) for shelf in self._shelves.values())

    @property
    def kinds(self) -> list[int]:
        """Of which something is remembered."""
        return list(self._shelves)

    def take(self, keys: set[int], meanings: Dict[int, Meaning | None], erasures: int) -> dict[int, Record]:
        """Those of the versions that are remembered.

        Args:
            keys: Of the versions.
            meanings: By kind, what its rows mean now.
            erasures: How many there have been in the database.
        """
        self._forget_erased(erasures)
        found: dict[int, Record] = {}
        for kind, shelf in self._shelves.items():
            if shelf.meaning == meanings[kind]:
                records = shelf.records
                found.update((key, records[key]) for key in keys & records.keys())
        for record in found.values():
            if record.blank is None:
                record.blank = blank_of(record)  # once many objects are made of it, and not before
        return found

    def keep(self, level: Level, kind: int, keys: Sequence[int], meaning: Meaning, erasures: int) -> None:
        """Remember what was read, and forget what is oldest if that is too much.

        Args:
            level: Where it is, with all that the versions hold.
            kind: Of the versions.
            keys: Of the versions, all of which mean what their class means now.
            meaning: Of the rows of that kind.
            erasures: How many there had been in the database before anything was read.
        """
        if not FEWEST_ROWS <= len(keys) <= MOST_ROWS or plan_of(meaning.mapping.cls).mutable:
            return
        characters = meaning.mapping.characters([level.rows[key] for key in keys])
        if characters > MOST_CHARACTERS:
            return
        self._forget_erased(erasures)
        if kind in self._shelves and self._shelves[kind].meaning != meaning:
            self._forget()
        kept = {key: record for key in keys if (record := level.records[key]).erased_at is None}
        self._shelves.setdefault(kind, _Shelf(meaning)).records.update(kept)
        self._batches.append((kind, list(kept), characters))
        self.characters += characters
        while self.characters > MOST_CHARACTERS or len(self) > MOST_ROWS:
            oldest, keys, size = self._batches.popleft()
            for key in keys:
                self._shelves[oldest].records.pop(key, None)
            self.characters -= size

    def _forget_erased(self, erasures: int) -> None:
        """Forget everything if something was erased since it was read."""
        if erasures != self._erasures:
            self._forget()
            self._erasures = erasures

    def _forget(self) -> None:
        self._shelves.clear()
        self._batches.clear()
        self.characters = 0
