"""Cached replies in this process's memory."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from minference.storage.replies import CachedReply, CacheSize


class MemoryReplies:
    """See `Replies`."""

    def __init__(self, erased: Container[UUID]) -> None:
        self._erased = erased
        """The lineages that have a tombstone."""
        self._replies: dict[str, CachedReply] = {}

    async def find(self, key: str) -> CachedReply | None:
        """See `Replies.find`."""
        return self._replies.get(key)

    async def put(self, replies: Sequence[tuple[CachedReply, UUID]]) -> None:
        """See `Replies.put`."""
        self._replies.update((reply.key, reply) for reply, holder in replies if holder not in self._erased)

    async def clear(self, before: datetime | None = None) -> int:
        """See `Replies.clear`."""
        old = [key for key, reply in self._replies.items() if before is None or reply.created_at < before]
        for key in old:
            del self._replies[key]
        return len(old)

    async def size(self) -> CacheSize:
        """See `Replies.size`."""
        times = [reply.created_at for reply in self._replies.values()]
        return CacheSize(len(times), min(times, default=None), max(times, default=None))

    def forget(self, digests: Iterable[str]) -> None:
        """Forget replies to requests with these digests."""
        gone = set(digests)
        self._replies = {key: reply for key, reply in self._replies.items() if reply.request_sha256 not in gone}
