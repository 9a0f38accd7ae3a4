"""Who holds whom in the tables, asked on one connection, step by step so that no planner can go astray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Column, Table

from minference.ecs.entity import Entity, kind_to_class, upgrade_hooks
from minference.ecs.plan import OnErase
from minference.errors import UnknownKind
from minference.storage.holdings import Held, following, marks_of
from minference.storage.sql.among import among_ids, among_uuids, id_parameter, uuid_parameter
from minference.storage.sql.driver import Fetch, Rows
from minference.storage.sql.kinds import Revision
from minference.storage.sql.layout import GENERIC, Layout, layout_of
from minference.storage.sql.mapping import quoted
from minference.storage.sql.older import COLUMNS, guessed_layout, renamed_by_table
from minference.storage.sql.reader import Reader
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.schema import Base
from minference.storage.sql.types import Kind

AT_ONCE = 1_000
"""Versions whose values are read together."""

TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'",
}
"""The tables that there are."""

_LINEAGES = TypeAdapter(list[UUID])
_PAIRS = TypeAdapter(list[tuple[UUID, UUID]])
_VERSIONS = TypeAdapter(list[tuple[int, UUID, UUID, str, int, bool]])
_LINEAGES_OF = "SELECT DISTINCT lineage_id FROM entity_version WHERE id {among}"
_HOLDERS = """
    SELECT DISTINCT c.lineage_id, o.lineage_id FROM {table} t
    JOIN entity_version c ON c.id = t.{child} JOIN entity_version o ON o.id = t.{owner}
    WHERE t.{child} {among} AND o.erased_at IS NULL"""


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of a lineage that is looked at."""

    key: int
    ecs_id: UUID
    lineage_id: UUID
    kind: str
    kind_id: int
    erased: bool

    @property
    def cls(self) -> type[Entity]:
        """Its class.

        Raises:
            UnknownKind: The program has not defined it.
        """
        cls = kind_to_class(self.kind)
        if cls is None:
            raise UnknownKind(self.kind)
        return cls


