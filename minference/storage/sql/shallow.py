"""Looking without loading: the newest of each lineage, versions by digits of their ids or by a value, rows without members."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from pydantic import TypeAdapter

from minference.ecs.entity import Entity, kind_to_class
from minference.ecs.lineage import Blame, CommitInfo, VersionInfo
from minference.ecs.opaque import OpaqueEntity
from minference.ecs.shapes import shape_of
from minference.storage.base import Record
from minference.storage.glances import Called, Newest
from minference.storage.sequences import Span
from minference.storage.shallow import Known
from minference.storage.sql.among import among_ids, among_texts, among_uuids, text_parameter, uuid_parameter
from minference.storage.sql.archive import COMMITS, Ask
from minference.storage.sql.driver import Fetch, Rows
from minference.storage.sql.kinds import Revision
from minference.storage.sql.listing import INFOS
from minference.storage.sql.mapping import ValueColumn, quoted
from minference.storage.sql.reader import MATCHES, NEWEST, ROOTS, Reader
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.types import Kind, encoder

T = TypeVar("T")

_COUNTED = TypeAdapter(list[tuple[UUID, int]])
_NAMES = TypeAdapter(list[tuple[int, UUID]])
_SIBLINGS = """
    SELECT v.id, v.parent_id, v.commit_id, v.ecs_id FROM entity_version v
    WHERE v.lineage_id = (SELECT w.lineage_id FROM entity_version w WHERE w.ecs_id = {version})"""
_FIRSTS = """
    SELECT m.id, r.commit_id, (SELECT i.owner_id FROM run_item i WHERE i.child_id = r.id ORDER BY i.run_id + 0, i.position LIMIT 1)
    FROM entity_version m JOIN entity_version r ON r.lineage_id = m.lineage_id AND r.parent_id IS NULL"""
"""Members, the commits of their first versions, and one version that holds that: mostly it was made for who holds it.

