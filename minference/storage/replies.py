"""What every storage keeps of replies that may be given again: the response cache. See `minference.inference.caching`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class CachedReply:
    """A reply and what it is found by."""

    key: str
    """Names the exact request, and who was asked: 64 hexadecimal digits."""
    request_sha256: str
    """Digest of the request alone, as in the raw output of whoever asked: erasing that removes this."""
    payload: Mapping[str, JsonValue]
    """The body of the reply."""
    created_at: datetime
    """When it came."""


@dataclass(frozen=True, slots=True)
class CacheSize:
    """How much there is."""

    replies: int
    oldest: datetime | None
    newest: datetime | None


class Replies(Protocol):
    """Cached replies in a storage. Everything is durable when it returns."""

    async def find(self, key: str) -> CachedReply | None:
        """The reply to a request, however old it is."""
        ...

    async def put(self, replies: Sequence[tuple[CachedReply, UUID]]) -> None:
        """Keep replies instead of those with the same keys, each with the lineage that holds it; not if that was erased."""
        ...

    async def clear(self, before: datetime | None = None) -> int:
        """Forget the replies that came before a time, or all; how many these were."""
        ...

    async def size(self) -> CacheSize:
        """How many there are, and of which times."""
        ...


class KeepsReplies(Protocol):
    """A part of `EntityStorage`."""

    def replies(self) -> Replies:
        """Cached replies to requests that may be made again."""
        ...