class SqlHoldings:
    """See `Holdings`. Remembers which versions there are, so it is good for one transaction."""

    def __init__(self, fetch: Fetch, reader: Reader) -> None:
        self._fetch = fetch
        self._reader = reader
        driver, self._kinds = reader.parts.driver, reader.parts.kinds
        self._dialect = driver.dialect
        self._versions: dict[UUID, list[Stored]] = {}
        self._tables: dict[str, set[str]] = {}
        """The columns of those that were looked at."""
        self._named: dict[int, dict[UUID, set[UUID | None]]] = {}
        """For shapes that had to be read: by lineage, the ids in fields marked `follows`."""

    async def versions(self, lineages: Iterable[UUID]) -> list[Stored]:
        """All versions of these."""
        wanted = set(lineages)
        if missing := wanted - self._versions.keys():
            sql = f"""
                SELECT v.id, v.ecs_id, v.lineage_id, k.name, v.kind_id, v.erased_at IS NOT NULL
                FROM entity_version v JOIN entity_kind k ON k.id = v.kind_id WHERE v.lineage_id {among_uuids(self._dialect)}"""
            self._versions.update((each, []) for each in missing)
            for row in _VERSIONS.validate_python(await self._fetch(sql, uuid_parameter(self._dialect, missing))):
                self._versions[row[2]].append(Stored(*row))
        return [version for each in wanted for version in self._versions[each]]

    async def lineage_of(self, ecs_id: UUID) -> UUID | None:
        """The lineage of a version."""
        sql = f"SELECT DISTINCT lineage_id FROM entity_version WHERE ecs_id {among_uuids(self._dialect)}"
        return next(
            iter(_LINEAGES.validate_python([row[0] for row in await self._fetch(sql, uuid_parameter(self._dialect, [ecs_id]))])), None
        )

    async def held(self, lineages: Set[UUID]) -> Held:
        """See `Holdings.held`."""
        shapes: dict[int, list[int]] = {}
        for version in await self.versions(lineages):
            shapes.setdefault(version.kind_id, []).append(version.key)
        found: Held = {}
        for kind_id, keys in shapes.items():
            revision = await self._kinds.revision(kind_id)
            mark_of = self._marks(revision)
            for field, children in (await self._children(revision, keys)).items():
                found.setdefault(mark_of(field), set()).update(children)
        return found

    def _marks(self, revision: Revision) -> Callable[[str], OnErase | None]:
        cls = kind_to_class(revision.kind)
        return marks_of(cls, revision.shape, {} if cls is None else renamed_by_table(revision, mapping_for(cls)))

    async def _layouts(self, revision: Revision) -> list[Layout]:
        """Where versions of a shape may be in typed tables: as was noted, else as the class or the names of columns say."""
        cls = kind_to_class(revision.kind)
        mapping = mapping_for(cls) if cls is not None else None
        found = [revision.layout] if revision.layout is not None else []
        if mapping is not None and mapping.table.name != GENERIC:
            columns = await self._columns(mapping.table.name)
            guessed = [] if found else [guessed_layout(revision.shape, mapping.table.name, mapping, columns)]
            found += [*guessed, layout_of(mapping)]
        return [layout for layout in found if layout.table != GENERIC]

    async def _columns(self, table: str) -> set[str]:
        if table not in self._tables:
            self._tables[table] = {str(row[0]) for row in await self._fetch(COLUMNS[self._dialect], table)}
        return self._tables[table]

    async def _children(self, revision: Revision, keys: list[int]) -> dict[str, set[UUID]]:
        """What each field of these versions holds, by the name that it has in their shape."""
        held: dict[str, set[int]] = {}
        sequences: dict[str, set[int]] = {}
        for layout in await self._layouts(revision):
            columns = await self._columns(layout.table)
            places = [(held, field, column) for field, column in layout.references.items()]
            places += [(sequences, field, several[0]) for field, several in layout.collections.items()]
            for found, field, column in places:
                if column in columns:
                    sql = (
                        f"SELECT DISTINCT {quoted(column)} FROM {quoted(layout.table)} WHERE id {{among}} AND {quoted(column)} IS NOT NULL"
                    )
                    found.setdefault(field, set()).update(row[0] for row in await self.select(sql, keys))
        for field, child in await self.select("SELECT field, child_id FROM entity_link WHERE owner_id {among}", keys):
            held.setdefault(field, set()).add(child)
        for field, sequence in await self.select("SELECT field, sequence_id FROM entity_sequence WHERE owner_id {among}", keys):
            sequences.setdefault(field, set()).add(sequence)
        for field, ids in sequences.items():
            held.setdefault(field, set()).update(await self._ever_in(ids))
        return {field: await self._lineages_of(children) for field, children in held.items()}

    async def _ever_in(self, sequences: Set[int]) -> set[int]:
        """Everything in the runs of these sequences: whatever is in a run was put there by a version of the same lineage."""
        runs = {run for (run,) in await self.select("SELECT DISTINCT run_id FROM sequence_span WHERE sequence_id {among}", sequences)}
        return {child for (child,) in await self.select("SELECT DISTINCT child_id FROM run_item WHERE run_id {among}", runs)}

    async def _lineages_of(self, keys: Set[int]) -> set[UUID]:
        return set(_LINEAGES.validate_python([row[0] for row in await self.select(_LINEAGES_OF, keys)]))

    async def holders(self, lineages: Set[UUID]) -> set[tuple[UUID, UUID]]:
        """See `Holdings.holders`."""
        keys = [version.key for version in await self.versions(lineages)]
        found: set[tuple[UUID, UUID]] = set()
        for table, child, owner in sorted(await self._places_of_children()):
            sql = _HOLDERS.format(table=quoted(table), child=quoted(child), owner=quoted(owner), among="{among}")
            found.update(_PAIRS.validate_python(await self.select(sql, keys)))
        return found

    async def _places_of_children(self) -> set[tuple[str, str, str]]:
        """Every table and column that refers to entities, and the column of who refers; those that only older shapes used too."""
        found = {("run_item", "child_id", "owner_id"), ("entity_link", "child_id", "owner_id")}
        columns = {(table.name, column.name) for table, column in reference_columns()}
        for revision in await self._kinds.load():
            columns |= {(layout.table, column) for layout in await self._layouts(revision) for column in layout.references.values()}
        return found | {(table, column, "id") for table, column in columns if column in await self._columns(table)}

    async def followers(self, lineages: Set[UUID]) -> set[UUID]:
        """See `Holdings.followers`."""
        ids = {*lineages, *(version.ecs_id for version in await self.versions(lineages))}
        found: set[UUID] = set()
        for revision in await self._kinds.load():
            cls = kind_to_class(revision.kind)
            if cls is not None and (fields := following(cls)):
                found |= await self._followers_in(revision, cls, fields, ids)
        return found

    async def _followers_in(self, revision: Revision, cls: type[Entity], fields: list[str], ids: set[UUID]) -> set[UUID]:
        """Those among the versions of one shape. In columns they are looked up; what is in documents has to be read."""
        mark_of, layout = self._marks(revision), revision.layout
        columns = {} if layout is None else {name: column for name, (column, held) in layout.values.items() if held is Kind.uuid}
        names = [name for name in revision.shape.names if mark_of(name) is OnErase.follows]
        if layout is None or upgrade_hooks(cls, revision.shape.version) or not columns.keys() >= set(names):
            return await self._followers_in_documents(revision, fields, ids)
        found: set[UUID] = set()
        there = await self._columns(layout.table)
        for column in {columns[name] for name in names} & there:
            sql = f"""
                SELECT DISTINCT v.lineage_id FROM {quoted(layout.table)} t JOIN entity_version v ON v.id = t.id
                WHERE v.kind_id = {revision.id} AND t.{quoted(column)} {among_uuids(self._dialect)}"""
            rows = await self._fetch(sql, uuid_parameter(self._dialect, ids))
            found |= set(_LINEAGES.validate_python([row[0] for row in rows]))
        return found

    async def _followers_in_documents(self, revision: Revision, fields: list[str], ids: set[UUID]) -> set[UUID]:
        if revision.id not in self._named:
            named: dict[UUID, set[UUID | None]] = {}
            self._named[revision.id] = named
            keys = [row[0] for row in await self._fetch(f"SELECT id FROM entity_version WHERE kind_id = {revision.id} ORDER BY id")]
            for part in portions(keys):
                for record in (await self._reader.bare(self._fetch, part)).records.values():
                    named.setdefault(record.version.lineage_id, set()).update(record.values[field] for field in fields)
        return {lineage_id for lineage_id, named in self._named[revision.id].items() if not ids.isdisjoint(named)}

    async def select(self, sql: str, keys: Iterable[int]) -> Rows:
        """The rows of a statement about so many keys, which stand in it as `{among}`."""
        wanted = list(keys)
        if not wanted:
            return []
        return await self._fetch(sql.format(among=among_ids(self._dialect)), id_parameter(self._dialect, wanted))


def reference_columns() -> Iterator[tuple[Table, Column[Any]]]:
    """The columns of typed tables that refer to another entity."""
    for table in Base.metadata.tables.values():
        if "id" in table.c and table.c["id"].foreign_keys:
            yield from ((table, column) for column in table.c if column.name != "id" and column.foreign_keys)


def portions(keys: list[int]) -> Iterator[list[int]]:
    """The keys, a number of them at a time."""
    for start in range(0, len(keys), AT_ONCE):
        yield keys[start : start + AT_ONCE]
