"""Who holds whom in the tables, asked on one connection, step by step so that no planner can go astray."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Column, Table

from minference.ecs.entity import Entity, kind_to_class, plan_of
from minference.ecs.plan import OnErase
from minference.errors import UnknownKind
from minference.storage.holdings import Held
from minference.storage.sql.decoding import Loaded
from minference.storage.sql.driver import Fetch, Rows
from minference.storage.sql.mapping import Mapping, among_ids, id_parameter, quoted
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.schema import Base
from minference.storage.sql.types import DialectName

AT_ONCE = 1_000
"""Versions whose values are read together."""

TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()",
}
"""The tables that there are."""

_LINEAGES = TypeAdapter(list[UUID])
_PAIRS = TypeAdapter(list[tuple[UUID, UUID]])
_VERSIONS = TypeAdapter(list[tuple[int, UUID, UUID, str, bool]])
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

    def __init__(self, fetch: Fetch, dialect: DialectName) -> None:
        self._fetch = fetch
        self._dialect = dialect
        self._versions: dict[UUID, list[Stored]] = {}

    async def versions(self, lineages: Iterable[UUID]) -> list[Stored]:
        """All versions of these."""
        wanted = set(lineages)
        if missing := wanted - self._versions.keys():
            sql = f"""
                SELECT v.id, v.ecs_id, v.lineage_id, k.name, v.erased_at IS NOT NULL
                FROM entity_version v JOIN entity_kind k ON k.id = v.kind_id WHERE v.lineage_id {self.among_uuids}"""
            self._versions.update((each, []) for each in missing)
            for row in _VERSIONS.validate_python(await self._fetch(sql, self.uuids(missing))):
                self._versions[row[2]].append(Stored(*row))
        return [version for each in wanted for version in self._versions[each]]

    async def lineage_of(self, ecs_id: UUID) -> UUID | None:
        """The lineage of a version."""
        sql = f"SELECT DISTINCT lineage_id FROM entity_version WHERE ecs_id {self.among_uuids}"
        return next(iter(_LINEAGES.validate_python([row[0] for row in await self._fetch(sql, self.uuids([ecs_id]))])), None)

    async def by_class(self, lineages: Iterable[UUID]) -> dict[type[Entity], list[int]]:
        """The keys of all versions of these, by class.

        Raises:
            UnknownKind: The program has not defined one of the classes.
        """
        found: dict[type[Entity], list[int]] = {}
        for version in await self.versions(lineages):
            found.setdefault(version.cls, []).append(version.key)
        return found

    async def held(self, lineages: Set[UUID]) -> Held:
        """See `Holdings.held`."""
        found: Held = {}
        for cls, keys in (await self.by_class(lineages)).items():
            marks = plan_of(cls).on_erase
            for field, children in (await self._children(mapping_for(cls), keys)).items():
                found.setdefault(marks.get(field), set()).update(children)
        return found

    async def _children(self, mapping: Mapping, keys: list[int]) -> dict[str, set[UUID]]:
        """What each field of these versions holds."""
        table = quoted(mapping.table.name)
        held: dict[str, set[int]] = {}
        for field, column in mapping.references.items():
            rows = await self.select(f"SELECT DISTINCT {quoted(column)} FROM {table} WHERE id {{among}}", keys)
            held[field] = {child for (child,) in rows if child is not None}
        for field, child in await self._loose(mapping, "SELECT field, child_id FROM entity_link WHERE owner_id {among}", keys):
            held.setdefault(field, set()).add(child)
        sequences: dict[str, set[int]] = {}
        for field, (column, _, _) in mapping.collections.items():
            rows = await self.select(f"SELECT DISTINCT {quoted(column)} FROM {table} WHERE id {{among}}", keys)
            sequences[field] = {sequence for (sequence,) in rows if sequence is not None}
        for field, sequence in await self._loose(mapping, "SELECT field, sequence_id FROM entity_sequence WHERE owner_id {among}", keys):
            sequences.setdefault(field, set()).add(sequence)
        for field, ids in sequences.items():
            held[field] = await self._ever_in(ids)
        return {field: await self._lineages_of(children) for field, children in held.items()}

    async def _loose(self, mapping: Mapping, sql: str, keys: list[int]) -> Rows:
        return await self.select(sql, keys) if mapping.links or mapping.sequences else []

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
        places = [("run_item", "child_id", "owner_id"), ("entity_link", "child_id", "owner_id")]
        there = {str(name) for (name,) in await self._fetch(TABLES[self._dialect])}
        places += [(table.name, column.name, "id") for table, column in _reference_columns() if table.name in there]
        for table, child, owner in places:
            sql = _HOLDERS.format(table=quoted(table), child=quoted(child), owner=quoted(owner), among="{among}")
            found.update(_PAIRS.validate_python(await self.select(sql, keys)))
        return found

    async def followers(self, lineages: Set[UUID]) -> set[UUID]:
        """See `Holdings.followers`."""
        ids = {*lineages, *(version.ecs_id for version in await self.versions(lineages))}
        kinds = {str(name) for (name,) in await self._fetch("SELECT DISTINCT name FROM entity_kind")}
        found: set[UUID] = set()
        for cls in filter(None, map(kind_to_class, sorted(kinds))):
            if fields := [name for name, mark in plan_of(cls).on_erase.items() if mark is OnErase.follows]:
                found |= await self._followers_of_class(cls, fields, ids)
        return found

    async def _followers_of_class(self, cls: type[Entity], fields: list[str], ids: set[UUID]) -> set[UUID]:
        mapping = mapping_for(cls)
        columns = {value.field: value.column.name for value in mapping.values}
        found: set[UUID] = set()
        for column in (columns[field] for field in fields if field in columns):
            sql = f"""
                SELECT DISTINCT v.lineage_id FROM {quoted(mapping.table.name)} t JOIN entity_version v ON v.id = t.id
                WHERE t.{quoted(column)} {self.among_uuids}"""
            found |= set(_LINEAGES.validate_python([row[0] for row in await self._fetch(sql, self.uuids(ids))]))
        if packed := [field for field in fields if field not in columns]:
            found |= await self._followers_in_documents(cls, mapping, packed, ids)
        return found

    async def _followers_in_documents(self, cls: type[Entity], mapping: Mapping, fields: list[str], ids: set[UUID]) -> set[UUID]:
        """Those whose ids are somewhere in a JSON document: every version of the class is read."""
        one = "$1" if self._dialect == "postgresql" else "?"
        sql = f"SELECT v.id FROM entity_version v JOIN entity_kind k ON k.id = v.kind_id WHERE k.name = {one} ORDER BY v.id"
        keys = [row[0] for row in await self._fetch(sql, cls.__kind__)]
        found: set[int] = set()
        for part in portions(keys):
            loaded = await self.load(mapping, part)
            for key, values in zip(loaded.ids, loaded.values, strict=True):
                if any(values[field] in ids for field in fields):
                    found.add(key)
        return await self._lineages_of(found)

    async def load(self, mapping: Mapping, keys: list[int]) -> Loaded:
        """What is stored of some versions of a class."""
        parameter = id_parameter(self._dialect, keys)
        return mapping.decode(self._dialect, [await self._fetch(sql, parameter) for sql in mapping.selects(self._dialect)])

    async def select(self, sql: str, keys: Iterable[int]) -> Rows:
        """The rows of a statement about so many keys, which stand in it as `{among}`."""
        wanted = list(keys)
        if not wanted:
            return []
        return await self._fetch(sql.format(among=among_ids(self._dialect)), id_parameter(self._dialect, wanted))

    @property
    def among_uuids(self) -> str:
        """The condition that an id is among those of `uuids`."""
        return "= ANY($1::uuid[])" if self._dialect == "postgresql" else "IN (SELECT value FROM json_each(?))"

    def uuids(self, ids: Iterable[UUID]) -> Any:
        """The parameter of `among_uuids`."""
        return list(ids) if self._dialect == "postgresql" else json.dumps([each.hex for each in ids])


def _reference_columns() -> Iterator[tuple[Table, Column[Any]]]:
    """The columns of typed tables that refer to another entity."""
    for table in Base.metadata.tables.values():
        if "id" in table.c and table.c["id"].foreign_keys:
            yield from ((table, column) for column in table.c if column.name != "id" and column.foreign_keys)


def portions(keys: list[int]) -> Iterator[list[int]]:
    """The keys, a number of them at a time."""
    for start in range(0, len(keys), AT_ONCE):
        yield keys[start : start + AT_ONCE]
