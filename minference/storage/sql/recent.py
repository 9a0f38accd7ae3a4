"""`Recent`: what was read lately of long lists, so that another version of a thread is mostly known before it is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field

from minference.ecs.blob_fields import blob_fields
from minference.ecs.entity import plan_of
from minference.storage.base import Record
from minference.storage.building import blank_of, holds_nothing
from minference.storage.sql.level import Level, Meaning

FEWEST_ROWS = 100
"""Fewer of one kind that are read together cost little to read again."""
MOST_ROWS = 20_000
MOST_CHARACTERS = 16_000_000
"""Of text in the rows that are remembered."""


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The records of one kind, by key."""

    meaning: Meaning
    records: dict[int, Record] = field(default_factory=dict)


class Recent:
    """Records of versions, given out again and again, and never changed.

    A version never changes but by being erased: whoever takes a record has asked the database for that. Not remembered are versions
    that hold others in ordered fields, which may be any number, and those whose values can change in place, as each object needs
    values of its own.
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

    def kinds(self, keys: set[int]) -> list[int]:
        """The kinds of those of the versions that are remembered."""
        return [kind for kind, shelf in self._shelves.items() if not keys.isdisjoint(shelf.records)]

    def take(self, keys: set[int], meanings: Dict[int, Meaning | None], erasures: int) -> dict[int, Record]:
        """Those of the versions that are remembered.

        Args:
            keys: Of the versions.
            meanings: What the rows of their `kinds` mean now.
            erasures: How many there have been in the database.
        """
        self._forget_erased(erasures)
        found: dict[int, Record] = {}
        for kind, shelf in self._shelves.items():
            if kind in meanings and shelf.meaning == meanings[kind]:
                records = shelf.records
                found.update((key, records[key]) for key in keys & records.keys())
        for record in found.values():
            if record.blank is None:  # once many objects are made of it, and not before
                record.blank, record.leaf = blank_of(record), holds_nothing(record)
        return found

    def keep(self, level: Level, kind: int, keys: Sequence[int], erasures: int) -> None:
        """Remember what was read, and forget what is oldest if that is too much.

        Args:
            level: Where it is, with all that the versions hold.
            kind: Of the versions, whose rows mean what their class means.
            keys: Of the versions.
            erasures: How many there had been in the database before anything was read.
        """
        meaning = level.meanings[kind]
        cls = meaning.mapping.cls
        if not FEWEST_ROWS <= len(keys) <= MOST_ROWS or plan_of(cls).mutable or blob_fields(cls):
            return
        kept = {key: record for key in keys if _is_small(record := level.records[key])}
        characters = meaning.mapping.characters([level.rows[key] for key in kept])
        if not kept or characters > MOST_CHARACTERS:
            return
        self._forget_erased(erasures)
        if kind in self._shelves and self._shelves[kind].meaning != meaning:
            self._forget_all()
        self._shelves.setdefault(kind, _Shelf(meaning)).records.update(kept)
        self._batches.append((kind, list(kept), characters))
        self.characters += characters
        while self.characters > MOST_CHARACTERS or len(self) > MOST_ROWS:
            oldest, forgotten, size = self._batches.popleft()
            for key in forgotten:
                self._shelves[oldest].records.pop(key, None)
            self.characters -= size

    def forget(self, keys: Iterable[int]) -> None:
        """Read these again when they are asked for."""
        for key in keys:
            for shelf in self._shelves.values():
                shelf.records.pop(key, None)

    def _forget_erased(self, erasures: int) -> None:
        """Forget everything if something was erased since it was read."""
        if erasures != self._erasures:
            self._forget_all()
            self._erasures = erasures

    def _forget_all(self) -> None:
        self._shelves.clear()
        self._batches.clear()
        self.characters = 0


def _is_small(record: Record) -> bool:
    """Whether it holds its content, and nothing in ordered fields."""
    return record.erased_at is None and not any(record.members.values()) and not any(record.keys.values())
