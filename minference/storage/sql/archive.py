"""What export, import and checks read: versions without what hangs on them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from pydantic import TypeAdapter

from minference.ecs.entity import kind_to_class
from minference.ecs.lineage import CommitInfo
from minference.ecs.state import Version
from minference.storage.archive import Outline, Outlined, Said, Tagged
from minference.storage.base import Record
from minference.storage.sequences import Run, Span
from minference.storage.sql.among import among_ids, among_texts, among_uuids, text_parameter, uuid_parameter
from minference.storage.sql.blobs import read_blobs, stored_blobs
from minference.storage.sql.driver import Fetch, Rows
from minference.storage.sql.level import VERSION_ROWS
from minference.storage.sql.older import OlderRows
from minference.storage.sql.reader import VERSIONS, Reader
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.types import encode_time

T = TypeVar("T")
Ask = Callable[[Callable[[Reader], Awaitable[Any]]], Awaitable[Any]]
"""Puts a question to a reader of the open database, again for a while if that is busy or away."""

CELLS_KEPT = 1_000_000
"""Members of ordered fields that are remembered while versions are read one after the other."""

_OUTLINE = "SELECT id, parent_id, fork_no, commit_id, kind_id, lineage_id, ecs_id FROM entity_version"
COMMIT = "SELECT id, created_at, author, note FROM entity_commit WHERE id {among}"
_TAGGED = "SELECT name, version_id, lineage_id, updated_at FROM tag WHERE version_id {among}"
_IDS = TypeAdapter(list[UUID])
_TAGS = TypeAdapter(list[tuple[str, int, UUID, datetime]])
COMMITS = TypeAdapter(list[tuple[int, datetime, str | None, str | None]])


class RunCache:
    """Cells of runs, read once: they never change."""

    def __init__(self) -> None:
        self._cells: OrderedDict[int, list[int]] = OrderedDict()
        self._count = 0

    def missing(self, spans: Iterable[Span]) -> list[Span]:
        """What is to be read before `slice` can answer for these."""
        ends: dict[Run, int] = {}
        for span in spans:
            ends[span.run] = max(ends.get(span.run, 0), span.start + span.length)
        known = {run: len(self._cells.get(run.id, ())) for run in ends}
        return [Span(run, known[run], end - known[run]) for run, end in ends.items() if end > known[run]]

    def add(self, span: Span, cells: list[int]) -> None:
        """Remember what was read."""
        self._cells.setdefault(span.run.id, []).extend(cells)
        self._count += len(cells)

    def slice(self, span: Span) -> list[int]:
        """The members in a span."""
        self._cells.move_to_end(span.run.id)
        return self._cells[span.run.id][span.start : span.start + span.length]

    def shrink(self) -> None:
        """Forget what was not asked for longest, if it is too much."""
        while self._count > CELLS_KEPT and len(self._cells) > 1:
            _, cells = self._cells.popitem(last=False)
            self._count -= len(cells)


class ArchiveReader(Reader):
    """Reads versions alone."""

    runs: RunCache

    async def outline(self, lineages: Sequence[UUID] | None) -> Outline:
        """See `Archive.outline`."""
        async with self._driver.reading() as fetch:
            versions: dict[int, Outlined] = {}
            edges: list[tuple[int, int]] = []
            seen: set[UUID] = set()
            rows = await (fetch(_OUTLINE) if lineages is None else self._of_lineages(fetch, lineages))
            while rows:
                seen.update(_IDS.validate_python([row[5] for row in rows]))
                names = _IDS.validate_python([row[6] for row in rows])
                for (key, parent, fork_no, commit, *_), name in zip(rows, names, strict=True):
                    versions[key] = Outlined(key, parent, fork_no, commit, name)
                found = await self._edges(fetch, rows)
                edges.extend(found)
                reached = await self._lineages_of(fetch, {child for _, child in found} - versions.keys())
                rows = await self._of_lineages(fetch, reached - seen)
            commits = await self._select(fetch, COMMIT, {version.commit for version in versions.values()})
            tags = await self._select(fetch, _TAGGED, versions)
            merges = await self._select(fetch, "SELECT version_id, merged_id FROM entity_merge WHERE version_id {among}", versions)
        named = {row[0]: CommitInfo(*row) for row in COMMITS.validate_python(commits)}
        called = [Tagged(*row) for row in _TAGS.validate_python(tags)]
        return Outline(versions, edges, named, called, seen, [(version, merged) for version, merged in merges])

    async def _of_lineages(self, fetch: Fetch, lineages: Iterable[UUID]) -> Rows:
        ids = list(lineages)
        if not ids:
            return []
        return await fetch(f"{_OUTLINE} WHERE lineage_id {among_uuids(self._dialect)}", uuid_parameter(self._dialect, ids))

    async def _lineages_of(self, fetch: Fetch, keys: set[int]) -> set[UUID]:
        rows = await self._select(fetch, "SELECT DISTINCT lineage_id FROM entity_version WHERE id {among}", keys)
        return set(_IDS.validate_python([row[0] for row in rows]))

    async def _edges(self, fetch: Fetch, rows: Rows) -> list[tuple[int, int]]:
        """Who holds whom, of the owners in these rows."""
        kinds: dict[int, list[int]] = {}
        for row in rows:
            kinds.setdefault(row[4], []).append(row[0])
        keys = [row[0] for row in rows]
        found = await self._select(fetch, "SELECT owner_id, child_id FROM run_item WHERE owner_id {among}", keys)
        found += await self._select(fetch, "SELECT owner_id, child_id FROM entity_link WHERE owner_id {among}", keys)
        for kind, owners in kinds.items():
            revision = await self._kinds.revision(kind)
            cls = kind_to_class(revision.kind)
            found += await OlderRows(self._dialect, fetch).references(revision, mapping_for(cls) if cls is not None else None, owners)
        return [(owner, child) for owner, child in found]

    async def _select(self, fetch: Fetch, sql: str, keys: Iterable[int]) -> Rows:
        wanted = list(keys)
        return await fetch(sql.format(among=among_ids(self._dialect)), self._ids(wanted)) if wanted else []

    async def records(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Archive.records`."""
        async with self._driver.reading() as fetch:
            rows = await self._select(fetch, f"{VERSIONS} WHERE v.id {{among}}", keys)
            found = await self._level(fetch, VERSION_ROWS.validate_python(rows))
        self.runs.shrink()
        return found

    async def _cells(self, fetch: Fetch, spans: Sequence[Span]) -> list[list[int]]:
        missing = self.runs.missing(spans)
        for span, cells in zip(missing, await super()._cells(fetch, missing), strict=True):
            self.runs.add(span, cells)
        for span in spans:
            span.run.end = max(span.run.end, span.start + span.length)
        return [self.runs.slice(span) for span in spans]

    async def commits(self, said: Collection[Said]) -> dict[Said, int]:
        """See `Archive.commits`."""
        sqlite = self._dialect == "sqlite"
        among = among_texts("sqlite") if sqlite else "= ANY($1::text[]::timestamptz[])"
        moments = text_parameter(self._dialect, {encode_time(moment) for moment, _, _ in said})
        sql = f"SELECT id, created_at, author, note FROM entity_commit WHERE created_at {among} ORDER BY id DESC"
        async with self._driver.reading() as fetch:
            found = {(moment, author, note): key for key, moment, author, note in await fetch(sql, moments)}
        stored = {each: (encode_time(each[0]) if sqlite else each[0], *each[1:]) for each in said}
        return {each: found[key] for each, key in stored.items() if key in found}

    async def stored_blobs(self, hashes: Sequence[str]) -> set[str]:
        """See `Archive.stored_blobs`."""
        async with self._driver.reading() as fetch:
            return await stored_blobs(fetch, self._dialect, hashes)

    async def read_blobs(self, hashes: Sequence[str]) -> dict[str, bytes]:
        """See `Archive.read_blobs`."""
        async with self._driver.reading() as fetch:
            return await read_blobs(fetch, self._dialect, hashes)


