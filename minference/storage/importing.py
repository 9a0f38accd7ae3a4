"""Lines into a storage: what it has already is left alone, the rest is written commit by commit."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID

from minference.ecs.blob_fields import blobs_in
from minference.ecs.blobs import Blob
from minference.ecs.drafts import Draft
from minference.ecs.entity import plan_of
from minference.ecs.erasing import blank_data, erased, erased_keys
from minference.ecs.fitting import dump_data
from minference.ecs.sequence_edit import SequenceEdit, kept_between
from minference.ecs.state import Version
from minference.ecs.values import dump_json
from minference.errors import ConversionFailed, ErasedLineage, InvalidExport, UnstorableValue, VersionExists, WriteFailed
from minference.storage.archive import Said
from minference.storage.base import Backend, Commit, Unit
from minference.storage.erasing import Erasure
from minference.storage.line_reader import ReadCommit, ReadVersion
from minference.storage.lines import ListEdit, TagLine
from minference.storage.portable import Imported, KeptTag

PENDING = 128
"""Commits that are on their way to the database while further lines are read."""
PENDING_BYTES = 32 * 2**20
"""How large their lines and blobs are together, unless a single commit has more."""
VERSIONS_KEPT = 50_000
LISTS_KEPT = 1_024

Lists = dict[str, tuple[list[Version], int]]
"""Of each ordered field its members, in a list that only grows, and how many of them count."""


class Importer:
    """Writes what was read, in order, a number of commits on their way at once."""

    def __init__(self, backend: Backend, write: Callable[[Unit], None], *, erase: bool) -> None:
        self._backend = backend
        self._archive = backend.archive()
        self._eraser = backend.eraser()
        self._erase = erase
        """Whether to erase what is here and was erased elsewhere."""
        self._erased: dict[UUID, datetime] | None = None
        """Lineages that are erased here, once that is known, and when."""
        self._write = write
        self._known: OrderedDict[UUID, Version] = OrderedDict()
        self._absent: set[UUID] = set()
        """Versions of the commits that are being added, which were looked up and are not stored."""
        self._joined: dict[Said, int | None] = {}
        """Whether what these commits say of themselves is said by one that is stored, and which."""
        self._lists: OrderedDict[UUID, Lists] = OrderedDict()
        self._pending: deque[tuple[ReadCommit, Unit]] = deque()
        self._left: dict[str, Blob] = {}
        """Bytes that came with versions which are here already, but not with these bytes: they may have been erased here."""
        self._bulk = 0
        """How large the lines and blobs of what is pending are."""
        self._tag_lines: list[TagLine] = []
        self._commits = self._versions = self._present = self._blobs = self._tags = self._emptied = self._buried = 0
        self._kept_tags: list[KeptTag] = []

    @property
    def result(self) -> Imported:
        """What is durable so far."""
        return Imported(
            self._commits,
            self._versions,
            self._present,
            self._blobs,
            self._tags,
            tuple(self._kept_tags),
            emptied=self._emptied,
            erased=self._buried,
        )

    async def bury(self, erasures: Sequence[Erasure]) -> None:
        """Put up tombstones, and erase what is here of their lineages, if that is wanted."""
        await self._wait(0)
        self._buried += len(await self._eraser.bury(erasures, spare=not self._erase))
        self._erased = None

    async def add(self, commits: Sequence[ReadCommit]) -> None:
        """Write those versions of these commits that are not stored. What they build on is looked up for all of them together."""
        await self._find({each for commit in commits for each in self._mentioned(commit)})
        new = [each for commit in commits for each in commit.versions if each.line.id not in self._known]
        self._joined = dict.fromkeys(map(_said, commits)) if new else {}
        self._joined |= await self._archive.commits(self._joined) if new else {}
        stored = {
            each.line.parent: self._known.get(each.line.parent) for each in new if each.line.parent is not None and each.builds_on_lists
        }
        await self._recall([each for each in stored.values() if each is not None and each.id is not None])
        for commit in commits:
            await self._add(commit)
            await asyncio.sleep(0)  # others wait for no more than one commit

    async def _add(self, commit: ReadCommit) -> None:
        line, said = commit.line, _said(commit)
        while True:
            await self._find(self._mentioned(commit))
            new = [each for each in commit.versions if each.line.id not in self._known]
            for each in new:
                if each.line.parent is not None and each.builds_on_lists:
                    await self._recall_one(each.line.parent)
            if new and said not in self._joined:
                self._joined[said] = (await self._archive.commits([said])).get(said)
            erased_here = await self._erased_here() if new else {}
            stored = await self._archive.stored_blobs(list(commit.blobs)) if commit.blobs else set()
            if not any(unit.done.done() and unit.done.exception() for _, unit in self._pending):
                break
            await self._wait(0)  # nothing may be built on what failed
        self._present += len(commit.versions) - len(new)
        for each in new:
            self._known[each.line.id] = Version(each.line.id, each.line.lineage, each.line.at.astimezone(UTC))
            self._absent.discard(each.line.id)
        # What is on its way may fail because another process was first, and others of the same bytes must not fail with it.
        on_their_way = {sha256: blob for sent, _ in self._pending for sha256, blob in sent.blobs.items()}
        drafts = [self._draft(each, self._left | on_their_way | commit.blobs, erased_here.get(each.line.lineage)) for each in new]
        held, absent = {blob.sha256 for draft in drafts for blob in draft.blobs}, commit.blobs.keys() - stored
        self._left.update({sha256: commit.blobs[sha256] for sha256 in absent - held})
        if not new:
            return
        self._blobs += len(held & absent)
        done: asyncio.Future[Commit] = asyncio.get_running_loop().create_future()
        joins = self._joined[said]
        unit = Unit(drafts, line.author, line.note, said[0], "branch", done, listeners=1, imported=True, joins=joins)
        self._write(unit)
        self._pending.append((commit, unit))
        self._bulk += commit.bulk
        await self._wait(PENDING)
        self._forget()

    def add_tags(self, lines: Sequence[TagLine]) -> None:
        """Name versions when everything is durable, each if no other one of its lineage is called so."""
        self._tag_lines += lines

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
            await asyncio.wait([unit.done for _, unit in self._pending])
        for _, unit in self._pending:
            unit.done.exception()
        self._pending.clear()

    async def _wait(self, still: int) -> None:
        """Wait for the oldest commits until no more than `still` are on their way, and no more than `PENDING_BYTES`."""
        again: list[ReadCommit] = []
        while len(self._pending) > still or (self._pending and self._bulk > PENDING_BYTES):
            commit, unit = self._pending[0]
            await asyncio.wait([unit.done])
            self._pending.popleft()
            self._bulk -= commit.bulk
            match unit.done.exception():
                case None:
                    self._commits += 1
                    self._versions += len(unit.drafts)
                    self._emptied += sum(draft.erased_at is not None for draft in unit.drafts)
                case VersionExists() | ErasedLineage():  # another process imports the same, or erases: see what is to do now
                    self._erased = None
                    self._absent.clear()
                    self._joined.clear()
                    again.append(commit)
                    self._present -= len(commit.versions) - len(unit.drafts)
                    for draft in unit.drafts:
                        self._known.pop(draft.version.ecs_id, None)
                        self._lists.pop(draft.version.ecs_id, None)
                    still = 0
                case (UnstorableValue() | ConversionFailed()) as error:
                    raise InvalidExport(commit.number, str(error)) from error
                case WriteFailed(away=False, damaged=False) as error if commit.strange:
                    raise InvalidExport(commit.number, f"{commit.strange[0]}, and the database refused it ({error.reason})") from error
                case error:
                    raise error
        for commit in again:
            await self._add(commit)
        if again:
            await self._wait(still)

    @staticmethod
    def _mentioned(commit: ReadCommit) -> set[UUID]:
        """Everything that the versions name; what they refer to was on a line before."""
        lines = [each.line for each in commit.versions]
        ids = {line.id for line in lines} | {line.parent for line in lines if line.parent is not None}
        ids.update(merged for line in lines for merged in line.merged)
        ids.update(child for each in commit.versions for child in each.references.values() if child is not None)
        ids.update(child for each in commit.versions for edit in each.lists.values() for child in edit.add)
        return ids

    async def _find(self, ids: Iterable[UUID]) -> None:
        """Know of those that are stored or on their way."""
        unknown = []
        for each in ids:
            if each in self._known:
                self._known.move_to_end(each)
            elif each not in self._absent:
                unknown.append(each)
        if unknown:
            found = await self._archive.known(ids=unknown)
            self._known.update((each.ecs_id, each) for each in found)
            self._absent.update(each for each in unknown if each not in self._known)

    async def _erased_here(self) -> dict[UUID, datetime]:
        if self._erased is None:
            self._erased = {each.lineage_id: each.erased_at for each in await self._eraser.erasures(None)}
        return self._erased

    async def _recall_one(self, parent: UUID) -> None:
        """Have the ordered fields of a version at hand that others are made from, if it is on a line before."""
        if parent in self._lists:
            self._lists.move_to_end(parent)
        elif parent in self._known:
            await self._wait(0)
            await self._recall([self._known[parent]])

    async def _recall(self, parents: Sequence[Version]) -> None:
        """The same of versions that are durable."""
        keys = []
        for parent in parents:
            if parent.ecs_id in self._lists:
                self._lists.move_to_end(parent.ecs_id)
            else:
                assert parent.id is not None, "it is durable"
                keys.append(parent.id)
        records = (await self._archive.records(keys)).values() if keys else ()
        members = {child for record in records for children in record.members.values() for child in children}
        found = {each.id: each for each in await self._archive.known(keys=sorted(members))} if members else {}
        for record in records:
            self._known[record.version.ecs_id] = record.version
            self._lists[record.version.ecs_id] = {
                name: ([found[child] for child in children], len(children)) for name, children in record.members.items()
            }

    def _draft(self, read: ReadVersion, arrived: dict[str, Blob], erased_at: datetime | None) -> Draft:
        line, cls = read.line, read.cls
        previous = self._known[line.parent] if line.parent is not None else None
        references = {name: self._known[child] if child is not None else None for name, child in read.references.items()}
        edits: dict[str, SequenceEdit] = {}
        lists: Lists = {}
        before = self._lists.get(line.parent, {}) if line.parent is not None else {}
        for name in read.collections:
            lists[name], edits[name] = self._edit(before.get(name, ([], 0)), read.lists.get(name))
        if any(length for _, length in lists.values()):
            self._lists[line.id] = lists
        content = _content(read, erase=erased_at is not None)
        blobs = tuple(arrived.get(blob.sha256, blob) for blob in content.blobs)
        version, entity = self._known[line.id], cls.__new__(cls)
        return Draft(
            entity,
            version,
            previous,
            content.values,
            content.json,
            references,
            edits,
            content.keys,
            blobs,
            read.opaque,
            erased_at,
            tuple(self._known[merged] for merged in dict.fromkeys(line.merged)),
        )

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
        kept = kept_between(old[0], line.keep, length - line.tail, added)
        return (versions, now), SequenceEdit(line.keep, added, line.tail, length, versions, now, kept)

    def _forget(self) -> None:
        """Keep the caches small. What is on its way is not forgotten: it cannot be looked up yet."""
        caches: tuple[tuple[OrderedDict[UUID, Any], int], ...] = (self._known, VERSIONS_KEPT), (self._lists, LISTS_KEPT)
        for cache, size in caches:
            if len(cache) > size:
                pending = {draft.version.ecs_id for _, unit in self._pending for draft in unit.drafts}
                _shrink(cache, size - size // 4, pending)


def _shrink(cache: OrderedDict[UUID, Any], size: int, pending: set[UUID]) -> None:
    """Forget what was not used for longest, more of it than need be: so that few commits have to look for it."""
    surplus = list(islice(cache, len(cache) - size))
    for each in surplus:
        if each not in pending:
            del cache[each]


@dataclass(frozen=True, slots=True)
class _Content:
    """What is written of one version beside what it holds."""

    values: dict[str, Any]
    json: dict[str, bytes]
    keys: dict[str, tuple[str, ...]]
    blobs: Sequence[Blob]


def _content(read: ReadVersion, *, erase: bool) -> _Content:
    """What was read, or what is left of it."""
    if read.opaque is not None:
        data = {name: blank_data(value) for name, value in read.values.items()} if erase else read.values
        keys = {name: read.keys.get(name, ()) for name in read.opaque.of_sort("dict")}
        json = {name: dump_data(value).encode() for name, value in data.items()}
        return _Content({}, json, erased_keys(keys) if erase else keys, [] if erase else read.blobs)
    cls, plan = read.cls, plan_of(read.cls)
    values = erased(cls, read.values) if erase else read.values
    keys = {field.name: read.keys.get(field.name, ()) for field in plan.collections if field.shape is dict}
    json = {name: dump_json(cls, name, values[name]) for name in plan.mutable}
    return _Content(values, json, erased_keys(keys) if erase else keys, blobs_in(cls, values) if erase else read.blobs)


def _said(commit: ReadCommit) -> Said:
    return commit.line.at.astimezone(UTC), commit.line.author, commit.line.note
