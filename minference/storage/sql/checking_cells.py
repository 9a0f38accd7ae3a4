"""Checks of single cells on SQLite, whose columns take whatever is put into them: each holds what its column is for.

Values of versions are not looked at here, since loading a version reads them all; of those tables only the places of lists are.
Nor are references, which lead nowhere then.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Table

from minference.storage.sql.driver import Fetch, Rows
from minference.storage.sql.mapping import quoted
from minference.storage.sql.older import COLUMNS
from minference.storage.sql.registered import list_columns
from minference.storage.sql.schema import Base, EntityVersion
from minference.storage.sql.types import DamagedCell, Kind, decode_time, kind_of

SHARED = frozenset(str(mapper.class_.__tablename__) for mapper in Base.registry.mappers if mapper.class_.__module__ == Base.__module__)
"""The tables that are not those of a class."""
_UNUSUAL = "{0} NOT LIKE '____-__-__T__:__:__.______+00:00'"
_WRONG: dict[Kind, tuple[str, str]] = {
    Kind.text: ("TYPEOF({0}) <> 'text'", "text"),
    Kind.integer: ("TYPEOF({0}) <> 'integer'", "whole number"),
    Kind.boolean: ("TYPEOF({0}) <> 'integer'", "truth value"),
    Kind.bytes: ("TYPEOF({0}) <> 'blob'", "bytes"),
    Kind.json: ("TYPEOF({0}) <> 'text'", "JSON"),
    Kind.uuid: ("TYPEOF({0}) <> 'text' OR LENGTH({0}) <> 32 OR LTRIM({0}, '0123456789abcdef') <> ''", "id"),
    Kind.time: (f"TYPEOF({{0}}) <> 'text' OR {_UNUSUAL} OR STRFTIME('%Y-%m-%d', {{0}}, '+0 days') IS NOT SUBSTR({{0}}, 1, 10)", "time"),
}
"""What is true of a cell that does not hold what its column is for, and what that would be. Of real numbers some are texts."""
_LOADED: dict[Kind, str] = {Kind.uuid: "LENGTH({0}) <> 32", Kind.time: "LENGTH({0}) <> 32"}
"""The same where loading the versions finds the rest."""


async def wrong_cells(fetch: Fetch, there: set[str]) -> list[str]:
    """What each of the cells holds that does not hold what its column is for."""
    found: list[str] = []
    for table in Base.metadata.sorted_tables:
        # Of tables that were left as an older minference made them, SQLite would take a column that is missing for a text.
        names = {str(row[0]) for row in await fetch(COLUMNS["sqlite"], table.name)} if table.name in there else set()
        columns = {name: wrong for name, wrong in _columns(table) if name in names}
        if not columns:
            continue
        any_of = " OR ".join(f"{quoted(name)} IS NOT NULL AND ({wrong})" for name, (wrong, _) in columns.items())
        keys = [column.name for column in table.primary_key]
        if not await fetch(f"SELECT 1 FROM {quoted(table.name)} WHERE {any_of} LIMIT 1"):
            continue
        for name, (wrong, wanted) in columns.items():
            shown = ", ".join(quoted(each) for each in (*keys, name))
            rows = await fetch(f"SELECT {shown} FROM {quoted(table.name)} WHERE {quoted(name)} IS NOT NULL AND ({wrong})")
            found += _texts(table.name, keys, name, wanted, rows)
    return found


def _columns(table: Table) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each column with the condition that a cell of it is wrong, and what it is for."""
    keys = list_columns(table)
    for column in table.columns:
        kind = kind_of(column.type)
        if kind is Kind.integer and column.primary_key and len(table.primary_key) == 1:
            continue  # such a column is the number of the row itself
        if kind in _WRONG and not column.foreign_keys and (table.name in SHARED or column.name in keys):
            wrong, wanted = _WRONG[kind]
            if table.name == EntityVersion.__tablename__:
                wrong = _LOADED.get(kind, wrong)
            yield column.name, (wrong.format(quoted(column.name)), wanted)


def _texts(table: str, keys: list[str], column: str, wanted: str, rows: Rows) -> Iterator[str]:
    for *key, cell in rows:
        if wanted == "time" and _is_time(cell):
            continue
        row = ", ".join(f"{name} {value!r:.80}" for name, value in zip(keys, key, strict=True))
        yield f"{table} ({row}): {column} holds {cell!r:.80}, which is no {wanted}"


def _is_time(cell: object) -> bool:
    """Whether another program wrote it in another form of ISO 8601, which is read as well."""
    try:
        return isinstance(cell, str) and decode_time(cell).tzinfo is not None
    except DamagedCell:
        return False
