"""Whole lineages as lines, each commit after all that it builds on."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, groupby
from typing import Any
from uuid import UUID

from minference.ecs.blob_fields import blobs_in, blobs_in_data
from minference.ecs.lineage import CommitInfo
from minference.ecs.shapes import Shape, shape_of
from minference.errors import ReadFailed
from minference.storage.archive import Archive, Outline, Tagged
from minference.storage.base import Record
from minference.storage.erasing import Eraser
from minference.storage.lines import HEADER, Tally, write_blob, write_commit, write_erasure, write_tag, write_version

VERSIONS_AT_ONCE = 256
"""Versions that are read together; a commit is never split."""
LISTS_KEPT = 1_024
"""Versions whose ordered fields are remembered, for those made from them."""

Group = tuple[CommitInfo, list[int]]
"""A commit and the keys of its versions, each after those that it was made from or after."""
Before = dict[int, tuple[int, ...]]
"""For each version its parent, and the one that was made from that before it."""


async def export_lines(archive: Archive, eraser: Eraser, lineages: Sequence[UUID] | None) -> AsyncIterator[str]:
    """The lines. In memory are the keys and ids of all versions, the content of a few hundred at a time, and one blob."""
    yield HEADER
    tally = Tally()
    async for line in _content(archive, eraser, lineages):
        tally.add(line)
        yield line
    yield tally.end()


async def _content(archive: Archive, eraser: Eraser, lineages: Sequence[UUID] | None) -> AsyncIterator[str]:
    """What is between the first line and the last."""
    outline = await archive.outline(lineages)
    for erasure in await eraser.erasures(None if lineages is None else list(outline.lineages)):
        yield write_erasure(erasure)
    exporter = _Exporter(archive, outline)
    for groups in _portions(ordered(outline)):
        async for line in exporter.lines(groups):
            yield line
    async for line in exporter.tags(outline.tags):
        yield line


def ordered(outline: Outline) -> list[Group]:
    """The commits, each after all that its versions build on and otherwise the oldest first.

    Neither the order of the commits nor that of their versions depends on keys, which another storage gives out in another order.

    Raises:
        ReadFailed: Commits build on each other in a circle, which no series of saves makes, or something is gone.
    """
    _refuse_gaps(outline)
    members: dict[int, list[int]] = {}
    for version in outline.versions.values():
        members.setdefault(version.commit, []).append(version.key)
    before = _before(outline)
    rank = {each: (*_rank(outline.commits[each]), min(outline.versions[key].ecs_id.int for key in keys)) for each, keys in members.items()}
    found = _sorted(rank, *_dependencies(outline, before), "commits")
    grouped = groupby(found, key=lambda each: _said(outline.commits[each]))
    return [_joined(outline, members, list(same), before) for _, same in grouped]


def _sorted(rank: Mapping[int, Any], after: Mapping[int, Collection[int]], waits: dict[int, int], what: str) -> list[int]:
    """Each after all that it waits for and otherwise by rank."""
    ready = [(rank[each], each) for each in rank if not waits.get(each)]
    heapq.heapify(ready)
    found: list[int] = []
    while ready:
        _, current = heapq.heappop(ready)
        found.append(current)
        for following in after.get(current, ()):
            waits[following] -= 1
            if not waits[following]:
                heapq.heappush(ready, (rank[following], following))
    if len(found) < len(rank):
        raise ReadFailed(f"{what} build on each other in a circle", damaged=True)
    return found


def _refuse_gaps(outline: Outline) -> None:
    versions = {key for edge in outline.edges for key in edge}
    versions |= {version.parent for version in outline.versions.values() if version.parent is not None}
    versions |= {key for merge in outline.merges for key in merge}
    commits = {version.commit for version in outline.versions.values()}
    gone = len(versions - outline.versions.keys()) + len(commits - outline.commits.keys())
    if gone:
        raise ReadFailed(f"{gone} rows are gone that others refer to", damaged=True)


def _joined(outline: Outline, members: dict[int, list[int]], commits: list[int], before: Before) -> Group:
    """Commits of one moment, author and note are one: an import in parts cannot tell them apart."""
    rank = {key: outline.versions[key].ecs_id.int for each in commits for key in members[each]}
    links = _links((key, other) for key in rank for other in before[key] if other in rank)
    return outline.commits[commits[0]], _sorted(rank, *links, "versions")


def _said(commit: CommitInfo) -> tuple[datetime, str | None, str | None]:
    return commit.created_at, commit.author, commit.note


def _rank(commit: CommitInfo) -> tuple[datetime, str, str]:
    return commit.created_at, commit.author or "", commit.note or ""


def _before(outline: Outline) -> Before:
    siblings = {(version.parent, version.fork_no): version.key for version in outline.versions.values() if version.parent is not None}
    found: Before = {}
    for version in outline.versions.values():
        others = () if version.parent is None else (version.parent, siblings.get((version.parent, version.fork_no - 1)))
        found[version.key] = tuple(other for other in others if other is not None)
    for key, merged in outline.merges:
        found[key] = (*found[key], merged)
    return found


def _dependencies(outline: Outline, before: Before) -> tuple[dict[int, set[int]], dict[int, int]]:
    """For each commit those that must follow it, and for each how many it follows."""
    commit_of = {version.key: version.commit for version in outline.versions.values()}
    pairs = chain(outline.edges, ((key, other) for key, others in before.items() for other in others))
    return _links((commit_of[key], commit_of[other]) for key, other in pairs if commit_of[key] != commit_of[other])


def _links(pairs: Iterable[tuple[int, int]]) -> tuple[dict[int, set[int]], dict[int, int]]:
    """From pairs of one and another that it must follow: for each those that must follow it, and for each how many it follows."""
    after: dict[int, set[int]] = {}
    for one, other in pairs:
        after.setdefault(other, set()).add(one)
    waits: dict[int, int] = {}
    for followers in after.values():
        for follower in followers:
            waits[follower] = waits.get(follower, 0) + 1
    return after, waits


def _portions(groups: Sequence[Group]) -> Iterator[list[Group]]:
    portion: list[Group] = []
    for group in groups:
        portion.append(group)
        if sum(len(keys) for _, keys in portion) >= VERSIONS_AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion


class _Exporter:
    """Reads versions and writes them as changes of the versions that they were made from."""

    def __init__(self, archive: Archive, outline: Outline) -> None:
        self._archive = archive
        self._outline = outline
        self._ids: dict[int, UUID] = {}
        self._lists: OrderedDict[int, dict[str, list[int]]] = OrderedDict()
        self._told: set[str] = set()
        """The hashes of blobs whose bytes are on a line."""
        self._shapes: dict[Shape, int] = {}
        self._merged: dict[int, list[UUID]] = {}
        for key, merged in outline.merges:
            self._merged.setdefault(key, []).append(outline.versions[merged].ecs_id)

    async def lines(self, groups: Sequence[Group]) -> AsyncIterator[str]:
        """A line for each group, after those of the blobs that are new in it."""
        records = await self._archive.records([key for _, keys in groups for key in keys])
        await self._prepare(records)
        for commit, keys in groups:
            for sha256 in await self._new_blobs([records[key] for key in keys]):
                yield write_blob(sha256, (await self._archive.read_blobs([sha256]))[sha256])
            named = len(self._shapes)
            versions = [self._version(key, records[key]) for key in keys]
            new = {number: shape for shape, number in list(self._shapes.items())[named:]}
            yield write_commit(commit, new, versions)
        while len(self._lists) > LISTS_KEPT:
            self._lists.popitem(last=False)

    async def tags(self, tags: Sequence[Tagged]) -> AsyncIterator[str]:
        """A line for each name."""
        known = {each.id: each.ecs_id for each in await self._archive.known(keys=[tag.key for tag in tags])} if tags else {}
        for tag in sorted(tags, key=lambda tag: (tag.lineage_id, tag.name)):
            yield write_tag(tag.name, known[tag.key], tag.updated_at)

    async def _new_blobs(self, records: Sequence[Record]) -> list[str]:
        """Hashes in the order in which the records name them."""
        named = dict.fromkeys(blob.sha256 for record in records if record.opaque is None for blob in blobs_in(record.cls, record.values))
        guessed = {blob.sha256 for record in records if record.opaque is not None for blob in blobs_in_data(record.values)} - named.keys()
        named |= dict.fromkeys(sorted(await self._archive.stored_blobs(sorted(guessed)) if guessed else ()))
        new = [sha256 for sha256 in named if sha256 not in self._told]
        self._told.update(new)
        return new

    async def _prepare(self, records: dict[int, Record]) -> None:
        """Have at hand the ids of all members, and the lists of all parents that are not among the records."""
        parents = {parent for key, record in records.items() if record.members and (parent := self._parent(key))}
        absent = [parent for parent in parents if parent not in records and parent not in self._lists]
        for key, record in (await self._archive.records(absent)).items() if absent else ():
            if any(record.members.values()):
                self._lists[key] = record.members
        for key, record in records.items():
            self._ids[key] = record.version.ecs_id
        missing = {child for record in records.values() for child in record.references.values() if child is not None}
        missing.update(*(members for record in records.values() for members in record.members.values()))
        missing -= self._ids.keys()
        for each in await self._archive.known(keys=sorted(missing)) if missing else ():
            assert each.id is not None, "it is stored"
            self._ids[each.id] = each.ecs_id

    def _parent(self, key: int) -> int | None:
        return self._outline.versions[key].parent

    def _version(self, key: int, record: Record) -> str:
        parent = self._parent(key)
        before = self._lists.get(parent, {}) if parent is not None else {}
        lists = {name: self._edit(before.get(name, []), members) for name, members in record.members.items()}
        if any(record.members.values()):
            self._lists[key] = record.members
            self._lists.move_to_end(key)
        references = {name: self._ids[child] for name, child in record.references.items() if child is not None}
        shape = record.opaque if record.opaque is not None else shape_of(record.cls)
        number = self._shapes.setdefault(shape, len(self._shapes))
        edits = {name: edit for name, edit in lists.items() if edit is not None}
        return write_version(record, number, references, edits, sorted(self._merged.get(key, ())))

    def _edit(self, old: list[int], new: list[int]) -> tuple[int, list[UUID], int] | None:
        """What of the old members stays at the beginning, what is new, and what stays at the end; `None` if all is the same."""
        if old == new:
            return None
        head, tail = 0, 0
        if new[: len(old)] == old:
            head = len(old)
        else:
            shorter = min(len(old), len(new))
            while head < shorter and old[head] == new[head]:
                head += 1
            while tail < shorter - head and old[-1 - tail] == new[-1 - tail]:
                tail += 1
        return head, [self._ids[child] for child in new[head : len(new) - tail]], tail
