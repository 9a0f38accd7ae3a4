"""`Recent`: what was read lately of long lists, so that another version of a thread is mostly known before it is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from minference.ecs.entity import plan_of
from minference.ecs.state import Version
from minference.storage.sql.decoding import Loaded
from minference.storage.sql.level import Level, VersionRow
from minference.storage.sql.mapping import Mapping, Row

FEWEST_ROWS = 100
"""Fewer of one class that are read together cost little to read again."""
MOST_ROWS = 20_000
MOST_CHARACTERS = 16_000_000
"""Of text in the rows that are remembered."""


@dataclass(frozen=True, slots=True)
class _Row:
    row: VersionRow
    version: Version
    """Held, so that the ledger keeps it."""
    mapping: Mapping
    absent: frozenset[str]
    values: dict[str, Any]
    references: dict[str, int | None]
    places: dict[str, tuple[int | None, int]]
    keys: dict[str, tuple[str, ...]]


class Recent:
    """Rows of versions, decoded. A version never changes but by being erased: whoever takes a row has asked the database for that.

    Versions whose values can change in place are not remembered: each object needs values of its own.
    """

    def __init__(self) -> None:
        self._rows: dict[int, _Row] = {}
        self._batches: deque[tuple[list[int], int]] = deque()
        """What was remembered together: its keys, and the characters of its text."""
        self.characters = 0
        """Of text in what is remembered."""

    def __len__(self) -> int:
        return len(self._rows)

    def versions(self, keys: Collection[int]) -> list[VersionRow]:
        """The rows in `entity_version` of those that are remembered."""
        rows = self._rows
        return [rows[key].row for key in keys if key in rows] if rows else []

    def take(self, mapping: Mapping, absent: frozenset[str], level: Level, keys: Sequence[int]) -> Loaded:
        """Those of the versions that are remembered, as `Mapping.decode` would give them."""
        loaded = mapping.none()
        for key in keys if self._rows else ():
            row = self._rows.get(key)
            if row is not None and row.mapping is mapping and row.absent == absent and level.versions[key][6] is None:
                loaded.ids.append(key)
                loaded.values.append(row.values)
                loaded.references.append(row.references)
                loaded.sequences.append(row.places)
                loaded.keys.append(row.keys)
        return loaded

    def keep(self, mapping: Mapping, absent: frozenset[str], level: Level, loaded: Loaded, rows: Sequence[Row]) -> None:
        """Remember what was decoded from `rows` and is in `level` now, and forget what is oldest if that is too much."""
        if len(loaded.ids) < FEWEST_ROWS or plan_of(mapping.cls).mutable:
            return
        characters = sum(len(cell) for row in rows for cell in row if isinstance(cell, str | bytes))
        if characters > MOST_CHARACTERS or len(loaded.ids) > MOST_ROWS:
            return
        parts = zip(loaded.ids, loaded.values, loaded.references, loaded.sequences, loaded.keys, strict=True)
        for key, values, references, places, keys in parts:
            row = level.versions[key]
            if row[6] is None:
                self._rows[key] = _Row(row, level.records[key].version, mapping, absent, values, references, places, keys)
        self._batches.append((loaded.ids, characters))
        self.characters += characters
        while self.characters > MOST_CHARACTERS or len(self._rows) > MOST_ROWS:
            oldest, size = self._batches.popleft()
            self.forget(oldest)
            self.characters -= size

    def forget(self, keys: Collection[int]) -> None:
        """Read these again when they are asked for."""
        for key in keys:
            self._rows.pop(key, None)
