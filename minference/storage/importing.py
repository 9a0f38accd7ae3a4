"""Lines into a storage: what it has already is left alone, the rest is written commit by commit."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from uuid import UUID

from minference.ecs.blobs import Blob
from minference.ecs.drafts import Draft, SequenceEdit
from minference.ecs.entity import plan_of
from minference.ecs.state import Version
from minference.ecs.values import dump_json
from minference.errors import VersionExists
from minference.storage.base import Backend, Commit, Unit
from minference.storage.line_reader import ReadCommit, ReadVersion
from minference.storage.lines import ListEdit, TagLine
from minference.storage.portable import Imported, KeptTag

PENDING = 128
"""Commits that are on their way to the database while further lines are read."""
PENDING_BYTES = 32 * 2**20
"""Bytes of blobs that are on their way with them, unless a single commit has more."""
VERSIONS_KEPT = 50_000
LISTS_KEPT = 1_024

Lists = dict[str, tuple[list[Version], int]]
"""Of each ordered field its members, in a list that only grows, and how many of them count."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What a storage has of a commit."""

    new: list[ReadVersion]
    """Versions that it has not."""
    joins: int | None
    """Its own commit of the same moment, author and note."""
    absent: set[str]
    """Hashes of bytes that came with the commit and are not stored."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """A commit on its way to the database."""

    commit: ReadCommit
    unit: Unit
    blobs: int
    """Contents that it brings."""

    @property
    def has_failed(self) -> bool:
        """Whether it could not be written."""
        return self.unit.done.done() and self.unit.done.exception() is not None


class Importer:
    """Writes what was read, in order, a number of commits on their way at once."""

    def __init__(self, backend: Backend, write: Callable[[Unit], None]) -> None:
        self._backend = backend
        self._archive = backend.archive()
        self._write = write
        self._known: OrderedDict[UUID, Version] = OrderedDict()
        self._lists: OrderedDict[UUID, Lists] = OrderedDict()
        self._pending: deque[_Sent] = deque()
        self._bulk = 0
        """Bytes that came with what is pending."""
        self._left: dict[str, Blob] = {}
        """Bytes that came with versions which are here already, but not with these bytes: they may have been erased here."""
        self._tag_lines: list[TagLine] = []
        self._commits = self._versions = self._present = self._blobs = self._tags = 0
        self._kept_tags: list[KeptTag] = []

    @property
    def result(self) -> Imported:
        """What is durable so far."""
        return Imported(self._commits, self._versions, self._present, self._blobs, self._tags, tuple(self._kept_tags))

    async def add(self, commit: ReadCommit) -> None:
        """Write those versions of a commit that are not stored."""
        found = await self._look_up(commit)
        while any(sent.has_failed for sent in self._pending):
            # Another process imports the same: what was taken for on its way is not, and nothing may refer to it.
            await self._wait(0)
            found = await self._look_up(commit)
        new, needed = found.new, {blob.sha256 for each in found.new for blob in each.blobs}
        self._present += len(commit.versions) - len(new)
        self._left.update({sha256: commit.blobs[sha256] for sha256 in found.absent - needed})
        if not new:
            return
        line, moment = commit.line, commit.line.at.astimezone(UTC)
        for each in new:
            self._known[each.line.id] = Version(each.line.id, each.line.lineage, each.line.at.astimezone(UTC))
        drafts = [self._draft(each, self._left | commit.blobs) for each in new]
        done: asyncio.Future[Commit] = asyncio.get_running_loop().create_future()
        unit = Unit(drafts, line.author, line.note, moment, "branch", done, listeners=1, imported=True, joins=found.joins)
        self._write(unit)
        self._pending.append(_Sent(commit, unit, len(found.absent & needed)))
        self._bulk += commit.bulk
        await self._wait(PENDING)
        self._forget()

    async def _look_up(self, commit: ReadCommit) -> _Found:
        """What is here already; everything that the new versions build on is known then."""
        await self._find(self._mentioned(commit))
        new = [each for each in commit.versions if each.line.id not in self._known]
        stored = await self._archive.stored_blobs(list(commit.blobs)) if commit.blobs else set[str]()
        for each in new:
            if each.line.parent is not None and each.builds_on_lists:
                await self._recall(each.line.parent)
        joins = await self._archive.commit(commit.line.at.astimezone(UTC), commit.line.author, commit.line.note) if new else None
        return _Found(new, joins, commit.blobs.keys() - stored)

    def add_tag(self, line: TagLine) -> None:
        """Name a version when everything is durable, if no other one of its lineage is called so."""
        self._tag_lines.append(line)

    async def finish(self) -> None:
        """Return when everything is durable.

        Raises:
            StorageError: Something could not be written. Commits before it were, and importing again adds the rest.
        """
        await self._wait(0)
        for line in self._tag_lines:
            await self._tag(line)

    async def _tag(self, line: TagLine) -> None:
        version = await self._backend.find(line.version)
        assert version is not None, "its commit is durable"
        if line.tag in (tags := await self._backend.tags(version.lineage_id)):
            holder = tags[line.tag].ecs_id
        else:
            holder = await self._backend.tag(line.tag, line.version, move=False, at=line.at.astimezone(UTC))
            self._tags += holder == line.version
        if holder != line.version:
            self._kept_tags.append(KeptTag(version.lineage_id, line.tag, holder, line.version))

    async def abandon(self) -> None:
        """Wait for what is on its way, whatever becomes of it."""
        if self._pending:
            await asyncio.wait([sent.unit.done for sent in self._pending])
        for sent in self._pending:
            sent.unit.done.exception()
        self._pending.clear()

    async def _wait(self, still: int) -> None:
        """Wait for the oldest commits until no more than `still` are on their way, and no more than `PENDING_BYTES` of blobs."""
        again: list[ReadCommit] = []
        while len(self._pending) > still or (self._pending and self._bulk > PENDING_BYTES):
            sent = self._pending[0]
            commit, unit = sent.commit, sent.unit
            await asyncio.wait([unit.done])
            self._pending.popleft()
            self._bulk -= commit.bulk
            match unit.done.exception():
                case None:
                    self._commits += 1
                    self._versions += len(unit.drafts)
                    self._blobs += sent.blobs
                case VersionExists():  # another process imports the same: see what is missing now
                    again.append(commit)
                    self._present -= len(commit.versions) - len(unit.drafts)
                    for draft in unit.drafts:
                        self._known.pop(draft.version.ecs_id, None)
                        self._lists.pop(draft.version.ecs_id, None)
                    still = 0
                case error:
                    raise error
        for commit in again:
            await self.add(commit)
        if again:
            await self._wait(still)

    @staticmethod
    def _mentioned(commit: ReadCommit) -> set[UUID]:
        """Everything that the line names; what it refers to was on a line before."""
        lines = [each.line for each in commit.versions]
        ids = {line.id for line in lines} | {line.parent for line in lines if line.parent is not None}
        ids.update(child for line in lines for child in line.references.values())
        ids.update(child for line in lines for edit in line.lists.values() for child in edit.add)
        return ids

    async def _find(self, ids: Iterable[UUID]) -> None:
        """Know of those that are stored or on their way."""
        unknown = []
        for each in ids:
            if each in self._known:
                self._known.move_to_end(each)
            else:
                unknown.append(each)
        for found in await self._archive.known(ids=unknown) if unknown else ():
            self._known[found.version.ecs_id] = found.version

    async def _recall(self, parent: UUID) -> None:
        """Have the ordered fields of a version at hand that others are made from."""
        if parent in self._lists:
            self._lists.move_to_end(parent)
            return
        if parent not in self._known:  # it is on the same line
            return
        await self._wait(0)
        key = self._known[parent].id
        assert key is not None, "it is durable now"
        [record] = (await self._archive.records([key])).values()
        members = {child for children in record.members.values() for child in children}
        found = {each.version.id: each.version for each in await self._archive.known(keys=sorted(members))} if members else {}
        self._known[parent] = record.version
        self._lists[parent] = {name: ([found[child] for child in children], len(children)) for name, children in record.members.items()}

    def _draft(self, read: ReadVersion, arrived: dict[str, Blob]) -> Draft:
        line, cls, plan = read.line, read.cls, plan_of(read.cls)
        previous = self._known[line.parent] if line.parent is not None else None
        references = {name: self._known[line.references[name]] if name in line.references else None for name in plan.references}
        edits: dict[str, SequenceEdit] = {}
        lists: Lists = {}
        before = self._lists.get(line.parent, {}) if line.parent is not None else {}
        for field in plan.collections:
            lists[field.name], edits[field.name] = self._edit(before.get(field.name, ([], 0)), line.lists.get(field.name))
        if any(length for _, length in lists.values()):
            self._lists[line.id] = lists
        keys = {field.name: tuple(line.keys.get(field.name, ())) for field in plan.collections if field.shape is dict}
        json = {name: dump_json(cls, name, read.values[name]) for name in plan.mutable}
        blobs = tuple(arrived.get(blob.sha256, blob) for blob in read.blobs)
        return Draft(cls.__new__(cls), self._known[line.id], previous, read.values, json, references, edits, keys, blobs, _nothing)

    def _edit(self, old: tuple[list[Version], int], line: ListEdit | None) -> tuple[tuple[list[Version], int], SequenceEdit]:
        versions, length = old
        if line is None:
            return old, SequenceEdit(length, [], 0, length, versions, length)
        added = [self._known[child] for child in line.add]
        if line.keep == length and not line.tail and len(versions) == length:
            versions.extend(added)
        else:
            versions = [*versions[: line.keep], *added, *versions[length - line.tail : length]]
        now = line.keep + len(added) + line.tail
        return (versions, now), SequenceEdit(line.keep, added, line.tail, length, versions, now)

    def _forget(self) -> None:
        """Keep the caches small. What is on its way is not forgotten: it cannot be looked up yet."""
        if len(self._known) <= VERSIONS_KEPT and len(self._lists) <= LISTS_KEPT:
            return
        pending = {draft.version.ecs_id for sent in self._pending for draft in sent.unit.drafts}
        _shrink(self._known, VERSIONS_KEPT, pending)
        _shrink(self._lists, LISTS_KEPT, pending)


def _shrink(cache: OrderedDict[UUID, Any], size: int, pending: set[UUID]) -> None:
    surplus: Sequence[UUID] = [each for each in list(cache)[: max(0, len(cache) - size)] if each not in pending]
    for each in surplus:
        del cache[each]


def _nothing() -> None:
    """No live object stands on an imported version."""
