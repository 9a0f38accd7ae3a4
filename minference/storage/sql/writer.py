"""One transaction for everything that waits; what other processes did meanwhile is noticed by the keys, and taken into account."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from minference.ecs.identity import utc_now
from minference.ecs.state import Ledger, Version
from minference.errors import ErasedLineage, StorageError, VersionExists, WriteFailed
from minference.storage.base import Commit, Unit
from minference.storage.sequences import Place, Run
from minference.storage.sql.among import among_ids, id_parameter
from minference.storage.sql.batch import Batch
from minference.storage.sql.blobs import stored_blobs
from minference.storage.sql.dialects import Conflict, Permanent, Transient, diagnose, write_failed
from minference.storage.sql.driver import Driver, Patience
from minference.storage.sql.keys import KeyBlock
from minference.storage.sql.kinds import Kinds

MAX_COLLISIONS = 20
"""Times that other writers may be first before a commit is given up."""


class _Earlier:
    """What earlier attempts to write the same have left."""

    def __init__(self) -> None:
        self.unsure: list[Batch] = []
        """What may be stored: the connection may have broken after the database committed, before it could say so."""
        self.collisions = 0
        """Times that another writer was first."""


class Writer:
    """Turns units into rows and writes them."""

    def __init__(self, driver: Driver, ledger: Ledger, keys: KeyBlock, kinds: Kinds) -> None:
        self._driver = driver
        self._ledger = ledger
        self._keys = keys
        self._kinds = kinds

    async def write(self, units: Sequence[Unit]) -> list[Commit]:
        """See `Backend.write`."""
        patience, earlier = Patience(), _Earlier()
        while True:
            try:
                batch = await self._attempt(units, earlier)
            except StorageError:
                raise
            except Exception as error:
                if not (isinstance(diagnose(error), Transient) and await patience.wait()):
                    raise write_failed(error) from error
            else:
                if batch is not None:
                    batch.settle(self._ledger)
                    return batch.commits

    async def _attempt(self, units: Sequence[Unit], earlier: _Earlier) -> Batch | None:
        """What is stored now; `None` if another writer was first, so that it is worth another attempt. Exceptions of a driver pass."""
        if (written := await self._one_written(earlier.unsure)) is not None:
            return written
        batch: Batch | None = None
        try:
            batch = await self._lay_out(units)
            await self._driver.write(batch.statements())
        except StorageError:
            raise
        except Exception as error:
            if isinstance(cause := diagnose(error), Transient):
                if batch is not None:
                    earlier.unsure.append(batch)
                raise
            await self._learn(cause, error, units, batch, earlier)
            return None
        return batch

    async def _learn(
        self, cause: Conflict | Permanent, error: Exception, units: Sequence[Unit], batch: Batch | None, earlier: _Earlier
    ) -> None:
        """Find out what other writers did, so that another attempt can succeed; raise what it means if none can."""
        match cause:
            case Conflict.version_exists if await self._one_written(earlier.unsure) is not None:
                pass
            case Conflict.version_exists | Conflict.erased:
                raise await self._refusal(cause, units) from error
            case Conflict() if earlier.collisions < MAX_COLLISIONS:
                earlier.collisions += 1
                await self._refresh(units)
            case Conflict():
                raise WriteFailed(f"other writers were first {MAX_COLLISIONS} times in a row; save again") from error
            case Permanent() if earlier.collisions < MAX_COLLISIONS and batch is not None and await self._lost_blobs(batch):
                earlier.collisions += 1
            case Permanent():
                raise write_failed(error) from error

    async def _one_written(self, batches: Sequence[Batch]) -> Batch | None:
        """That of the batches which the database committed."""
        for batch in batches:
            if await self._is_written(batch):
                return batch
        return None

    async def _is_written(self, batch: Batch) -> bool:
        parameter = "$1" if self._driver.dialect == "postgresql" else "?"
        async with self._driver.reading() as fetch:
            return bool(await fetch(f"SELECT 1 FROM entity_version WHERE id = {parameter}", batch.first_key))

    async def _lay_out(self, units: Sequence[Unit]) -> Batch:
        drafts = [draft for unit in units for draft in unit.drafts]
        await self._kinds.ensure({draft.form for draft in drafts})
        # A version takes one key, and each of its ordered fields at most one for a run and one for a sequence.
        await self._keys.ensure(len(units) + sum(1 + 2 * len(draft.edits) for draft in drafts))
        batch = Batch(self._driver.dialect, self._kinds.ids, self._keys.take)
        for unit in units:
            batch.add(unit)
        if batch.blobs:
            batch.add_contents(await self._stored(batch.blobs), utc_now())
        return batch

    async def _stored(self, hashes: Iterable[str]) -> set[str]:
        """Which bytes need not travel again."""
        async with self._driver.reading() as fetch:
            return await stored_blobs(fetch, self._driver.dialect, list(hashes))

    async def _lost_blobs(self, batch: Batch) -> bool:
        """Whether bytes that were stored when the rows were laid out have been erased since, so that a foreign key failed."""
        return bool(batch.taken_as_stored) and not batch.taken_as_stored <= await self._stored(batch.taken_as_stored)

    async def _refusal(self, conflict: Conflict, units: Sequence[Unit]) -> StorageError:
        if conflict is Conflict.erased:
            return ErasedLineage(await self._erased(units))
        return VersionExists(await self._existing(units))

    async def _existing(self, units: Sequence[Unit]) -> UUID:
        """The first of the new ids that is stored already."""
        ids = [draft.version.ecs_id for unit in units for draft in unit.drafts]
        dialect = self._driver.dialect
        async with self._driver.reading() as fetch:
            for ecs_id in ids:
                condition = "ecs_id = $1" if dialect == "postgresql" else "ecs_id = ?"
                if await fetch(f"SELECT id FROM entity_version WHERE {condition}", ecs_id if dialect == "postgresql" else ecs_id.hex):
                    return ecs_id
        return ids[0]

    async def _erased(self, units: Sequence[Unit]) -> UUID:
        """The first lineage to which they would add a version although it is erased."""
        lineages = [draft.version.lineage_id for unit in units for draft in unit.drafts if draft.erased_at is None]
        parameter, postgresql = ("$1", True) if self._driver.dialect == "postgresql" else ("?", False)
        async with self._driver.reading() as fetch:
            for lineage_id in lineages:
                sql = f"SELECT 1 FROM erasure WHERE lineage_id = {parameter}"
                if await fetch(sql, lineage_id if postgresql else lineage_id.hex):
                    return lineage_id
        return lineages[0]

    async def _refresh(self, units: Sequence[Unit]) -> None:
        """Look up what other processes made of the versions and runs that the units build on."""
        parents, runs = _parents(units), _runs(units)
        dialect = self._driver.dialect
        children = f"""
            SELECT parent_id, MAX(fork_no), MAX(id) FROM entity_version
            WHERE parent_id {among_ids(dialect)} GROUP BY parent_id"""
        ends = f"SELECT run_id, MAX(position) + 1 FROM run_item WHERE run_id {among_ids(dialect)} GROUP BY run_id"
        async with self._driver.reading() as fetch:
            found = await fetch(children, id_parameter(dialect, parents))
            last = await self._ecs_ids(fetch, [row[2] for row in found])
            for key, number, newest in found:
                for version in parents[key]:
                    version.children, version.last_child = number + 1, last[newest]
            for key, end in await fetch(ends, id_parameter(dialect, runs)):
                for run in runs[key]:
                    run.end = end

    async def _ecs_ids(self, fetch: Any, ids: list[int]) -> dict[int, UUID]:
        dialect = self._driver.dialect
        rows = await fetch(f"SELECT id, ecs_id FROM entity_version WHERE id {among_ids(dialect)}", id_parameter(dialect, ids))
        return {key: ecs_id if isinstance(ecs_id, UUID) else UUID(hex=ecs_id) for key, ecs_id in rows}


def _parents(units: Sequence[Unit]) -> dict[int, list[Version]]:
    """The versions that the units build on, by key."""
    found: dict[int, list[Version]] = {}
    for draft in (draft for unit in units for draft in unit.drafts):
        if draft.previous is not None and draft.previous.id is not None:
            found.setdefault(draft.previous.id, []).append(draft.previous)
    return found


def _runs(units: Sequence[Unit]) -> dict[int, list[Run]]:
    """The runs that the units may append to, by key."""
    found: dict[int, list[Run]] = {}
    for version in (version for versions in _parents(units).values() for version in versions):
        places: Iterable[Place] = version.places.values()
        for run in (span.run for place in places for span in place.spans):
            found.setdefault(run.id, []).append(run)
    return found
