"""Versions in this process's memory: for tests, and for work that is not meant to last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from minference.ecs.drafts import Draft
from minference.ecs.entity import Entity, kind_to_class, plan_of
from minference.ecs.fitting import Fit
from minference.ecs.lineage import CommitInfo, KindCount, VersionInfo
from minference.ecs.opaque import OpaqueEntity
from minference.ecs.state import Ledger, Version
from minference.ecs.values import load_json
from minference.errors import BlobNotFound, ConfigurationError, ErasedLineage, StaleVersion, VersionExists, VersionNotFound
from minference.storage.archive import Archive, Outline, Outlined, Said, Tagged
from minference.storage.base import Branch, Commit, Record, Unit
from minference.storage.checks import Checks
from minference.storage.erasing import Eraser, Erasure
from minference.storage.memory_erasing import MemoryEraser
from minference.storage.memory_replies import MemoryReplies
from minference.storage.memory_rows import NO_BLOBS, Row, Rows, kept
from minference.storage.memory_runs import MemoryRuns
from minference.storage.memory_shallow import MATCHES, MemoryShallow
from minference.storage.search import Hit, snippet, words_of
from minference.storage.searchable import check_searchable
from minference.storage.sequences import EMPTY, Place, Run, Span, place_edit
from minference.storage.shallow import Known, Shallow
from minference.storage.stored import StoredVersion

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class MemoryBackend:
    """Versions in dictionaries, lists as runs and spans. Nothing outlives `close`."""

    url = "memory:"

    def __init__(self) -> None:
        self._ledger = Ledger(uuid4())
        self._rows: dict[UUID, Row] = {}
        self._keys: dict[UUID, int] = {}
        self._by_key: dict[int, Row] = {}
        self._commits: dict[tuple[datetime, str | None, str | None], CommitInfo] = {}
        self._children: dict[UUID, list[UUID]] = {}
        self._lineages: dict[UUID, list[UUID]] = {}
        self.merged: dict[UUID, tuple[UUID, ...]] = {}
        """By version: those that were merged into it."""
        self._cells: dict[Run, list[UUID]] = {}
        self._placers: dict[UUID, set[UUID]] = {}
        """By lineage: the versions that put one of its versions into an ordered field."""
        self._tags: dict[tuple[UUID, str], tuple[UUID, datetime]] = {}
        self._blobs: dict[str, bytes] = {}
        self._erasures: dict[UUID, Erasure] = {}
        self._ids = count(1)
        self._runs = MemoryRuns()
        self._replies = MemoryReplies(self._erasures)

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
        arriving = self._arriving(units)
        commits = [self._write_unit(unit) for unit in units]
        self._blobs.update(arriving)
        return commits

    def _arriving(self, units: Sequence[Unit]) -> dict[str, bytes]:
        """The bytes that are new here."""
        blobs = [blob for unit in units for draft in unit.drafts for blob in draft.blobs if blob.sha256 not in self._blobs]
        arriving = {blob.sha256: blob.data for blob in blobs if blob.is_loaded}
        for blob in blobs:
            if blob.sha256 not in arriving:
                raise BlobNotFound(blob.sha256, blob.size)
        return arriving

    def _check(self, unit: Unit, draft: Draft, children: dict[UUID, int]) -> None:
        if draft.version.ecs_id in self._rows:
            raise VersionExists(draft.version.ecs_id)
        if draft.version.lineage_id in self._erasures and draft.erased_at is None:
            raise ErasedLineage(draft.version.lineage_id)
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
            old = draft.previous.places.get(name, EMPTY) if draft.previous is not None else EMPTY
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
        parent = draft.previous.ecs_id if draft.previous is not None else None
        references = {name: None if child is None else child.ecs_id for name, child in draft.references.items()} if draft.references else {}
        kind = cls.__kind__ if draft.opaque is None else draft.opaque.kind
        info = VersionInfo(version.ecs_id, version.lineage_id, parent, kind, version.created_at, commit, draft.erased_at)
        values, json = kept(cls, draft.data) if draft.opaque is None else ({}, {})
        held = frozenset([blob.sha256 for blob in draft.blobs]) if draft.blobs else NO_BLOBS
        documents = {**draft.json, **json} if json else draft.json
        row = Row(info, cls, values, documents, references, version.places.copy(), draft.keys, draft.opaque, held)
        self._rows[version.ecs_id] = self._by_key[version.id] = row
        self._enlist(info)
        if draft.merged:
            self.merged[version.ecs_id] = tuple(merged.ecs_id for merged in draft.merged)
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
            raise VersionNotFound(ecs_id, "it is the id of a lineage, use latest()" if ecs_id in self._lineages else "")
        return self.reached([self._keys[ecs_id]])

    def reached(self, keys: Sequence[int]) -> dict[int, Record]:
        """These versions and everything that they reach, by key, the first of them first."""
        records: dict[int, Record] = {}
        queue = list(keys)[::-1]
        while queue:
            key = queue.pop()
            if key not in records:
                record = records[key] = self._record(self._by_key[key])
                queue.extend(child for child in record.references.values() if child is not None)
                queue.extend(child for children in record.members.values() for child in children)
        return records

    def record(self, key: int) -> Record:
        """See `Shallow.records`."""
        return self._record(self._by_key[key], whole=False)

    def cells(self, span: Span) -> list[int]:
        """The keys of the members in a span."""
        return [self._keys[child] for child in self._cells[span.run][span.start : span.start + span.length]]

    def _record(self, row: Row, *, whole: bool = True) -> Record:
        """One version; what is not whole lacks the members of ordered fields, unless its class is not known."""
        references = {name: None if child is None else self._keys[child] for name, child in row.references.items()}
        version, cls, erased_at = self._version(row), kind_to_class(row.info.kind), row.info.erased_at
        if cls is None:
            there = {name: key for name, key in references.items() if key is not None}
            members = self._members(row.places)
            return Record(version, row.info.parent_id, OpaqueEntity, row.data(), {**there}, members, row.keys, row.shape, erased_at)
        if cls is row.cls:
            values = row.values | {name: load_json(row.cls, name, data) for name, data in row.json.items()}
            members = self._members(row.places) if whole else {}
            return Record(version, row.info.parent_id, row.cls, values, references, members, row.keys, erased_at=erased_at)
        return self._fitted(row, cls, Fit(cls, row.shape), references, whole=whole)

    def _members(self, places: Mapping[str, Place]) -> dict[str, list[int]]:
        return {name: [key for span in place.spans for key in self.cells(span)] for name, place in places.items()}

    def _fitted(self, row: Row, cls: type[Entity], fit: Fit, references: dict[str, int | None], *, whole: bool) -> Record:
        """The record of a version whose class was defined anew since."""
        ecs_id, version = row.info.ecs_id, self._version(row)
        fit.refuse(ecs_id)
        [values] = fit.values([(ecs_id, row.data())])
        there = fit.references(ecs_id, {name: key for name, key in references.items() if key is not None})
        filled = fit.collections(ecs_id, {name: place for name, place in row.places.items() if place.length}, row.keys)
        fields = plan_of(cls).collections
        names = fit.named(ecs_id, {name: keys for name, keys in row.keys.items() if keys}, filled)
        for name, place in filled.items():
            version.places.setdefault(name, place)
        held = self._members({field.name: filled.get(field.name, EMPTY) for field in fields}) if whole else {}
        keyed = {field.name: names.get(field.name, ()) for field in fields if field.shape is dict}
        return Record(version, row.info.parent_id, cls, values, there, held, keyed, erased_at=row.info.erased_at)

    def _version(self, row: Row) -> Version:
        info, key = row.info, self._keys[row.info.ecs_id]
        version = self._ledger.versions.get(key)
        if version is None:
            version = self._ledger.versions[key] = Version(info.ecs_id, info.lineage_id, info.created_at, key)
            version.places.update(row.places)
        return version

    def _cells_of(self, place: Place) -> list[UUID]:
        return [child for span in place.spans for child in self._cells[span.run][span.start : span.start + span.length]]

    async def read_stored(self, ecs_id: UUID) -> StoredVersion:
        """See `Backend.read_stored`."""
        row = self._rows.get(ecs_id)
        if row is None:
            raise VersionNotFound(ecs_id)
        references = {name: child for name, child in row.references.items() if child is not None}
        members = {name: tuple(self._cells_of(place)) for name, place in row.places.items()}
        return StoredVersion(row.info, row.shape.version, row.data(), references, members, row.keys)

    async def move_rows(self, classes: Sequence[type[Entity]]) -> int:  # noqa: ARG002 - there are no tables
        """See `Backend.move_rows`."""
        return 0

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

    async def tag(self, name: str, ecs_id: UUID, *, move: bool, at: datetime) -> UUID:
        """See `Backend.tag`."""
        place = (self._rows[ecs_id].info.lineage_id, name)
        if move or place not in self._tags:
            self._tags[place] = (ecs_id, at)
        return self._tags[place][0]

    async def untag(self, name: str, lineage_id: UUID) -> bool:
        """See `Backend.untag`."""
        return self._tags.pop((lineage_id, name), None) is not None

    async def tags(self, lineage_id: UUID) -> dict[str, VersionInfo]:
        """See `Backend.tags`."""
        return {name: self._rows[ecs_id].info for (lineage, name), (ecs_id, _) in sorted(self._tags.items()) if lineage == lineage_id}

    def placers(self, key: int) -> set[UUID]:
        """The versions that put some version of the lineage of this one into an ordered field."""
        return self._placers.get(self._by_key[key].info.lineage_id, set())

    def info(self, key: int) -> VersionInfo:
        """What is known of a version."""
        return self._by_key[key].info

    async def kinds(self) -> set[str]:
        """See `Backend.kinds`."""
        return {row.info.kind for row in self._rows.values()}

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

    def eraser(self) -> Eraser:
        """See `Backend.eraser`."""
        rows = Rows(self._rows, self._keys, self._by_key, self._lineages, self._cells, self._erasures, self._blobs)
        return MemoryEraser(rows, self._record, self._replies)

    def runs(self) -> MemoryRuns:
        """See `Backend.runs`."""
        return self._runs

    def replies(self) -> MemoryReplies:
        """See `Backend.replies`."""
        return self._replies

    def checks(self) -> Checks:
        """See `Backend.checks`."""
        raise ConfigurationError("a storage in memory has no tables to check or measure: open an SQLite file or PostgreSQL")

    def sql(self) -> AbstractAsyncContextManager[AsyncSession]:
        """See `Backend.sql`."""
        raise ConfigurationError("a storage in memory has no tables to query: open an SQLite file or PostgreSQL")

    async def search(self, classes: Sequence[type[Entity]], field: str, text: str, limit: int) -> list[Hit]:
        """See `Backend.search`."""
        check_searchable(classes[0], field)
        words = words_of(text)
        found: dict[UUID, Row] = {}
        for row in self._rows.values():
            if words and kind_to_class(row.info.kind) in classes and (held := row.values.get(field)) and set(words) <= set(words_of(held)):
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
            for ecs_id in () if lineage_id in found else self._lineages.get(lineage_id, ()):
                children = self._held(self._rows[ecs_id])
                edges.extend((self._keys[ecs_id], self._keys[child]) for child in children)
                waiting.extend(self._rows[child].info.lineage_id for child in children)
            found.add(lineage_id)
        versions = [self._outlined(self._rows[each].info) for lineage_id in found for each in self._lineages.get(lineage_id, ())]
        commits = {each.commit: self._by_key[each.key].info.commit for each in versions}
        tags = [Tagged(name, self._keys[ecs_id], lineage, at) for (lineage, name), (ecs_id, at) in self._tags.items() if lineage in found]
        merges = [(each.key, self._keys[other]) for each in versions for other in self.merged.get(each.ecs_id, ())]
        return Outline({each.key: each for each in versions}, edges, commits, tags, found, merges)

    def _outlined(self, info: VersionInfo) -> Outlined:
        parent = info.parent_id
        fork_no = 0 if parent is None else self._children[parent].index(info.ecs_id)
        return Outlined(self._keys[info.ecs_id], None if parent is None else self._keys[parent], fork_no, info.commit.id, info.ecs_id)

    def _held(self, row: Row) -> set[UUID]:
        """The versions that one holds, without members that its parent holds in the same field."""
        held = {child for child in row.references.values() if child is not None}
        parent = self._rows[row.info.parent_id] if row.info.parent_id is not None else None
        for name, place in row.places.items():
            before = {span.run: span for span in parent.places.get(name, EMPTY).spans} if parent is not None else {}
            for span in place.spans:
                known = before.get(span.run)
                begin = known.start + known.length if known is not None and known.start <= span.start else span.start
                held.update(self._cells[span.run][max(begin, span.start) : span.start + span.length])
        return held

    async def records(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Archive.records`."""
        return {key: self._record(self._by_key[key]) for key in keys}

    async def known(self, *, ids: Sequence[UUID] = (), keys: Sequence[int] = ()) -> list[Version]:
        """See `Archive.known`."""
        return [known.version for known in self.known_kinds(ids, keys)]

    def known_kinds(self, ids: Sequence[UUID], keys: Sequence[int]) -> list[Known]:
        """See `Shallow.known`."""
        found = [*(self._rows[each] for each in ids if each in self._rows), *(self._by_key[key] for key in keys if key in self._by_key)]
        return [Known(self._version(row), row.info.kind) for row in found]

    async def commits(self, said: Collection[Said]) -> dict[Said, int]:
        """See `Archive.commits`."""
        return {each: self._commits[each].id for each in said if each in self._commits}

    async def stored_blobs(self, hashes: Sequence[str]) -> set[str]:
        """See `Archive.stored_blobs`."""
        return {each for each in hashes if each in self._blobs}

    async def read_blobs(self, hashes: Sequence[str]) -> dict[str, bytes]:
        """See `Archive.read_blobs`."""
        if missing := [each for each in hashes if each not in self._blobs]:
            raise BlobNotFound(missing[0])
        return {each: self._blobs[each] for each in hashes}