The `+ 0` keeps PostgreSQL from walking through runs in their own order until it meets the child, for every member."""
_PLACERS = """
    SELECT DISTINCT m.id, i.owner_id FROM entity_version m JOIN entity_version c ON c.lineage_id = m.lineage_id
    JOIN run_item i ON i.child_id = c.id"""
_MERGES = """
    SELECT v.ecs_id, m.ecs_id FROM entity_merge g
    JOIN entity_version v ON v.id = g.version_id JOIN entity_version m ON m.id = g.merged_id"""
_PAIRS = TypeAdapter(list[tuple[UUID, UUID]])
_LATEST_FIRST = "ORDER BY v.created_at DESC, v.id DESC"
_CASTS = {
    Kind.text: "text",
    Kind.integer: "bigint",
    Kind.real: "double precision",
    Kind.boolean: "boolean",
    Kind.time: "timestamptz",
    Kind.uuid: "uuid",
    Kind.bytes: "bytea",
}
"""What a parameter is on PostgreSQL, which would guess from the first value that it sees."""


class ShallowReader(Reader):
    """See `Shallow`."""

    @property
    def _names(self) -> str:
        return among_texts(self._dialect).replace("?", "?1")

    @property
    def _among(self) -> str:
        """That a key is among those of the first parameter, however often it is said."""
        return among_ids(self._dialect).replace("?", "?1")

    @property
    def _roots(self) -> str:
        return ROOTS.format(names=self._names)

    def _list(self, names: Sequence[str]) -> Any:
        return text_parameter(self._dialect, names)

    async def count(self, kinds: Sequence[str]) -> int:
        """See `Shallow.count`."""
        async with self._driver.reading() as fetch:
            [(count,)] = await fetch(f"SELECT COUNT(DISTINCT r.lineage_id) {self._roots}", self._list(kinds))
        return int(count)

    async def newest(self, kinds: Sequence[str], limit: int) -> list[Newest]:
        """See `Shallow.newest`."""
        lineages = f"SELECT DISTINCT r.lineage_id {self._roots}"
        newest = f"SELECT n.id FROM ({lineages}) AS r JOIN entity_version n ON n.id = {NEWEST}"
        page = f"{newest} ORDER BY n.created_at DESC, n.id DESC LIMIT {int(limit)}"
        found = await self._infos(f"{INFOS} WHERE v.id IN ({page}) {_LATEST_FIRST}", self._list(kinds))
        counts = await self._versions_of([version.lineage_id for version in found])
        return [Newest(version, counts[version.lineage_id]) for version in found]

    async def _versions_of(self, lineages: Sequence[UUID]) -> dict[UUID, int]:
        """How many versions each lineage has."""
        counts = f"SELECT lineage_id, COUNT(*) FROM entity_version WHERE lineage_id {among_uuids(self._dialect)} GROUP BY lineage_id"
        async with self._driver.reading() as fetch:
            rows = await fetch(counts, uuid_parameter(self._dialect, lineages))
        return dict(_COUNTED.validate_python(rows))

    async def length(self, lineage_id: UUID) -> int:
        """See `Shallow.length`."""
        return (await self._versions_of([lineage_id])).get(lineage_id, 0)

    async def recent(self, lineage_id: UUID, limit: int, skip: int) -> list[VersionInfo]:
        """See `Shallow.recent`."""
        page = f"LIMIT {int(limit)} OFFSET {int(skip)}"
        return await self._infos(f"{INFOS} WHERE v.lineage_id = {self._one} {_LATEST_FIRST} {page}", self._uuid(lineage_id))

    async def heads(self, lineage_id: UUID) -> list[VersionInfo]:
        """See `Shallow.heads`."""
        childless = "NOT EXISTS (SELECT 1 FROM entity_version h WHERE h.parent_id = v.id)"
        where = f"v.lineage_id = {self._one} AND {childless} ORDER BY v.created_at, v.id"
        return await self._infos(f"{INFOS} WHERE {where}", self._uuid(lineage_id))

    async def merges(self, lineage_id: UUID) -> dict[UUID, tuple[UUID, ...]]:
        """See `Shallow.merges`."""
        async with self._driver.reading() as fetch:
            rows = await fetch(f"{_MERGES} WHERE v.lineage_id = {self._one} ORDER BY v.created_at, v.id, m.id", self._uuid(lineage_id))
        found: dict[UUID, tuple[UUID, ...]] = {}
        for version, merged in _PAIRS.validate_python(rows):
            found[version] = (*found.get(version, ()), merged)
        return found

    async def called(self, kinds: Sequence[str], digits: str) -> Called:
        """See `Shallow.called`. There is no index on the ends of ids: this passes over the versions of these kinds once."""
        lineages = f"v.id IN (SELECT {NEWEST} {self._roots} AND {self._is_called('r.lineage_id')})"
        versions = f"v.kind_id IN (SELECT k.id FROM entity_kind k WHERE k.name {self._names}) AND {self._is_called('v.ecs_id')}"
        return Called(*[await self._called(where, kinds, digits) for where in (lineages, versions)])

    async def _called(self, where: str, kinds: Sequence[str], digits: str) -> tuple[VersionInfo, ...]:
        return tuple(await self._infos(f"{INFOS} WHERE {where} {_LATEST_FIRST} LIMIT {MATCHES}", self._list(kinds), digits))

    def _is_called(self, column: str) -> str:
        if self._dialect == "postgresql":
            column, digits = f"replace({column}::text, '-', '')", "$2::text"
            return f"(left({column}, length({digits})) = {digits} OR right({column}, length({digits})) = {digits})"
        return f"(substr({column}, 1, length(?2)) = ?2 OR substr({column}, -length(?2)) = ?2)"

    async def candidates(self, classes: Sequence[type[Entity]], field: str, value: object) -> list[VersionInfo]:
        """See `Shallow.candidates`."""
        tables: dict[tuple[str, str], tuple[ValueColumn, list[int]]] = {}
        rest: list[int] = []
        for revision in await self._kinds.load():
            cls = kind_to_class(revision.kind) or OpaqueEntity
            if cls not in classes:
                continue
            if (column := _column_of(revision, cls, field)) is None:
                rest.append(revision.id)
            else:
                tables.setdefault((mapping_for(cls).table.name, column.column.name), (column, []))[1].append(revision.id)
        found: dict[UUID, VersionInfo] = {}
        if rest:
            found.update((each.lineage_id, each) for each in await self._newest_among(rest))
        for (table, _), (column, kinds) in tables.items():
            found.update((each.lineage_id, each) for each in await self._holding(table, column, kinds, value))
        newest = sorted(found.values(), key=lambda each: each.ecs_id, reverse=True)
        return sorted(newest, key=lambda each: each.created_at, reverse=True)

    async def _newest_among(self, kinds: Sequence[int]) -> list[VersionInfo]:
        """The newest versions of lineages, if they are of these revisions."""
        lineages = f"SELECT DISTINCT r.lineage_id FROM entity_version r WHERE r.kind_id {self._among}"
        where = f"v.id IN (SELECT {NEWEST} FROM ({lineages}) AS r) AND v.kind_id {self._among}"
        return await self._infos(f"{INFOS} WHERE {where} {_LATEST_FIRST}", self._ids(kinds))

    async def _holding(self, table: str, column: ValueColumn, kinds: Sequence[int], value: object) -> list[VersionInfo]:
        """The newest versions of the lineages that hold the value in some version."""
        name = f"t.{quoted(column.column.name)}"
        values: list[Any] = []
        if value is None:
            condition = f"{name} IS NULL"
        else:
            try:
                encode = encoder(column.column.type, self._dialect)
                values.append(value if encode is None else encode(value))
            except ValueError:  # the column could not hold it
                return []
            cast = f"::{_CASTS[column.kind]}"
            condition = f"{name} = $2{cast}" if self._dialect == "postgresql" else f"{name} = ?2"
        of_kinds = f"r.kind_id {self._among}"
        holding = f"FROM {quoted(table)} t JOIN entity_version r ON r.id = t.id WHERE {condition} AND {of_kinds}"
        newest = f"SELECT {NEWEST} FROM (SELECT DISTINCT r.lineage_id {holding}) AS r"
        return await self._infos(f"{INFOS} WHERE v.id IN ({newest}) {_LATEST_FIRST}", self._ids(kinds), *values)

    async def records(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Shallow.records`."""
        async with self._driver.reading() as fetch:
            return await self._level(fetch, await self._versions(fetch, keys))

    async def _attach_members(
        self, fetch: Fetch, records: dict[int, Record], wanted: dict[tuple[int, str], tuple[int | None, int]]
    ) -> None:
        whole = {each: place for each, place in wanted.items() if records[each[0]].opaque is not None}
        await super()._attach_members(fetch, records, whole)
        await self._attach_places(fetch, records, {each: place for each, place in wanted.items() if each not in whole})

    async def cells(self, spans: Sequence[Span]) -> list[list[int]]:
        """See `Shallow.cells`."""
        async with self._driver.reading() as fetch:
            return await self._cells(fetch, spans)

    async def origins(self, ecs_id: UUID, keys: Sequence[int]) -> list[Blame]:
        """See `Shallow.origins`."""
        if not keys:
            return []
        wanted = self._ids(set(keys))
        among = among_ids(self._dialect)
        async with self._driver.reading() as fetch:
            versions = await fetch(_SIBLINGS.format(version=self._one), self._uuid(ecs_id))
            firsts = await fetch(f"{_FIRSTS} WHERE m.id {among}", wanted)
            line = _line(versions, self._uuid(ecs_id))
            added = {key: commit for key, commit, owner in firsts if owner in line and line[owner][1] == commit}
            if rest := set(keys) - added.keys():
                added.update(_earliest(await fetch(f"{_PLACERS} WHERE m.id {among}", self._ids(rest)), line))
            commits = await fetch(
                f"SELECT id, created_at, author, note FROM entity_commit WHERE id {among}", self._ids(set(added.values()))
            )
            names = await fetch(f"SELECT m.id, m.ecs_id FROM entity_version m WHERE m.id {among}", wanted)
        named = {row[0]: CommitInfo(*row) for row in COMMITS.validate_python(commits)}
        infos = {info.ecs_id: info for info in await self._infos(f"{INFOS} WHERE v.id {among}", wanted)}
        ids = dict(_NAMES.validate_python(names))
        return [Blame(infos[ids[key]], named[added[key]]) for key in keys]


