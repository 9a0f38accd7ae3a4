"""`SqlBackend`: versions in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Literal, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from minference.ecs.entity import Entity
from minference.ecs.lineage import KindCount, VersionInfo
from minference.ecs.state import Ledger
from minference.errors import StorageClosed
from minference.storage.archive import Archive
from minference.storage.base import Commit, Record, Unit
from minference.storage.checks import Checks
from minference.storage.erasing import Eraser
from minference.storage.replies import Replies
from minference.storage.runs import Runs
from minference.storage.search import Hit
from minference.storage.shallow import Shallow
from minference.storage.sql.archive import SqlArchive
from minference.storage.sql.checking import SqlChecks
from minference.storage.sql.dialects import Transient, diagnose, dialect_of, open_engine, read_failed, shown_url
from minference.storage.sql.driver import Driver, Patience, PostgresDriver, SqliteDriver, is_driver_error
from minference.storage.sql.erasing import SqlEraser
from minference.storage.sql.files import OpenFile
from minference.storage.sql.keys import KeyBlock
from minference.storage.sql.kinds import Kinds
from minference.storage.sql.moving import RowMover
from minference.storage.sql.opening import open_database
from minference.storage.sql.reader import Reader
from minference.storage.sql.replies import SqlReplies
from minference.storage.sql.runs import SqlRuns
from minference.storage.sql.searching import search
from minference.storage.sql.sessions import ReadOnlySessions
from minference.storage.sql.shallow import SqlShallow
from minference.storage.sql.stored import StoredReader
from minference.storage.sql.tags import TagWriter
from minference.storage.sql.writer import Writer
from minference.storage.stored import StoredVersion

T = TypeVar("T")


class SqlBackend:
    """One database. Writing goes through one connection, reading through a pool."""

    def __init__(self, url: str, *, durability: Literal["full", "fast"], migrate: Literal["auto", "check", "off"]) -> None:
        self._engine = open_engine(url, durability=durability)
        self._migrate: Literal["auto", "check", "off"] = migrate
        self.url = shown_url(url)
        self._file: OpenFile | None = None
        self._driver: Driver | None = None
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        self._tag_writer: TagWriter | None = None
        self._sessions = ReadOnlySessions(url)

    async def open(self) -> Ledger:
        """See `Backend.open`."""
        try:
            database_id = await open_database(self._engine, migrate=self._migrate)
        except BaseException:
            await self._engine.dispose()
            raise
        self._file = OpenFile.of(self._engine)
        self._driver = SqliteDriver(self._engine, self._file) if dialect_of(self._engine) == "sqlite" else PostgresDriver(self._engine)
        ledger = Ledger(database_id)
        keys = KeyBlock(self._driver)
        kinds = Kinds(self._driver, keys)
        self._reader = Reader(self._driver, ledger, kinds)
        self._writer = Writer(self._driver, ledger, keys, kinds)
        self._tag_writer = TagWriter(self._driver)
        return ledger

    async def close(self) -> None:
        """See `Backend.close`."""
        file = self._file if self._driver is not None and self._driver.wrote else None
        if self._driver is not None:
            await self._driver.close()
        self._reader = self._writer = self._tag_writer = self._driver = None
        await self._sessions.close()
        await self._engine.dispose()
        if file is not None:
            file.require()

    async def _ask(self, question: Callable[[Reader], Awaitable[T]]) -> T:
        """The answer; asked again for a while if the database is busy or away."""
        patience = Patience()
        while True:
            if self._reader is None:
                raise StorageClosed(self.url)
            try:
                return await question(self._reader)
            except Exception as error:
                if not is_driver_error(error):
                    raise
                if isinstance(diagnose(error), Transient) and await patience.wait():
                    continue
                raise read_failed(error) from error

    async def write(self, units: Sequence[Unit]) -> list[Commit]:
        """See `Backend.write`."""
        if self._writer is None:
            raise StorageClosed(self.url)
        return await self._writer.write(units)

    async def read(self, ecs_id: UUID) -> dict[int, Record]:
        """See `Backend.read`."""
        return await self._ask(lambda reader: reader.read(ecs_id))

    async def read_stored(self, ecs_id: UUID) -> StoredVersion:
        """See `Backend.read_stored`."""
        return await self._ask(lambda reader: StoredReader(*reader.parts).read_stored(ecs_id))

    async def move_rows(self, classes: Sequence[type[Entity]]) -> int:
        """See `Backend.move_rows`."""
        if self._reader is None:
            raise StorageClosed(self.url)
        driver, kinds = self._reader.parts.driver, self._reader.parts.kinds
        return await RowMover(self._ask, driver, kinds).move(classes)

    async def find(self, ecs_id: UUID) -> VersionInfo | None:
        """See `Backend.find`."""
        return await self._ask(lambda reader: reader.find(ecs_id))

    async def lineage(self, lineage_id: UUID) -> list[VersionInfo]:
        """See `Backend.lineage`."""
        return await self._ask(lambda reader: reader.lineage(lineage_id))

    async def heads_of_kinds(self, kinds: Sequence[str]) -> list[VersionInfo]:
        """See `Backend.heads_of_kinds`."""
        return await self._ask(lambda reader: reader.heads_of_kinds(kinds))

    async def matching(self, prefix: str) -> list[VersionInfo]:
        """See `Backend.matching`."""
        return await self._ask(lambda reader: reader.matching(prefix))

    def _tagging(self) -> TagWriter:
        if self._tag_writer is None:
            raise StorageClosed(self.url)
        return self._tag_writer

    async def tag(self, name: str, ecs_id: UUID, *, move: bool, at: datetime) -> UUID:
        """See `Backend.tag`."""
        return await self._tagging().tag(name, ecs_id, move=move, at=at)

    async def untag(self, name: str, lineage_id: UUID) -> bool:
        """See `Backend.untag`."""
        return await self._tagging().untag(name, lineage_id)

    async def tags(self, lineage_id: UUID) -> dict[str, VersionInfo]:
        """See `Backend.tags`."""
        return await self._ask(lambda reader: reader.tags(lineage_id))

    async def kinds(self) -> set[str]:
        """See `Backend.kinds`."""
        return await self._ask(lambda reader: reader.kinds())

    async def counts(self) -> dict[str, KindCount]:
        """See `Backend.counts`."""
        return await self._ask(lambda reader: reader.counts())

    def shallow(self) -> Shallow:
        """See `Backend.shallow`."""
        return SqlShallow(self._ask)

    def archive(self) -> Archive:
        """See `Backend.archive`."""
        return SqlArchive(self._ask)

    def eraser(self) -> Eraser:
        """See `Backend.eraser`."""
        if self._reader is None:
            raise StorageClosed(self.url)
        return SqlEraser(self._ask, self._reader)

    def sql(self) -> AbstractAsyncContextManager[AsyncSession]:
        """See `Backend.sql`."""
        return self._sessions.session()

    def checks(self) -> Checks:
        """See `Backend.checks`."""
        return SqlChecks(self._ask)

    def runs(self) -> Runs:
        """See `Backend.runs`."""
        if self._driver is None:
            raise StorageClosed(self.url)
        return SqlRuns(self._ask, self._driver)

    def replies(self) -> Replies:
        """See `Backend.replies`."""
        if self._driver is None:
            raise StorageClosed(self.url)
        return SqlReplies(self._ask, self._driver)

    async def search(self, classes: Sequence[type[Entity]], field: str, text: str, limit: int) -> list[Hit]:
        """See `Backend.search`."""
        return await search(self._ask, classes, field, text, limit)
