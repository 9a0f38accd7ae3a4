"""Cached replies in their table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from pydantic import TypeAdapter

from minference.storage.replies import CachedReply, CacheSize
from minference.storage.sql.among import among_uuids, uuid_parameter
from minference.storage.sql.beside import TableBeside
from minference.storage.sql.driver import Fetch, Transaction
from minference.storage.sql.retrying import Work, with_parameters
from minference.storage.sql.types import DialectName, escape_json, json_document, unescape_json

T = TypeVar("T")

_FIND = "SELECT request_sha256, CAST(payload AS text), created_at FROM cached_reply WHERE key = {0:text}"
_PUT = """
    INSERT INTO cached_reply (key, request_sha256, payload, created_at) VALUES ({0:text}, {1:text}, {2:json}, {3:timestamptz})
    ON CONFLICT (key) DO UPDATE SET payload = excluded.payload, created_at = excluded.created_at"""
_CLEAR = "DELETE FROM cached_reply WHERE created_at < {0:timestamptz} RETURNING key"
_CLEAR_ALL = "DELETE FROM cached_reply RETURNING key"
_SIZE = "SELECT COUNT(*), MIN(created_at), MAX(created_at) FROM cached_reply"
_FORGET = "DELETE FROM cached_reply WHERE request_sha256 = {0:text}"

_FOUND = TypeAdapter(list[tuple[str, str, datetime]])
_SIZES = TypeAdapter(list[tuple[int, datetime | None, datetime | None]])


class SqlReplies(TableBeside):
    """See `Replies`."""

    async def find(self, key: str) -> CachedReply | None:
        """See `Replies.find`."""

        rows = _FOUND.validate_python(await self._fetch(_FIND, key))
        return next((CachedReply(key, digest, json.loads(unescape_json(text)), at) for digest, text, at in rows), None)

    async def put(self, replies: Sequence[tuple[CachedReply, UUID]]) -> None:
        """See `Replies.put`."""

        async def work(transaction: Transaction) -> None:
            erased = await _erased(transaction.fetch, self._dialect, [holder for _, holder in replies])
            rows = [
                (reply.key, reply.request_sha256, escape_json(json_document(dict(reply.payload))), self._time(reply.created_at))
                for reply, holder in replies
                if holder not in erased
            ]
            if rows:
                # In the order of keys: of two programs that put the same, neither waits for the other.
                await transaction.execute(self._sql(_PUT), sorted(rows, key=lambda row: row[0]))

        await self._write(work)

    async def clear(self, before: datetime | None = None) -> int:
        """See `Replies.clear`."""

        async def work(transaction: Transaction) -> int:
            if before is None:
                return len(await transaction.fetch(_CLEAR_ALL))
            return len(await transaction.fetch(self._sql(_CLEAR), self._time(before)))

        return await self._write(work)

    async def size(self) -> CacheSize:
        """See `Replies.size`."""

        [(count, oldest, newest)] = _SIZES.validate_python(await self._fetch(_SIZE))
        return CacheSize(count, oldest, newest)

    async def _write(self, work: Work[T]) -> T:
        """As whoever adds a version does: so that an erasure that goes on is waited for, and seen."""

        async def after_erasures(transaction: Transaction) -> T:
            if self._dialect == "postgresql":
                await transaction.execute("LOCK TABLE entity_version IN ROW EXCLUSIVE MODE")
            return await work(transaction)

        return await super()._write(after_erasures)


async def forget(transaction: Transaction, dialect: DialectName, digests: Iterable[str]) -> None:
    """Forget replies to requests with these digests."""
    if rows := [(digest,) for digest in digests]:
        await transaction.execute(with_parameters(_FORGET, dialect), rows)


async def _erased(fetch: Fetch, dialect: DialectName, lineages: Sequence[UUID]) -> set[UUID]:
    rows = await fetch(f"SELECT lineage_id FROM erasure WHERE lineage_id {among_uuids(dialect)}", uuid_parameter(dialect, lineages))
    return {lineage_id for (lineage_id,) in TypeAdapter(list[tuple[UUID]]).validate_python(rows)}