def _line(versions: Rows, ecs_id: Any) -> dict[int, tuple[int, int]]:
    """A version and its ancestors by key: how many versions come after each of them on the way, and its commit."""
    parents = {row[0]: (row[1], row[2]) for row in versions}
    key: int | None = next(row[0] for row in versions if row[3] == ecs_id)
    line: dict[int, tuple[int, int]] = {}
    while key is not None:
        parent, commit = parents[key]
        line[key] = len(line), commit
        key = parent
    return line


def _earliest(placers: Rows, line: dict[int, tuple[int, int]]) -> dict[int, int]:
    """For each member (member, version that put it somewhere) the commit of the oldest version of the line among those."""
    found: dict[int, tuple[int, int]] = {}
    for key, owner in placers:
        if owner in line:
            found[key] = max(found.get(key, line[owner]), line[owner])
    return {key: commit for key, (_, commit) in found.items()}


def _column_of(revision: Revision, cls: type[Entity], field: str) -> ValueColumn | None:
    """The column in which versions of a revision hold equal values of a field equally; documents are not compared by the database.

    There is none if what is stored need not be what is read: in another table, under another name, or not at all.
    """
    mapping = mapping_for(cls)
    lacking = revision.lacks(mapping) if revision.layout is not None else None
    if lacking is None or field in lacking or revision.shape.annotation_of(field) != shape_of(cls).annotation_of(field):
        return None
    return next((each for each in mapping.values if each.field == field and each.kind is not Kind.json), None)


