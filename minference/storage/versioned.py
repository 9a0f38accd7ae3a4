"""`VersionedStorage`: what a storage means, over any backend."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar
from uuid import UUID

from minference.ecs.blob_fields import blobs_below
from minference.ecs.blobs import Blob
from minference.ecs.changes import has_changes
from minference.ecs.diff import EntityDiff, diff_entities
from minference.ecs.drafts import capture
from minference.ecs.entity import Entity
from minference.ecs.identity import utc_now
from minference.ecs.lineage import Blame, LineageTree, StorageStatus, VersionInfo
from minference.ecs.merge import MergeResult
from minference.ecs.merge_lists import Strategy
from minference.ecs.recording import collecting_recording, running_author
from minference.ecs.registry import CurrentStorage, use_storage
from minference.ecs.state import Ledger
from minference.errors import (
    ConfigurationError,
    InvalidTagName,
    NothingYet,
    StorageClosed,
    TagNotFound,
    TagTaken,
    VersionNotFound,
    WrongEventLoop,
)
from minference.storage.arguments import a_class, a_row_count, a_text, a_time, an_id, blobs_in, check_save, ids, lineage_of, version_of
from minference.storage.base import Backend, Commit, EntityStorage, OnConflict, Pending, Unit
from minference.storage.blame import blame
from minference.storage.branching import merge, rebase, revert
from minference.storage.building import build
from minference.storage.checks import DatabaseSize, Finding
from minference.storage.committer import Committer, pending_versions
from minference.storage.differences import differences
from minference.storage.erasing import Erased, Erasure, ErasureScope, Shared
from minference.storage.erasure import erase, scope
from minference.storage.exporting import export_lines
from minference.storage.glancing import Glancing, with_subclasses
from minference.storage.lineages import is_tag_name
from minference.storage.openness import Openness
from minference.storage.portable import Imported
from minference.storage.promises import as_promised
from minference.storage.recording import RecordingBlock
from minference.storage.replies import Replies
from minference.storage.runs import Runs
from minference.storage.search import Hit
from minference.storage.stored import StoredVersion
from minference.storage.transfer import export_to, import_from, import_lines
from minference.waiting import to_the_end

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

E = TypeVar("E", bound=Entity)


@as_promised
class VersionedStorage(Glancing, EntityStorage):
    """Entities as versions in a backend. Belongs to the event loop that it was opened on."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.url = backend.url
        self._ledger: Ledger | None = None
        self._committer: Committer | None = None
        self._openness = Openness(f"the storage {backend.url}")
        self._before: CurrentStorage | None = None

    async def __aenter__(self) -> Self:
        with self._openness.beginning():
            self._ledger = await self._backend.open()
        self._committer = Committer(self._backend, self._ledger)
        self._before = use_storage(self)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        # Tokens of context variables cannot be reset from another context, as test fixtures would: put back the value.
        use_storage(self._before)
        committer, self._committer = self._open()[1], None
        with self._openness.ending():
            try:
                await to_the_end(committer.close())
            finally:
                await to_the_end(self._backend.close())

    def _open(self) -> tuple[Ledger, Committer]:
        if self._ledger is None or self._committer is None:
            raise StorageClosed(self.url)
        if not self._openness.is_here():
            raise WrongEventLoop(self.url)
        return self._ledger, self._committer

    def submit(self, *roots: Entity, author: str | None = None, note: str | None = None, on_conflict: OnConflict = "branch") -> Pending:
        """See `EntityStorage.submit`."""
        check_save(roots, author, note, on_conflict)
        ledger, committer = self._open()
        done: asyncio.Future[Commit] = asyncio.get_running_loop().create_future()
        drafts = capture(roots, ledger)
        unit = Unit(drafts, running_author(self) if author is None else author, note, utc_now(), on_conflict, done, roots=roots)
        unit.after = tuple(pending_versions(roots, ledger)) if not drafts else ()
        if drafts or committer.pending():
            committer.add(unit)
        else:
            done.set_result(Commit(None, ()))
        return Pending(unit)

    async def register(
        self, entity: E, *more: Entity, author: str | None = None, note: str | None = None, on_conflict: OnConflict = "branch"
    ) -> E:
        """See `EntityStorage.register`."""
        check_save((entity, *more), author, note, on_conflict)
        self._open()
        if (recording := collecting_recording(self)) is not None:
            recording.add(entity, *more)
            recording.adopt(author, note, on_conflict)
            return entity
        await self.submit(entity, *more, author=author, note=note, on_conflict=on_conflict)
        return entity

    def recording(self, *, author: str | None = None, note: str | None = None, on_conflict: OnConflict = "branch") -> RecordingBlock:
        """See `EntityStorage.recording`."""
        check_save((), author, note, on_conflict)
        return RecordingBlock(self, author, note, on_conflict)

    async def flush(self) -> None:
        """See `EntityStorage.flush`."""
        await self._open()[1].flush()

    async def get(self, cls: type[E], ecs_id: UUID) -> E:
        """See `EntityStorage.get`."""
        return await self._load(cls, ecs_id, cold=False)

    async def get_cold_snapshot(self, cls: type[E], ecs_id: UUID) -> E:
        """See `EntityStorage.get_cold_snapshot`."""
        return await self._load(cls, ecs_id, cold=True)

    async def _load(self, cls: type[E], ecs_id: UUID, *, cold: bool) -> E:
        ledger, _ = self._open()
        await self._settle()
        return build(await self._backend.read(an_id("ecs_id", ecs_id)), a_class(cls), ledger, cold=cold)

    async def has_entity(self, ecs_id: UUID) -> bool:
        """See `EntityStorage.has_entity`."""
        self._open()
        await self._settle()
        return await self._backend.find(an_id("ecs_id", ecs_id)) is not None

    async def info(self, ecs_id: UUID) -> VersionInfo:
        """See `EntityStorage.info`."""
        self._open()
        await self._settle()
        found = await self._backend.find(an_id("ecs_id", ecs_id))
        if found is None:
            raise VersionNotFound(ecs_id)
        return found

    async def latest(self, cls: type[E], lineage_id: UUID) -> E:
        """See `EntityStorage.latest`."""
        versions = await self.lineage(lineage_id)
        if not versions:
            raise VersionNotFound(lineage_id, "it is the id of no lineage")
        return await self.get(cls, versions[-1].ecs_id)

    async def lineage(self, lineage_id: UUID) -> list[VersionInfo]:
        """See `EntityStorage.lineage`."""
        await self._settle()
        return await self._backend.lineage(an_id("lineage_id", lineage_id))

    async def heads(self, lineage_id: UUID) -> list[VersionInfo]:
        """See `EntityStorage.heads`."""
        await self._settle()
        return await self._backend.shallow().heads(an_id("lineage_id", lineage_id))

    async def ancestors(self, ecs_id: UUID) -> list[VersionInfo]:
        """See `EntityStorage.ancestors`."""
        version = await self.info(ecs_id)
        return list(LineageTree(await self.lineage(version.lineage_id)).ancestors(ecs_id))

    async def list_by_type(self, cls: type[Entity]) -> list[VersionInfo]:
        """See `EntityStorage.list_by_type`."""
        await self._settle()
        return await self._backend.heads_of_kinds(await self._kinds(cls))

    async def get_stored(self, ecs_id: UUID) -> StoredVersion:
        """See `Stored.get_stored`."""
        await self._settle()
        return await self._backend.read_stored(an_id("ecs_id", ecs_id))

    async def move_rows(self, cls: type[Entity], *more: type[Entity]) -> int:
        """See `Stored.move_rows`."""
        classes = [each for one in (cls, *more) for each in with_subclasses(a_class(one))]
        await self._settle()
        return await self._backend.move_rows(list(dict.fromkeys(classes)))

    async def blame(self, entity: Entity | UUID, field: str | None = None, *, window: slice | None = None) -> list[Blame]:
        """See `EntityStorage.blame`."""
        await self._settle()
        return await blame(self._backend, version_of(entity), field, window)

    async def status(self) -> StorageStatus:
        """See `EntityStorage.status`."""
        await self._settle()
        return StorageStatus(self.url, dict(sorted((await self._backend.counts()).items())))

    async def at(self, cls: type[E], lineage_id: UUID, when: datetime) -> E:
        """See `Lineages.at`."""
        a_time("when", when)
        versions = await self.lineage(lineage_id)
        if not versions:
            raise VersionNotFound(lineage_id, "it is the id of no lineage")
        by_then = LineageTree(version for version in versions if version.created_at <= when)
        if not by_then.main_line:
            raise NothingYet(lineage_id, when, versions[0].created_at)
        return await self.get(cls, by_then.main_line[-1].ecs_id)

    async def revert(self, entity: E, to: UUID, *, author: str | None = None, note: str | None = None) -> E:
        """See `Lineages.revert`."""
        return await revert(self, self._open()[0], entity, to, author, note)

    async def rebase(self, entity: E, onto: Entity | UUID | None = None, *, strategy: Strategy | None = None) -> MergeResult[E]:
        """See `Lineages.rebase`."""
        return await rebase(self, self._open()[0], entity, onto, strategy)

    async def merge(
        self, ours: E, theirs: E | UUID, strategy: Strategy | None = None, *, author: str | None = None, note: str | None = None
    ) -> MergeResult[E]:
        """See `Lineages.merge`."""
        return await merge(self, self._open()[0], ours, theirs, strategy, author, note)

    async def common_ancestor(self, one: Entity | UUID, other: Entity | UUID) -> VersionInfo | None:
        """See `Lineages.common_ancestor`."""
        first, second = await self.info(version_of(one)), await self.info(version_of(other))
        if first.lineage_id != second.lineage_id:
            return None
        return LineageTree(await self.lineage(first.lineage_id)).common_ancestor(first.ecs_id, second.ecs_id)

    async def tag(self, name: str, version: Entity | UUID, *, move: bool = False) -> VersionInfo:
        """See `Lineages.tag`."""
        if not is_tag_name(a_text("name", name)):
            raise InvalidTagName(name)
        await self._settle()
        tagged = await self.info(version_of(version))
        holder = await self._backend.tag(name, tagged.ecs_id, move=move, at=utc_now())
        if holder != tagged.ecs_id:
            raise TagTaken(tagged.lineage_id, name, holder)
        return tagged

    async def untag(self, name: str, lineage_id: UUID) -> None:
        """See `Lineages.untag`."""
        self._open()
        if not is_tag_name(a_text("name", name)) or not await self._backend.untag(name, an_id("lineage_id", lineage_id)):
            raise TagNotFound(lineage_id, name, list(await self.tags(lineage_id)))

    async def tags(self, lineage_id: UUID) -> dict[str, VersionInfo]:
        """See `Lineages.tags`."""
        self._open()
        return await self._backend.tags(an_id("lineage_id", lineage_id))

    async def tagged(self, cls: type[E], lineage_id: UUID, name: str) -> E:
        """See `Lineages.tagged`."""
        tags = await self.tags(lineage_id)
        if name not in tags:
            raise TagNotFound(lineage_id, name, list(tags))
        return await self.get(cls, tags[name].ecs_id)

    async def read_blobs(self, blobs: Iterable[Blob]) -> dict[str, bytes]:
        """See `Blobs.read_blobs`."""
        wanted = blobs_in(blobs)
        await self._settle()
        found = {blob.sha256: blob.data for blob in wanted if blob.is_loaded}
        absent = list(dict.fromkeys(blob.sha256 for blob in wanted if blob.sha256 not in found))
        return found | (await self._backend.archive().read_blobs(absent) if absent else {})

    async def load_blobs(self, *holders: Entity | Blob) -> None:
        """See `Blobs.load_blobs`."""
        blobs = [blob for each in holders for blob in ([each] if isinstance(each, Blob) else blobs_below(each)) if not blob.is_loaded]
        contents = await self.read_blobs(blobs)
        for blob in blobs:
            blob.keep(contents[blob.sha256])

    async def missing_blobs(self, blobs: Iterable[Blob]) -> list[Blob]:
        """See `Blobs.missing_blobs`."""
        wanted = {blob.sha256: blob for blob in sorted(blobs_in(blobs), key=lambda blob: blob.is_loaded)}
        absent = {sha256: blob for sha256, blob in wanted.items() if not blob.is_loaded}
        await self._settle()
        stored = await self._backend.archive().stored_blobs(list(absent)) if absent else set[str]()
        return [blob for sha256, blob in absent.items() if sha256 not in stored]

    async def diff(self, old: Entity | UUID, new: Entity | UUID) -> EntityDiff:
        """See `EntityStorage.diff`."""
        if isinstance(old, Entity) and isinstance(new, Entity):
            return diff_entities(old, new)
        ledger = await self._settled()
        if any(isinstance(each, Entity) and has_changes(each, ledger) for each in (old, new)):
            before = await self.get(Entity, old) if isinstance(old, UUID) else old
            return diff_entities(before, await self.get(Entity, new) if isinstance(new, UUID) else new)
        return (await differences(self._backend, ledger, [(version_of(old), version_of(new))]))[0]

    async def export_lines(self, lineages: Iterable[UUID] | None = None) -> AsyncIterator[str]:
        """See `Portable.export_lines`."""
        await self._settle()
        wanted = None if lineages is None else ids("lineages", lineages)
        for each in wanted or ():
            if not await self._backend.lineage(each):
                raise VersionNotFound(each, "it is the id of no lineage")
        async for line in export_lines(self._backend.archive(), self._backend.eraser(), wanted):
            yield line

    async def export_to(self, path: str | os.PathLike[str], lineages: Iterable[UUID] | None = None) -> int:
        """See `Portable.export_to`."""
        return await export_to(self.export_lines(lineages), path)

    async def import_lines(self, lines: Iterable[str], *, erase: bool = True) -> Imported:
        """See `Portable.import_lines`."""
        _, committer = self._open()
        await self._settle()
        return await import_lines(self._backend, committer.add, lines, erase=erase)

    async def import_from(self, path: str | os.PathLike[str], *, erase: bool = True) -> Imported:
        """See `Portable.import_from`."""
        return await import_from(partial(self.import_lines, erase=erase), path)

    async def erase(
        self, what: Entity | UUID, *, reason: str, author: str | None = None, shared: Shared = "erase", scrub: bool = True
    ) -> Erased:
        """See `Erasing.erase`."""
        await self._settle()
        return await to_the_end(erase(self._backend.eraser(), lineage_of(what), reason, author, shared, scrub=scrub))

    async def erasure_scope(self, what: Entity | UUID, *, shared: Shared = "erase") -> ErasureScope:
        """See `Erasing.erasure_scope`."""
        await self._settle()
        return await scope(self._backend.eraser(), lineage_of(what), shared)

    async def erasures(self, lineage_id: UUID | None = None) -> list[Erasure]:
        """See `Erasing.erasures`."""
        self._open()
        return await self._backend.eraser().erasures(None if lineage_id is None else [an_id("lineage_id", lineage_id)])

    async def scrub(self) -> tuple[str, ...]:
        """See `Erasing.scrub`."""
        await self._settle()
        return await to_the_end(self._backend.eraser().scrub())

    async def check(self) -> list[Finding]:
        """See `Checks.check`."""
        await self._settle()
        return await self._backend.checks().check()

    async def size(self) -> DatabaseSize:
        """See `Checks.size`."""
        await self._settle()
        return await self._backend.checks().size()

    @asynccontextmanager
    async def sql(self) -> AsyncIterator[AsyncSession]:
        """See `Queries.sql`."""
        await self._settle()
        async with self._backend.sql() as session:
            yield session

    def runs(self) -> Runs:
        """See `KeepsRuns.runs`."""
        self._open()
        return self._backend.runs()

    def replies(self) -> Replies:
        """See `KeepsReplies.replies`."""
        self._open()
        return self._backend.replies()

    async def search(self, cls: type[Entity], text: str, *, field: str = "content", limit: int = 20) -> list[Hit]:
        """See `Search.search`."""
        if field not in a_class(cls).model_fields:
            raise ConfigurationError(f"{cls.__name__} has no field {field!r} to search in")
        await self._settle()
        return await self._backend.search(with_subclasses(cls), field, a_text("text", text), a_row_count("limit", limit))

    async def _settled(self) -> Ledger:
        await self._settle()
        return self._open()[0]

    async def _settle(self) -> None:
        """Wait for what is queued, so that whoever saved can read it. Failures reach whoever saved."""
        _, committer = self._open()
        if waiting := [unit.done for unit in committer.pending()]:
            await asyncio.wait(waiting)
