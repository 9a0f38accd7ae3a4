"""Rows in whatever shape and table they were written: what is stored, as it is. For versions that are not in the present shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic_core import to_jsonable_python

from minference.ecs.shapes import Shape
from minference.ecs.values import parse
from minference.errors import ReadFailed
from minference.storage.sql.among import among_ids, id_parameter
from minference.storage.sql.driver import Fetch
from minference.storage.sql.kinds import Revision
from minference.storage.sql.layout import EXTRA, GENERIC, Layout, layout_of
from minference.storage.sql.mapping import Mapping, load_keys, quoted
from minference.storage.sql.types import DialectName, Kind, decode_time, unescape_json, unescape_text

COLUMNS = {
    "sqlite": "SELECT name FROM pragma_table_info(?)",
    "postgresql": """
        SELECT column_name::text FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = $1::text""",
}
"""The columns that a table has."""
_KINDS = {
    "str": Kind.text,
    "int": Kind.integer,
    "float": Kind.real,
    "bool": Kind.boolean,
    "datetime.datetime": Kind.time,
    "uuid.UUID": Kind.uuid,
}
"""What a column holds, by the annotation of its field, where nothing was noted."""


@dataclass(slots=True)
class StoredRow:
    """One version as it is stored, under the names that its fields had."""

    values: dict[str, Any]
    """JSON data."""
    references: dict[str, int] = field(default_factory=dict)
    """Those to nothing left out."""
    sequences: dict[str, tuple[int | None, int]] = field(default_factory=dict)
    """Sequence and length of each ordered field; empty ones may be left out."""
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of the keyed ones."""


class OlderRows:
    """Reads rows by what was noted of their shape and, where nothing was, by the class or the names of columns."""

    def __init__(self, dialect: DialectName, fetch: Fetch) -> None:
        self._dialect = dialect
        self._fetch = fetch

    async def read(
        self, revision: Revision, mapping: Mapping | None, keys: Sequence[int], needed: Callable[[str], bool]
    ) -> dict[int, StoredRow]:
        """What is stored of these versions of one revision, as far as it is found.

        Raises:
            ReadFailed: The column of a field that is `needed` is gone.
        """
        found: dict[int, StoredRow] = {}
        first, typed = _tables(revision, mapping)
        # Rows are only ever moved from the table for any entity into that of the class.
        for table in (first, GENERIC, typed):
            missing = [key for key in keys if key not in found]
            if table is None or not missing:
                continue
            if table == GENERIC:
                found.update(await self._generic(missing))
            elif columns := await self._columns(table):
                layout = _layout(revision, table, mapping, columns)
                found.update(await self._typed(layout, revision.shape.kind, columns, missing, needed))
        if found:
            await self._attach_loose(found)
        return found

    async def references(self, revision: Revision, mapping: Mapping | None, keys: Sequence[int]) -> list[tuple[int, int]]:
        """Which versions the columns of these refer to: pairs of keys."""
        found: list[tuple[int, int]] = []
        for table in {*_tables(revision, mapping)} - {None, GENERIC}:
            assert table is not None, "left out"
            columns = await self._columns(table)
            wanted = [each for each in _layout(revision, table, mapping, columns).references.values() if each in columns]
            if wanted:
                rows = await self._among(f"SELECT id, {', '.join(map(quoted, wanted))} FROM {quoted(table)} WHERE id", keys)
                found += [(owner, child) for owner, *children in rows for child in children if child is not None]
        return found

    async def _columns(self, table: str) -> set[str]:
        """Those that the table has; none, if there is no such table."""
        return {str(row[0]) for row in await self._fetch(COLUMNS[self._dialect], table)}

    async def _generic(self, keys: Sequence[int]) -> dict[int, StoredRow]:
        cast = "::text" if self._dialect == "postgresql" else ""
        rows = await self._among(f"SELECT id, data{cast} FROM {GENERIC} WHERE id", keys)
        return {key: StoredRow(parse(unescape_json(data))) for key, data in rows}

    async def _typed(
        self, layout: Layout, kind: str, columns: Collection[str], keys: Sequence[int], needed: Callable[[str], bool]
    ) -> dict[int, StoredRow]:
        values = {name: place for name, place in layout.values.items() if _is_there(name, kind, layout.table, columns, needed, place[0])}
        references = {name: one for name, one in layout.references.items() if _is_there(name, kind, layout.table, columns, needed, one)}
        collections = {
            name: several
            for name, several in layout.collections.items()
            if _is_there(name, kind, layout.table, columns, needed, *filter(None, several))
        }
        packed = EXTRA in columns and all(column != EXTRA for column, _ in values.values())
        selected = [
            "id",
            *(self._cell(column, held) for column, held in values.values()),
            *([self._cell(EXTRA, Kind.json)] if packed else []),
            *map(quoted, references.values()),
            *(part for one, two, three in collections.values() for part in (quoted(one), quoted(two), self._keys(three))),
        ]
        found: dict[int, StoredRow] = {}
        for key, *cells in await self._among(f"SELECT {', '.join(selected)} FROM {quoted(layout.table)} WHERE id", keys):
            rest = iter(cells)
            row = found[key] = StoredRow({name: _data(held, next(rest)) for name, (_, held) in values.items()})
            if packed:
                row.values.update(_data(Kind.json, next(rest)) or {})
            row.references.update((name, child) for name, child in zip(references, rest, strict=False) if child is not None)
            for name in collections:
                sequence, length, names = next(rest), next(rest), next(rest)
                row.sequences[name] = (sequence, length or 0)
                if names is not None:
                    row.keys[name] = load_keys(names)
        return found

    async def _attach_loose(self, found: dict[int, StoredRow]) -> None:
        """Fields of any row that have no column."""
        for owner, name, child in await self._among("SELECT owner_id, field, child_id FROM entity_link WHERE owner_id", found):
            found[owner].references[name] = child
        sql = f"SELECT owner_id, field, sequence_id, length, {self._keys('keys')} FROM entity_sequence WHERE owner_id"
        for owner, name, sequence, length, names in await self._among(sql, found):
            found[owner].sequences[name] = (sequence, length)
            if names is not None:
                found[owner].keys[name] = load_keys(names)

    async def _among(self, sql: str, keys: Collection[int]) -> list[tuple[Any, ...]]:
        return await self._fetch(f"{sql} {among_ids(self._dialect)}", id_parameter(self._dialect, keys))

    def _cell(self, column: str, held: Kind) -> str:
        as_text = self._dialect == "postgresql" and held in (Kind.uuid, Kind.json)
        return quoted(column) + ("::text" if as_text else "")

    def _keys(self, column: str | None) -> str:
        return "NULL" if column is None else self._cell(column, Kind.json)


