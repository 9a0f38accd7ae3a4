"""Erasing from memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import replace
from uuid import UUID

from minference.ecs.blob_fields import blob_fields, blobs_in
from minference.ecs.blobs import Blob
from minference.ecs.entity import kind_to_class, plan_of
from minference.ecs.erasing import erased, erased_keys
from minference.ecs.lineage import KindCount
from minference.ecs.values import dump_json
from minference.errors import LineageNotFound, UnknownKind
from minference.storage.base import Record
from minference.storage.erasing import Erasure, ErasureScope, Shared, version_hint
from minference.storage.holdings import Held, belongings, digests_in, following, in_order, marks_of
from minference.storage.memory_replies import MemoryReplies
from minference.storage.memory_rows import Row, Rows
from minference.storage.sequences import EMPTY

RecordOf = Callable[[Row], Record]
"""A version in the present shape of its class."""


class MemoryHoldings:
    """See `Holdings`."""

    def __init__(self, rows: Rows, record: RecordOf) -> None:
        self._rows = rows
        self._record = record

    def _children(self, row: Row) -> Iterable[tuple[str, UUID]]:
        """What a version holds, by field as that was called when it was written."""
        for name, child in row.references.items():
            if child is not None:
                yield name, self._rows.by_id[child].info.lineage_id
        for name, place in row.places.items():
            for child in self._rows.members(place):
                yield name, self._rows.by_id[child].info.lineage_id

    async def held(self, lineages: Set[UUID]) -> Held:
        """See `Holdings.held`."""
        found: Held = {}
        for row in (row for lineage_id in lineages for row in self._rows.of(lineage_id)):
            mark_of = marks_of(kind_to_class(row.info.kind), row.shape)
            for name, child in self._children(row):
                found.setdefault(mark_of(name), set()).add(child)
        return found

    async def holders(self, lineages: Set[UUID]) -> set[tuple[UUID, UUID]]:
        """See `Holdings.holders`."""
        living = (row for row in self._rows.by_id.values() if row.info.erased_at is None)
        return {(child, row.info.lineage_id) for row in living for _, child in self._children(row) if child in lineages}

    async def followers(self, lineages: Set[UUID]) -> set[UUID]:
        """See `Holdings.followers`."""
        ids = {*lineages, *(row.info.ecs_id for lineage_id in lineages for row in self._rows.of(lineage_id))}
        found: set[UUID] = set()
        for row in self._rows.by_id.values():
            cls = kind_to_class(row.info.kind)
            fields = [] if cls is None else following(cls)
            values = row.values if not fields or cls is row.cls else self._record(row).values
            if any(values[name] in ids for name in fields):
                found.add(row.info.lineage_id)
        return found


class MemoryEraser:
    """See `Eraser`. Everything is made ready before anything is changed."""

    def __init__(self, rows: Rows, record: RecordOf, replies: MemoryReplies) -> None:
        self._rows = rows
        self._record = record
        self._replies = replies

    async def scope(self, lineage_id: UUID, shared: Shared) -> ErasureScope:
        """See `Eraser.scope`."""
        if lineage_id not in self._rows.lineages:
            row = self._rows.by_id.get(lineage_id)
            raise LineageNotFound(lineage_id, version_hint(row.info.lineage_id) if row else "")
        found = await belongings(MemoryHoldings(self._rows, self._record), lineage_id, shared)
        new = in_order(lineage_id, (each for each in found.erased if each not in self._rows.erasures))
        versions = Counter(row.info.kind for each in new for row in self._rows.of(each))
        lineages = Counter(self._rows.of(each)[0].info.kind for each in new)
        kinds = {kind: KindCount(versions[kind], lineages[kind]) for kind in sorted(versions)}
        return ErasureScope(lineage_id, new, kinds, tuple(sorted(found.affected)), tuple(sorted(found.kept)))

    async def erase(self, erasure: Erasure, shared: Shared) -> ErasureScope:
        """See `Eraser.erase`."""
        scope = await self.scope(erasure.lineage_id, shared)
        self._bury([replace(erasure, lineage_id=each) for each in scope.lineages])
        return scope

    async def bury(self, erasures: Sequence[Erasure], *, spare: bool = False) -> list[UUID]:
        """See `Eraser.bury`."""
        new = {each.lineage_id: each for each in erasures if each.lineage_id not in self._rows.erasures}
        stored = [each for each in new if each in self._rows.lineages]
        if spare:
            new, stored = {each: new[each] for each in new if each not in stored}, []
        self._bury(list(new.values()))
        return stored

    def _bury(self, erasures: Sequence[Erasure]) -> None:
        rows = [(row, each) for each in erasures for row in self._rows.of(each.lineage_id) if row.info.erased_at is None]
        left = [self._shell(row, each) for row, each in rows]
        digests = [digest for row, _ in rows for digest in digests_in(self._record(row))]
        for shell, blobs in left:
            self._rows.replace(shell)
            self._rows.blobs.update((blob.sha256, blob.data) for blob in blobs if blob.sha256 not in self._rows.blobs)
        self._rows.drop_blobs({sha256 for row, _ in rows for sha256 in row.blobs})
        self._replies.forget(digests)
        self._rows.erasures.update((each.lineage_id, each) for each in erasures)

    async def erasures(self, lineages: Sequence[UUID] | None) -> list[Erasure]:
        """See `Eraser.erasures`."""
        found = [each for each in self._rows.erasures.values() if lineages is None or each.lineage_id in lineages]
        return sorted(found, key=lambda each: (each.erased_at, each.lineage_id))

    async def scrub(self) -> tuple[str, ...]:
        """See `Eraser.scrub`. Nothing else keeps what was in memory."""
        return ()

    def _shell(self, row: Row, erasure: Erasure) -> tuple[Row, Sequence[Blob]]:
        """What is left of a version, in the present shape of its class, and the bytes to which that refers."""
        record = self._record(row)
        if record.opaque is not None:
            raise UnknownKind(record.kind)
        cls, plan = record.cls, plan_of(record.cls)
        left = erased(cls, record.values)
        blobs = blobs_in(cls, left)
        as_json = (*plan.mutable, *(name for name in blob_fields(cls) if name not in plan.mutable))
        shell = Row(
            row.info._replace(erased_at=erasure.erased_at),
            cls,
            {name: left[name] for name in plan.values if name not in as_json},
            {name: dump_json(cls, name, left[name]) for name in as_json},
            {name: None if key is None else self._rows.by_key[key].info.ecs_id for name, key in record.references.items()},
            {field.name: record.version.places.get(field.name, EMPTY) for field in plan.collections},
            erased_keys(record.keys),
            None,
            frozenset(blob.sha256 for blob in blobs),
        )
        return shell, blobs
