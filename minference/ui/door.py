"""The way to the database: opened when somebody looks, and again when the file is another one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from minference.cli.database import file_of
from minference.ecs.lineage import LineageTree, VersionInfo
from minference.errors import DatabaseUnreadable, OutdatedDatabase
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.storage.versioned import VersionedStorage

TREES_KEPT = 8
"""Lineages that are at hand, the last that were looked at."""


class NoDatabaseYet(DatabaseUnreadable):
    """There is no such file; it may be created any moment."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "there is no such file yet")


@dataclass(frozen=True, slots=True)
class _Kept:
    length: int
    newest: VersionInfo
    tree: LineageTree


class Door:
    """Opens one database for reading, as often as needed. A storage that was entered elsewhere can be handed in instead."""

    def __init__(self, url: str, storage: EntityStorage | None = None) -> None:
        self.url = url
        self._given = storage
        self._opened: VersionedStorage | None = None
        self._file: tuple[int, int] | None = None
        self._opening = asyncio.Lock()
        self._trees: dict[UUID, _Kept] = {}

    async def storage(self) -> EntityStorage:
        """The open storage.

        Raises:
            NoDatabaseYet: The file does not exist, or nothing was ever saved in the database.
            DatabaseUnreadable: The database cannot be used as it is; says why, and what to do.
        """
        if self._given is not None:
            return self._given
        async with self._opening:
            file = self._identity()
            if self._opened is None or file != self._file:
                await self._close()
                opened = open_storage(self.url, migrate="check")
                try:
                    self._opened, self._file = await opened.__aenter__(), file
                except OutdatedDatabase as outdated:
                    if outdated.revision is None:
                        raise NoDatabaseYet(self.url) from None
                    raise
            return self._opened

    async def tree(self, lineage_id: UUID) -> LineageTree:
        """All versions of a lineage; read again only if there are others than before. Empty if there is no such lineage."""
        storage = await self.storage()
        length, recent = await storage.length(lineage_id), await storage.recent(lineage_id, 1)
        if not recent:
            return LineageTree(())
        kept = self._trees.pop(lineage_id, None)
        if kept is None or (kept.length, kept.newest) != (length, recent[0]):
            kept = _Kept(length, recent[0], LineageTree(await storage.lineage(lineage_id)))
        self._trees[lineage_id] = kept
        while len(self._trees) > TREES_KEPT:
            del self._trees[next(iter(self._trees))]
        return kept.tree

    async def close(self) -> None:
        """Close what was opened here."""
        async with self._opening:
            await self._close()

    async def _close(self) -> None:
        opened, self._opened = self._opened, None
        self._trees.clear()
        if opened is not None:
            await opened.__aexit__()

    def _identity(self) -> tuple[int, int] | None:
        """Which file it is; `None` if it is none."""
        path = file_of(self.url)
        if path is None:
            return None
        try:
            status = path.stat()
        except FileNotFoundError:
            raise NoDatabaseYet(self.url) from None
        return status.st_dev, status.st_ino