def _tables(revision: Revision, mapping: Mapping | None) -> tuple[str | None, str | None]:
    """Where rows of a revision would be first of all, and in the end."""
    typed = mapping.table.name if mapping is not None else None
    return revision.layout.table if revision.layout is not None else typed, typed


def _layout(revision: Revision, table: str, mapping: Mapping | None, columns: Collection[str]) -> Layout:
    if revision.layout is not None and revision.layout.table == table:
        return revision.layout
    return guessed_layout(revision.shape, table, mapping, columns)


def _is_there(name: str, kind: str, table: str, columns: Collection[str], needed: Callable[[str], bool], *wanted: str) -> bool:
    gone = [column for column in wanted if column not in columns]
    if gone and needed(name):
        raise ReadFailed(f"table {table!r} has no column {gone[0]!r} any more, in which field {name!r} of {kind} was stored")
    return not gone


def guessed_layout(shape: Shape, table: str, mapping: Mapping | None, columns: Collection[str]) -> Layout:
    """Where the fields of a shape would be: as the class has them now, else in columns of their names."""
    values: dict[str, tuple[str, Kind]] = {}
    references: dict[str, str] = {}
    collections: dict[str, tuple[str, str, str | None]] = {}
    now = layout_of(mapping) if mapping is not None and mapping.table.name == table else Layout(table)
    held = dict(now.values.values())
    for name, sort, annotation in shape.fields:
        keys = f"{name}_keys" if f"{name}_keys" in columns else None
        if name in now.values:
            values[name] = now.values[name]
        elif name in now.references:
            references[name] = now.references[name]
        elif name in now.collections:
            collections[name] = now.collections[name]
        elif name in columns and sort in ("value", None):
            values[name] = (name, held.get(name) or _kind_of(annotation))
        elif f"{name}_id" in columns and sort in ("reference", None):
            references[name] = f"{name}_id"
        elif {f"{name}_seq", f"{name}_len"} <= set(columns):
            collections[name] = (f"{name}_seq", f"{name}_len", keys)
    return Layout(table, values, references, collections)


def _kind_of(annotation: str) -> Kind:
    bare = re.sub(r"^<class '(.*)'>$", r"\1", annotation.removesuffix(" | None"))
    if bare.startswith(("<enum", "typing.Literal", "Literal")):
        return Kind.text
    return _KINDS.get(bare, Kind.json)


def _data(held: Kind, cell: Any) -> Any:
    """A cell as JSON data."""
    if cell is None:
        return None
    match held:
        case Kind.text:
            return unescape_text(cell) if isinstance(cell, str) else cell
        case Kind.real:
            return float(cell)
        case Kind.boolean:
            return bool(cell)
        case Kind.time:
            return to_jsonable_python(decode_time(cell))
        case Kind.uuid:
            return str(UUID(cell))
        case Kind.json:
            try:
                return parse(unescape_json(cell))
            except ValueError:
                return unescape_text(cell)  # of an enum, in a column of which nothing was noted
        case Kind.integer:
            return cell


def renamed_by_table(revision: Revision, mapping: Mapping) -> dict[str, str]:
    """Fields of a revision whose columns are now those of fields with other names (`__rename__`)."""
    now = layout_of(mapping)
    if now.table == GENERIC or (revision.layout is not None and revision.layout.table != now.table):
        return {}
    columns: dict[object, str] = {place[0]: name for name, place in now.values.items()}
    columns |= {column: name for name, column in now.references.items()}
    columns |= {several[0]: name for name, several in now.collections.items()}
    present = now.values.keys() | now.references.keys() | now.collections.keys()
    found: dict[str, str] = {}
    for name in revision.shape.names - present:
        place = revision.layout.of(name) if revision.layout is not None else None
        column = place if isinstance(place, str) else place[0] if isinstance(place, tuple) else None
        candidates = [column] if revision.layout is not None else [name, f"{name}_id", f"{name}_seq"]
        target = next((columns[each] for each in candidates if each in columns), None)
        if target is not None and target not in revision.shape.names:
            found[name] = target
    return found
