"""Versions in this process's memory: for tests, and for work that is not meant to last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from minference.ecs.drafts import Draft
from minference.ecs.entity import Entity, plan_of
from minference.ecs.lineage import CommitInfo, KindCount, VersionInfo
from minference.ecs.state import Ledger, Version
from minference.ecs.values import load_json
from minference.errors import ConfigurationError, StaleVersion, VersionExists, VersionNotFound
from minference.storage.archive import Archive, Known, Outline, Outlined
from minference.storage.base import Branch, Commit, Record, Unit
from minference.storage.checks import Checks
from minference.storage.memory_shallow import MATCHES, MemoryShallow
from minference.storage.search import Hit, snippet, words_of
from minference.storage.sequences import EMPTY, Place, Run, Span, place_edit
from minference.storage.shallow import Shallow


@dataclass(frozen=True, slots=True)
class _Row:
    """One stored version."""

    info: VersionInfo
    cls: type[Entity]
    values: dict[str, Any]
    json: dict[str, bytes]
    references: dict[str, UUID | None]
    places: dict[str, Place]
    keys: dict[str, tuple[str, ...]]


class MemoryBackend:
    """Versions in dictionaries, lists as runs and spans. Nothing outlives `close`."""

    url = "memory:"

    def __init__(self) -> None:
        self._ledger = Ledger(uuid4())
        self._rows: dict[UUID, _Row] = {}
        self._keys: dict[UUID, int] = {}
        self._by_key: dict[int, _Row] = {}
        self._commits: dict[tuple[datetime, str | None, str | None], CommitInfo] = {}
        self._children: dict[UUID, list[UUID]] = {}
        self._lineages: dict[UUID, list[UUID]] = {}
        self._cells: dict[Run, list[UUID]] = {}
        self._placers: dict[UUID, set[UUID]] = {}
        """By lineage: the versions that put one of its versions into an ordered field."""
        self._tags: dict[tuple[UUID, str], UUID] = {}
        self._ids = count(1)

    async def open(self) -> Ledger:
        """See `Backend.open`."""
        return self._ledger

    async def close(self) -> None:
        """See `Backend.close`."""

    async def write(self, units: Sequence[Unit]) -> list[Commit]:
        """See `Backend.write`. Everything is checked before anything is changed."""
        made = {draft.version.ecs_id for unit in units for draft in unit.drafts}
        children: dict[UUID, int] = {}
        for unit in units:
            for draft in unit.drafts:
                self._check(unit, draft, children)
        if len(made) < sum(len(unit.drafts) for unit in units):
            raise VersionExists(next(iter(made)))
        return [self._write_unit(unit) for unit in units]

    def _check(self, unit: Unit, draft: Draft, children: dict[UUID, int]) -> None:
        if draft.version.ecs_id in self._rows:
            raise VersionExists(draft.version.ecs_id)
        if draft.previous is None:
            return
        base = draft.previous.ecs_id
        siblings = self._children.get(base, [])
        taken = len(siblings) + children.get(base, 0)
        if taken and unit.on_conflict == "raise":
            raise StaleVersion(draft.version.lineage_id, base, siblings[-1] if siblings else None)
        children[base] = children.get(base, 0) + 1

    def _write_unit(self, unit: Unit) -> Commit:
        commit = CommitInfo(next(self._ids) if unit.joins is None else unit.joins, unit.created_at, unit.author, unit.note)
        self._commits[unit.created_at, unit.author, unit.note] = commit
        branches = [branch for draft in unit.drafts if (branch := self._write_draft(draft, commit)) is not None]
        return Commit(commit, tuple(draft.version.ecs_id for draft in unit.drafts), tuple(branches))

    def _write_draft(self, draft: Draft, commit: CommitInfo) -> Branch | None:
        version, cls = draft.version, type(draft.entity)
        version.id = self._keys[version.ecs_id] = next(self._ids)
        self._ledger.versions[version.id] = version
        for name, edit in draft.edits.items():
            old = draft.previous.places.get(name, EMPTY) if draft.previous else EMPTY
            ends: dict[Run, int] = {}
            placed = place_edit(old, edit, lambda: next(self._ids), ends)
            version.places[name] = placed.place
            for run, position, child in placed.items:
                cells = self._cells.setdefault(run, [])
                assert position == len(cells), "a run cell belongs to whoever writes it first"
                cells.append(child.ecs_id)
                self._placers.setdefault(child.lineage_id, set()).add(version.ecs_id)
            for run, end in ends.items():
                run.end = end
        parent = draft.previous.ecs_id if draft.previous else None
        references = {name: child.ecs_id if child else None for name, child in draft.references.items()}
        info = VersionInfo(version.ecs_id, version.lineage_id, parent, cls.__kind__, version.created_at, commit)
        values = {name: draft.data[name] for name in plan_of(cls).values}
        row = _Row(info, cls, values, draft.json, references, dict(version.places), draft.keys)
        self._rows[version.ecs_id] = self._by_key[version.id] = row
        self._enlist(info)
        if parent is None:
            return None
        siblings = self._children.setdefault(parent, [])
        siblings.append(version.ecs_id)
        return Branch(version.lineage_id, parent, siblings[-2], version.ecs_id) if len(siblings) > 1 else None

    def _enlist(self, info: VersionInfo) -> None:
        versions = self._lineages.setdefault(info.lineage_id, [])
        versions.append(info.ecs_id)
        if len(versions) > 1 and self._rows[versions[-2]].info.created_at > info.created_at:  # it was imported
            versions.sort(key=lambda ecs_id: self._rows[ecs_id].info.created_at)

    async def read(self, ecs_id: UUID) -> dict[int, Record]:
        """See `Backend.read`."""
        if ecs_id not in self._rows:
            raise VersionNotFound(ecs_id, self._hint(ecs_id))
        return self.reached([self._keys[ecs_id]])

    def reached(self, keys: Sequence[int]) -> dict[int, Record]:
        """These versions and everything that they reach, by key, the first of them first."""
        records: dict[int, Record] = {}
        queue = list(keys)[::-1]
        while queue:
            key = queue.pop()
            if key not in records:
                records[key] = record = self._whole(self._by_key[key])
                queue.extend(child for child in record.references.values() if child is not None)
                queue.extend(child for children in record.members.values() for child in children)
        return records

    def record(self, key: int, members: dict[str, list[UUID]]) -> Record:
        """One version with these members."""
        return self._record(self._by_key[key], members)

    def cells(self, span: Span) -> list[int]:
        """The keys of the members in a span."""
        return [self._keys[child] for child in self._cells[span.run][span.start : span.start + span.length]]

    def _hint(self, ecs_id: UUID) -> str:
        return "it is the id of a lineage, use latest()" if ecs_id in self._lineages else ""

    def _record(self, row: _Row, members: dict[str, list[UUID]]) -> Record:
        values = row.values | {name: load_json(row.cls, name, data) for name, data in row.json.items()}
        references = {name: None if child is None else self._keys[child] for name, child in row.references.items()}
        keyed = {name: [self._keys[child] for child in children] for name, children in members.items()}
        return Record(self._version(row), row.info.parent_id, row.cls, values, references, keyed, row.keys)

    def _version(self, row: _Row) -> Version:
        info, key = row.info, self._keys[row.info.ecs_id]
        version = self._ledger.versions.get(key)
        if version is None:
            version = self._ledger.versions[key] = Version(info.ecs_id, info.lineage_id, info.created_at, key)
            version.places.update(row.places)
        return version

    def _cells_of(self, place: Place) -> list[UUID]:
        return [child for span in place.spans for child in self._cells[span.run][span.start : span.start + span.length]]

    async def find(self, ecs_id: UUID) -> VersionInfo | None:
        """See `Backend.find`."""
        row = self._rows.get(ecs_id)
        return row.info if row else None

    async def lineage(self, lineage_id: UUID) -> list[VersionInfo]:
        """See `Backend.lineage`."""
        return [self._rows[ecs_id].info for ecs_id in self._lineages.get(lineage_id, ())]

    async def heads_of_kinds(self, kinds: Sequence[str]) -> list[VersionInfo]:
        """See `Backend.heads_of_kinds`."""
        newest = [self._rows[versions[-1]].info for versions in self._lineages.values()]
        found = [info for info in newest if info.kind in kinds]
        return sorted(found, key=lambda info: (info.created_at, self._keys[info.ecs_id]), reverse=True)

    async def matching(self, prefix: str) -> list[VersionInfo]:
        """See `Backend.matching`."""
        found = [
            row.info for row in self._rows.values() if row.info.ecs_id.hex.startswith(prefix) or row.info.lineage_id.hex.startswith(prefix)
        ]
        return found[::-1][:MATCHES]

    async def tag(self, name: str, ecs_id: UUID, *, move: bool) -> UUID:
        """See `Backend.tag`."""
        place = (self._rows[ecs_id].info.lineage_id, name)
        if move or place not in self._tags:
            self._tags[place] = ecs_id
        return self._tags[place]

    async def untag(self, name: str, lineage_id: UUID) -> bool:
        """See `Backend.untag`."""
        return self._tags.pop((lineage_id, name), None) is not None

    async def tags(self, lineage_id: UUID) -> dict[str, VersionInfo]:
        """See `Backend.tags`."""
        return {name: self._rows[ecs_id].info for (lineage, name), ecs_id in sorted(self._tags.items()) if lineage == lineage_id}

    def placers(self, key: int) -> set[UUID]:
        """The versions that put some version of the lineage of this one into an ordered field."""
        return self._placers.get(self._by_key[key].info.lineage_id, set())

    def info(self, key: int) -> VersionInfo:
        """What is known of a version."""
        return self._by_key[key].info

    async def counts(self) -> dict[str, KindCount]:
        """See `Backend.counts`."""
        versions = Counter(row.info.kind for row in self._rows.values())
        lineages = Counter(self._rows[each[0]].info.kind for each in self._lineages.values())
        return {kind: KindCount(versions[kind], lineages[kind]) for kind in versions}

    def shallow(self) -> Shallow:
        """See `Backend.shallow`."""
        return MemoryShallow(self)

    def archive(self) -> Archive:
        """See `Backend.archive`."""
        return self

    def checks(self) -> Checks:
        """See `Backend.checks`."""
        raise ConfigurationError("a storage in memory has no tables to check or measure: open an SQLite file or PostgreSQL")

    async def search(self, classes: Sequence[type[Entity]], field: str, text: str, limit: int) -> list[Hit]:
        """See `Backend.search`."""
        words = words_of(text)
        if classes[0].model_fields[field].annotation not in (str, str | None):
            raise ConfigurationError(f"field {field!r} of {classes[0].__name__} is no text to search in")
        found: dict[UUID, _Row] = {}
        for row in self._rows.values():
            if words and row.cls in classes and (held := row.values[field]) and set(words) <= set(words_of(held)):
                newest = found.setdefault(row.info.lineage_id, row)
                if (row.info.created_at, self._keys[row.info.ecs_id]) > (newest.info.created_at, self._keys[newest.info.ecs_id]):
                    found[row.info.lineage_id] = row
        rows = sorted(found.values(), key=lambda row: (row.info.created_at, self._keys[row.info.ecs_id]), reverse=True)[:limit]
        return [Hit(row.info, snippet(row.values[field], words), self._holders(row.info.ecs_id)) for row in rows]

    def _holders(self, ecs_id: UUID) -> tuple[UUID, ...]:
        runs = {run for run, cells in self._cells.items() if ecs_id in cells}
        spans = ((row.info.lineage_id, span.run) for row in self._rows.values() for place in row.places.values() for span in place.spans)
        return tuple(sorted({lineage_id for lineage_id, run in spans if run in runs}))

    async def outline(self, lineages: Sequence[UUID] | None) -> Outline:
        """See `Archive.outline`."""
        waiting = list(self._lineages if lineages is None else lineages)
        found: set[UUID] = set()
        edges: list[tuple[int, int]] = []
        while waiting:
            lineage_id = waiting.pop()
            if lineage_id in found:
                continue
            found.add(lineage_id)
            for ecs_id in self._lineages.get(lineage_id, ()):
                children = self._held(self._rows[ecs_id])
                edges.extend((self._keys[ecs_id], self._keys[child]) for child in children)
                waiting.extend(self._rows[child].info.lineage_id for child in children)
        versions = [self._outlined(self._rows[each].info) for lineage_id in found for each in self._lineages.get(lineage_id, ())]
        commits = {each.commit: self._by_key[each.key].info.commit for each in versions}
        return Outline({each.key: each for each in versions}, edges, commits)

    def _outlined(self, info: VersionInfo) -> Outlined:
        parent = info.parent_id
        fork_no = 0 if parent is None else self._children[parent].index(info.ecs_id)
        return Outlined(self._keys[info.ecs_id], None if parent is None else self._keys[parent], fork_no, info.commit.id)

    def _held(self, row: _Row) -> set[UUID]:
        """The versions that one holds, without members that its parent holds in the same field."""
        held = {child for child in row.references.values() if child is not None}
        parent = self._rows[row.info.parent_id] if row.info.parent_id is not None else None
        for name, place in row.places.items():
            before = {span.run: span for span in parent.places[name].spans} if parent is not None else {}
            for span in place.spans:
                known = before.get(span.run)
                begin = known.start + known.length if known is not None and known.start <= span.start else span.start
                held.update(self._cells[span.run][max(begin, span.start) : span.start + span.length])
        return held

    async def records(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Archive.records`."""
        return {key: self._whole(self._by_key[key]) for key in keys}

    def _whole(self, row: _Row) -> Record:
        return self._record(row, {name: self._cells_of(place) for name, place in row.places.items()})

    async def known(self, *, ids: Sequence[UUID] = (), keys: Sequence[int] = ()) -> list[Known]:
        """See `Archive.known`."""
        found = [*(self._rows[each] for each in ids if each in self._rows), *(self._by_key[key] for key in keys if key in self._by_key)]
        return [Known(self._version(row), row.cls) for row in found]

    async def commit(self, created_at: datetime, author: str | None, note: str | None) -> int | None:
        """See `Archive.commit`."""
        found = self._commits.get((created_at, author, note))
        return found.id if found is not None else None
