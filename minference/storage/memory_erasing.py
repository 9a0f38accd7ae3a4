"""Erasing from memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from uuid import UUID

from minference.ecs.entity import plan_of
from minference.ecs.erasing import erased, erased_keys
from minference.ecs.lineage import KindCount
from minference.ecs.plan import OnErase
from minference.ecs.values import dump_json, load_json
from minference.errors import LineageNotFound
from minference.storage.erasing import Erasure, ErasureScope, Shared, version_hint
from minference.storage.holdings import Held, belongings, in_order
from minference.storage.memory_rows import Row, Rows


class MemoryHoldings:
    """See `Holdings`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def _children(self, row: Row) -> Iterable[tuple[str, UUID]]:
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
            marks = plan_of(row.cls).on_erase
            for name, child in self._children(row):
                found.setdefault(marks.get(name), set()).add(child)
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
            marks = plan_of(row.cls).on_erase
            if any(mark is OnErase.follows and row.values[name] in ids for name, mark in marks.items()):
                found.add(row.info.lineage_id)
        return found


class MemoryEraser:
    """See `Eraser`. Everything is made ready before anything is changed."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def scope(self, lineage_id: UUID, shared: Shared) -> ErasureScope:
        """See `Eraser.scope`."""
        if lineage_id not in self._rows.lineages:
            row = self._rows.by_id.get(lineage_id)
            raise LineageNotFound(lineage_id, version_hint(row.info.lineage_id) if row else "")
        found = await belongings(MemoryHoldings(self._rows), lineage_id, shared)
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
        shells = [_shell(row, each) for each in erasures for row in self._rows.of(each.lineage_id)]
        for shell in shells:
            self._rows.replace(shell)
        self._rows.erasures.update((each.lineage_id, each) for each in erasures)

    async def erasures(self, lineages: Sequence[UUID] | None) -> list[Erasure]:
        """See `Eraser.erasures`."""
        found = [each for each in self._rows.erasures.values() if lineages is None or each.lineage_id in lineages]
        return sorted(found, key=lambda each: (each.erased_at, each.lineage_id))

    async def scrub(self) -> tuple[str, ...]:
        """See `Eraser.scrub`. Nothing else keeps what was in memory."""
        return ()


def _shell(row: Row, erasure: Erasure) -> Row:
    """What is left of a version."""
    plan = plan_of(row.cls)
    left = erased(row.cls, row.values | {name: load_json(row.cls, name, data) for name, data in row.json.items()})
    documents = {name: dump_json(row.cls, name, left[name]) for name in plan.mutable}
    info = replace(row.info, erased_at=erasure.erased_at)
    return replace(row, info=info, values={name: left[name] for name in plan.values}, json=documents, keys=erased_keys(row.keys))
