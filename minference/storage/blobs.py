"""What every storage promises about the bytes of blobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from minference.ecs.blobs import Blob
from minference.ecs.entity import Entity


class Blobs(Protocol):
    """A part of `EntityStorage`.

    Bytes are written in the transaction of the first version that holds them, once however many versions do, and never
    again. Loading an entity does not load them.
    """

    async def read_blobs(self, blobs: Iterable[Blob]) -> dict[str, bytes]:
        """The bytes of each blob by its SHA-256, those in memory included. The blobs themselves do not keep them.

        Raises:
            BlobNotFound: The bytes of one are neither in memory nor stored here.
        """
        ...

    async def load_blobs(self, *holders: Entity | Blob) -> None:
        """Have the bytes of these blobs, and of all that these entities and everything below them hold, at hand in `data`.

        Raises:
            BlobNotFound: The bytes of one are not stored here; no blob was changed.
        """
        ...

    async def missing_blobs(self, blobs: Iterable[Blob]) -> list[Blob]:
        """Those whose bytes are neither in memory nor stored here, each content once."""
        ...
