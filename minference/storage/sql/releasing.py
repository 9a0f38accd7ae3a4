"""Bytes that versions no longer hold once they are erased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minference.ecs.blobs import Blob
from minference.ecs.identity import utc_now
from minference.storage.sql.among import among_ids, among_texts, id_parameter, text_parameter
from minference.storage.sql.batch import INSERT_BLOB, INSERT_HOLD
from minference.storage.sql.driver import Transaction
from minference.storage.sql.schema import StoredBlob
from minference.storage.sql.types import DialectName, encoder


class Releaser:
    """Notes what versions hold instead, and drops what nobody holds any more."""

    def __init__(self, transaction: Transaction, dialect: DialectName) -> None:
        self._transaction = transaction
        self._dialect = dialect
        self._released: set[str] = set()

    async def hold_instead(self, blobs: Mapping[int, Iterable[Blob]]) -> None:
        """These versions, by key, hold these and nothing else from now on."""
        among, keys = among_ids(self._dialect), id_parameter(self._dialect, blobs)
        rows = await self._transaction.fetch(f"SELECT DISTINCT sha256 FROM entity_blob WHERE owner_id {among}", keys)
        if rows:
            self._released.update(row[0] for row in rows)
            await self._transaction.execute(f"DELETE FROM entity_blob WHERE owner_id {among}", [(keys,)])
        named = {blob.sha256: blob for each in blobs.values() for blob in each}
        encode = encoder(StoredBlob.__table__.c["created_at"].type, self._dialect)
        now: Any = utc_now() if encode is None else encode(utc_now())
        new = [(sha256, blob.size, blob.data, now) for sha256, blob in sorted(named.items()) if blob.is_loaded]
        if new:
            await self._transaction.execute(INSERT_BLOB.sql(self._dialect), new)
        holds = sorted({(key, blob.sha256) for key, each in blobs.items() for blob in each})
        if holds:
            await self._transaction.execute(INSERT_HOLD.sql(self._dialect), holds)

    async def drop(self) -> None:
        """Delete the bytes that were held before, and that no version holds now."""
        if not self._released:
            return
        among, parameter = among_texts(self._dialect), text_parameter(self._dialect, sorted(self._released))
        unheld = "NOT EXISTS (SELECT 1 FROM entity_blob e WHERE e.sha256 = blob.sha256)"
        await self._transaction.execute(f"DELETE FROM blob WHERE sha256 {among} AND {unheld}", [(parameter,)])