class SqlArchive:
    """See `Archive`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._runs = RunCache()

    async def _read(self, question: Callable[[ArchiveReader], Awaitable[T]]) -> T:
        async def answer(reader: Reader) -> T:
            alone = ArchiveReader(*reader.parts[:-1])
            alone.runs = self._runs
            return await question(alone)

        found: T = await self._ask(answer)
        return found

    async def outline(self, lineages: Sequence[UUID] | None) -> Outline:
        """See `Archive.outline`."""
        return await self._read(lambda reader: reader.outline(lineages))

    async def records(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Archive.records`."""
        return await self._read(lambda reader: reader.records(keys))

    async def known(self, *, ids: Sequence[UUID] = (), keys: Sequence[int] = ()) -> list[Version]:
        """See `Archive.known`."""
        return [each.version for each in await self._read(lambda reader: reader.known(ids, keys))]

    async def commits(self, said: Collection[Said]) -> dict[Said, int]:
        """See `Archive.commits`."""
        return await self._read(lambda reader: reader.commits(said))

    async def stored_blobs(self, hashes: Sequence[str]) -> set[str]:
        """See `Archive.stored_blobs`."""
        return await self._read(lambda reader: reader.stored_blobs(hashes))

    async def read_blobs(self, hashes: Sequence[str]) -> dict[str, bytes]:
        """See `Archive.read_blobs`."""
        return await self._read(lambda reader: reader.read_blobs(hashes))