class SqlShallow:
    """See `Shallow`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def _read(self, question: Callable[[ShallowReader], Awaitable[T]]) -> T:
        found: T = await self._ask(lambda reader: question(ShallowReader(*reader.parts)))
        return found

    async def count(self, kinds: Sequence[str]) -> int:
        """See `Shallow.count`."""
        return await self._read(lambda reader: reader.count(kinds))

    async def newest(self, kinds: Sequence[str], limit: int) -> list[Newest]:
        """See `Shallow.newest`."""
        return await self._read(lambda reader: reader.newest(kinds, limit))

    async def length(self, lineage_id: UUID) -> int:
        """See `Shallow.length`."""
        return await self._read(lambda reader: reader.length(lineage_id))

    async def recent(self, lineage_id: UUID, limit: int, skip: int) -> list[VersionInfo]:
        """See `Shallow.recent`."""
        return await self._read(lambda reader: reader.recent(lineage_id, limit, skip))

    async def heads(self, lineage_id: UUID) -> list[VersionInfo]:
        """See `Shallow.heads`."""
        return await self._read(lambda reader: reader.heads(lineage_id))

    async def merges(self, lineage_id: UUID) -> dict[UUID, tuple[UUID, ...]]:
        """See `Shallow.merges`."""
        return await self._read(lambda reader: reader.merges(lineage_id))

    async def called(self, kinds: Sequence[str], digits: str) -> Called:
        """See `Shallow.called`."""
        return await self._read(lambda reader: reader.called(kinds, digits))

    async def candidates(self, classes: Sequence[type[Entity]], field: str, value: object) -> list[VersionInfo]:
        """See `Shallow.candidates`."""
        return await self._read(lambda reader: reader.candidates(classes, field, value))

    async def records(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Shallow.records`."""
        return await self._read(lambda reader: reader.records(keys))

    async def known(self, *, ids: Sequence[UUID] = (), keys: Sequence[int] = ()) -> list[Known]:
        """See `Shallow.known`."""
        return await self._read(lambda reader: reader.known(ids, keys))

    async def cells(self, spans: Sequence[Span]) -> list[list[int]]:
        """See `Shallow.cells`."""
        return await self._read(lambda reader: reader.cells(spans))

    async def origins(self, ecs_id: UUID, keys: Sequence[int]) -> list[Blame]:
        """See `Shallow.origins`."""
        return await self._read(lambda reader: reader.origins(ecs_id, keys))

    async def trees(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Shallow.trees`."""
        found: dict[int, Record] = await self._ask(lambda reader: reader.trees(keys))
        return found
