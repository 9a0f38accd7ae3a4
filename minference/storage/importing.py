"""Lines into a storage: what it has already is left alone, the rest is written commit by commit."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from minference.ecs.drafts import Draft, SequenceEdit
from minference.ecs.entity import Entity, kind_to_class, plan_of
from minference.ecs.erasing import erased, erased_keys
from minference.ecs.state import Version
from minference.ecs.values import dump_json
from minference.errors import ErasedLineage, InvalidExport, UnknownKind, VersionExists
from minference.storage.archive import Archive
from minference.storage.base import Commit, Unit
from minference.storage.erasing import Eraser, Erasure
from minference.storage.lines import CommitLine, ListEdit, VersionLine, read_line, read_values
from minference.storage.portable import Imported

PENDING = 128
"""Commits that are on their way to the database while further lines are read."""
VERSIONS_KEPT = 50_000
LISTS_KEPT = 1_024

Lists = dict[str, tuple[list[Version], int]]
"""Of each ordered field its members, in a list that only grows, and how many of them count."""


@dataclass(frozen=True, slots=True)
class ReadVersion:
    """One version of a line that was checked."""

    line: VersionLine
    cls: type[Entity]
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReadCommit:
    """A line that was checked."""

    number: int
    line: CommitLine
    versions: list[ReadVersion]


class LineReader:
    """Reads the lines of an export in order, and refuses what does not follow from the lines before. Needs no database."""

    def __init__(self) -> None:
        self._seen: dict[UUID, tuple[type[Entity], UUID, dict[str, int]]] = {}
        """Class, lineage, and the lengths of ordered fields."""

    def read(self, text: str, number: int) -> ReadCommit | Erasure:
        """One line after the header.

        Raises:
            InvalidExport: It is no commit, or builds on what no line before holds.
            UnknownKind: The program has not defined the class of one of its versions.
        """
        line = read_line(text, number)
        if isinstance(line, Erasure):
            return line
        versions = [self._read(each, number) for each in line.versions]
        for version in versions:
            self._check_members(version, number)
        return ReadCommit(number, line, versions)

    def _read(self, line: VersionLine, number: int) -> ReadVersion:
        cls = kind_to_class(line.kind)
        if cls is None:
            raise UnknownKind(line.kind)
        if line.id in self._seen:
            raise InvalidExport(number, f"version {line.id} is there twice")
        lengths: dict[str, int] = {}
        if line.parent is not None:
            parent = self._seen.get(line.parent)
            if parent is None:
                raise InvalidExport(number, f"version {line.id} was made from {line.parent}, which is on no line before")
            if parent[1] != line.lineage:
                raise InvalidExport(number, f"version {line.id} was made from {line.parent}, which is of another lineage")
            lengths = dict(parent[2])
        values = read_values(line, cls, number)
        self._seen[line.id] = (cls, line.lineage, self._lengths(line, cls, lengths, number))
        return ReadVersion(line, cls, values)

    def _lengths(self, line: VersionLine, cls: type[Entity], before: dict[str, int], number: int) -> dict[str, int]:
        plan = plan_of(cls)
        names = {field.name for field in plan.collections}
        keyed = {field.name for field in plan.collections if field.shape is dict}
        for given, allowed in ((line.references, set(plan.references)), (line.lists, names), (line.keys, keyed)):
            if unknown := given.keys() - allowed:
                raise InvalidExport(number, f"{line.kind} has no such field as {', '.join(map(repr, sorted(unknown)))}")
        for name, edit in line.lists.items():
            if edit.keep + edit.tail > before.get(name, 0):
                raise InvalidExport(number, f"version {line.id} keeps more of {name!r} than its parent has")
            before[name] = edit.keep + len(edit.add) + edit.tail
        for name in keyed:
            keys = line.keys.get(name, ())
            if len(keys) != before.get(name, 0) or len(set(keys)) < len(keys) or not all(isinstance(key, str) for key in keys):
                raise InvalidExport(number, f"version {line.id} needs a key for each member of {name!r}")
        return before

    def _check_members(self, version: ReadVersion, number: int) -> None:
        line, plan = version.line, plan_of(version.cls)
        children = [*line.references.items(), *((name, child) for name, edit in line.lists.items() for child in edit.add)]
        for name, child in children:
            held = self._seen.get(child)
            if held is None:
                raise InvalidExport(number, f"version {line.id} holds {child} in {name!r}, which is on no line before")
            if not issubclass(held[0], plan.types[name]):
                raise InvalidExport(number, f"version {line.id} holds a {held[0].__kind__} in {name!r}, where none belongs")


class Importer:
    """Writes what was read, in order, a number of commits on their way at once."""

    def __init__(self, archive: Archive, eraser: Eraser, write: Callable[[Unit], None], *, erase: bool) -> None:
        self._archive = archive
        self._eraser = eraser
        self._erase = erase
        """Whether to erase what is here and was erased elsewhere."""
        self._erased: dict[UUID, datetime] | None = None
        """Lineages that are erased here, once that is known, and when."""
        self._write = write
        self._known: OrderedDict[UUID, Version] = OrderedDict()
        self._lists: OrderedDict[UUID, Lists] = OrderedDict()
        self._pending: deque[tuple[ReadCommit, Unit]] = deque()
        self._commits = self._versions = self._present = self._emptied = self._buried = 0

    @property
    def result(self) -> Imported:
        """What is durable so far."""
        return Imported(self._commits, self._versions, self._present, self._emptied, self._buried)

    async def bury(self, erasures: Sequence[Erasure]) -> None:
        """Put up tombstones, and erase what is here of their lineages, if that is wanted."""
        await self._wait(0)
        self._buried += len(await self._eraser.bury(erasures, spare=not self._erase))
        self._erased = None

    async def add(self, commit: ReadCommit) -> None:
        """Write those versions of a commit that are not stored."""
        line, moment = commit.line, commit.line.at.astimezone(UTC)
        while True:
            await self._find(self._mentioned(commit))
            new = [each for each in commit.versions if each.line.id not in self._known]
            for each in new:
                if each.line.parent is not None and plan_of(each.cls).collections:
                    await self._recall(each.line.parent)
            joins = await self._archive.commit(moment, line.author, line.note) if new else None
            erased_here = await self._erased_here() if new else {}
            if not any(unit.done.done() and unit.done.exception() for _, unit in self._pending):
                break
            await self._wait(0)  # nothing may be built on what failed
        self._present += len(commit.versions) - len(new)
        if not new:
            return
        for each in new:
            self._known[each.line.id] = Version(each.line.id, each.line.lineage, each.line.at.astimezone(UTC))
        drafts = [self._draft(each, erased_here.get(each.line.lineage)) for each in new]
        done: asyncio.Future[Commit] = asyncio.get_running_loop().create_future()
        unit = Unit(drafts, line.author, line.note, moment, "branch", done, listeners=1, imported=True, joins=joins)
        self._write(unit)
        self._pending.append((commit, unit))
        await self._wait(PENDING)
        self._forget()

    async def finish(self) -> None:
        """Return when everything is durable.

        Raises:
            StorageError: Something could not be written. Commits before it were, and importing again adds the rest.
        """
        await self._wait(0)

    async def abandon(self) -> None:
        """Wait for what is on its way, whatever becomes of it."""
        if self._pending:
            await asyncio.wait([unit.done for _, unit in self._pending])
        for _, unit in self._pending:
            unit.done.exception()
        self._pending.clear()

    async def _wait(self, still: int) -> None:
        """Wait for the oldest commits until no more than `still` are on their way."""
        again: list[ReadCommit] = []
        while len(self._pending) > still:
            commit, unit = self._pending[0]
            await asyncio.wait([unit.done])
            self._pending.popleft()
            match unit.done.exception():
                case None:
                    self._commits += 1
                    self._versions += len(unit.drafts)
                    self._emptied += sum(draft.erased_at is not None for draft in unit.drafts)
                case VersionExists() | ErasedLineage():  # another process imports the same, or erases: see what is to do now
                    self._erased = None
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

    async def _erased_here(self) -> dict[UUID, datetime]:
        if self._erased is None:
            self._erased = {each.lineage_id: each.erased_at for each in await self._eraser.erasures(None)}
        return self._erased

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

    def _draft(self, read: ReadVersion, erased_at: datetime | None) -> Draft:
        line, cls, plan = read.line, read.cls, plan_of(read.cls)
        values = read.values if erased_at is None else erased(cls, read.values)
        previous = self._known[line.parent] if line.parent is not None else None
        references = {name: self._known[line.references[name]] if name in line.references else None for name in plan.references}
        edits: dict[str, SequenceEdit] = {}
        lists: Lists = {}
        before = self._lists.get(line.parent, {}) if line.parent is not None else {}
        for field in plan.collections:
            lists[field.name], edits[field.name] = self._edit(before.get(field.name, ([], 0)), line.lists.get(field.name))
        if plan.collections:
            self._lists[line.id] = lists
        keys = {field.name: tuple(line.keys.get(field.name, ())) for field in plan.collections if field.shape is dict}
        keys = keys if erased_at is None else erased_keys(keys)
        json = {name: dump_json(cls, name, values[name]) for name in plan.mutable}
        return Draft(cls.__new__(cls), self._known[line.id], previous, values, json, references, edits, keys, _nothing, erased_at)

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
        pending = {draft.version.ecs_id for _, unit in self._pending for draft in unit.drafts}
        _shrink(self._known, VERSIONS_KEPT, pending)
        _shrink(self._lists, LISTS_KEPT, pending)


def _shrink(cache: OrderedDict[UUID, Any], size: int, pending: set[UUID]) -> None:
    surplus: Sequence[UUID] = [each for each in list(cache)[: max(0, len(cache) - size)] if each not in pending]
    for each in surplus:
        del cache[each]


def _nothing() -> None:
    """No live object stands on an imported version."""
