"""One transaction for everything that waits; what other processes did meanwhile is noticed by the keys, and taken into account."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from minference.ecs.state import Ledger, Version
from minference.errors import StorageError, VersionExists, WriteFailed
from minference.storage.base import Commit, Unit
from minference.storage.sequences import Place, Run
from minference.storage.sql.batch import Batch
from minference.storage.sql.dialects import Conflict, Transient, diagnose
from minference.storage.sql.driver import Driver
from minference.storage.sql.keys import KeyBlock
from minference.storage.sql.kinds import Kinds
from minference.storage.sql.mapping import among_ids, id_parameter

MAX_COLLISIONS = 20
"""Times that other writers may be first before a commit is given up."""
PATIENCE = 30.0
"""Seconds for which a database that is locked or away is tried again."""


class Writer:
    """Turns units into rows and writes them."""

    def __init__(self, driver: Driver, ledger: Ledger, keys: KeyBlock, kinds: Kinds) -> None:
        self._driver = driver
        self._ledger = ledger
        self._keys = keys
        self._kinds = kinds

    async def write(self, units: Sequence[Unit]) -> list[Commit]:
        """See `Backend.write`."""
        waited, collisions = 0.0, 0
        while True:
            try:
                return await self._attempt(units)
            except StorageError:
                raise
            except Exception as error:
                cause = diagnose(error)
                match cause:
                    case Conflict.version_exists:
                        raise VersionExists(await self._existing(units)) from error
                    case Conflict() if collisions < MAX_COLLISIONS:
                        collisions += 1
                        await self._refresh(units)
                    case Transient() if waited < PATIENCE:
                        pause = min(0.05 * 2 ** min(waited, 6), 2.0)
                        waited += pause
                        await asyncio.sleep(pause)
                    case _:
                        raise WriteFailed(f"{type(error).__name__}: {error}") from error

    async def _attempt(self, units: Sequence[Unit]) -> list[Commit]:
        drafts = [draft for unit in units for draft in unit.drafts]
        await self._kinds.ensure({type(draft.entity) for draft in drafts})
        # A version takes one key, and each of its ordered fields at most one for a run and one for a sequence.
        await self._keys.ensure(len(units) + sum(1 + 2 * len(draft.edits) for draft in drafts))
        batch = Batch(self._driver.dialect, self._kinds.ids, self._keys.take)
        for unit in units:
            batch.add(unit)
        await self._driver.write(batch.statements())
        batch.settle(self._ledger)
        return batch.commits

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

    async def _refresh(self, units: Sequence[Unit]) -> None:
        """Look up what other processes made of the versions and runs that the units build on."""
        parents = _parents(units)
        runs = {run.id: run for parent in parents.values() for place in parent.places.values() for run in _runs(place)}
        dialect = self._driver.dialect
        children = f"""
            SELECT parent_id, MAX(fork_no), MAX(id) FROM entity_version
            WHERE parent_id {among_ids(dialect)} GROUP BY parent_id"""
        ends = f"SELECT run_id, MAX(position) + 1 FROM run_item WHERE run_id {among_ids(dialect)} GROUP BY run_id"
        async with self._driver.reading() as fetch:
            found = await fetch(children, id_parameter(dialect, parents))
            last = await self._ecs_ids(fetch, [row[2] for row in found])
            for key, number, newest in found:
                parents[key].children, parents[key].last_child = number + 1, last[newest]
            for key, end in await fetch(ends, id_parameter(dialect, runs)):
                runs[key].end = end

    async def _ecs_ids(self, fetch: Any, ids: list[int]) -> dict[int, UUID]:
        dialect = self._driver.dialect
        rows = await fetch(f"SELECT id, ecs_id FROM entity_version WHERE id {among_ids(dialect)}", id_parameter(dialect, ids))
        return {key: ecs_id if isinstance(ecs_id, UUID) else UUID(hex=ecs_id) for key, ecs_id in rows}


def _parents(units: Sequence[Unit]) -> dict[int, Version]:
    previous = [draft.previous for unit in units for draft in unit.drafts if draft.previous is not None]
    return {version.id: version for version in previous if version.id is not None}


def _runs(place: Place) -> list[Run]:
    return [span.run for span in place.spans]
