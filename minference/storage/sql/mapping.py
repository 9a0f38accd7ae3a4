"""`Mapping`: how the versions of one entity class become rows, and rows become values again.

The writer calls `encode` for each new version and inserts what it yields: a row for the class's table and, for fields
that have no column, rows for `entity_link` and `entity_sequence`. The reader groups integer keys by class, runs each
statement of `selects` with them, and gives the results to `decode`. Neither needs to know which class has a table:

    for insert, row in mapping.encode("sqlite", key, draft.data, draft.json, references, sequences, draft.keys):
        rows[insert].append(row)                               # insert.sql("sqlite") with executemany, in order of insert_order()

    results = [run(sql, id_parameter("sqlite", keys)) for sql in mapping.selects("sqlite")]
    loaded = mapping.decode("sqlite", results)                 # loaded.ids[i], loaded.values[i], loaded.references[i], ...

Rows are those of the bare drivers (sqlite3 tuples, asyncpg records), without SQLAlchemy's result processing: values are
converted and validated in bulk by pydantic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Table

from minference.ecs.entity import Entity
from minference.ecs.fitting import add_defaults
from minference.ecs.values import parse
from minference.errors import UnknownStoredField
from minference.storage.sql.among import among_ids
from minference.storage.sql.converting import Conversion
from minference.storage.sql.decoding import Decoder, Loaded, across, rows_of
from minference.storage.sql.encoding import CellEncoder
from minference.storage.sql.schema import AnyEntity, Base, EntityLink, EntitySequence
from minference.storage.sql.types import DialectName, Kind, escape_json, kind_of, unescape_json

Row = tuple[Any, ...]
Place = tuple[int | None, int]
"""Where an ordered field is: its sequence (`None` if it was never anything but empty) and its length."""


@dataclass(frozen=True, eq=False)
class TableInsert:
    """An INSERT of whole rows into one table."""

    table: Table
    columns: tuple[str, ...]
    once: bool = False
    """Whether a row that is there already is left alone."""

    def sql(self, dialect: DialectName) -> str:
        """The statement for the bare driver, for `executemany` with rows in the order of `columns`."""
        return self._statements[dialect]

    @cached_property
    def _statements(self) -> dict[DialectName, str]:
        names = ", ".join(map(quoted, self.columns))
        rest = f"INTO {quoted(self.table.name)} ({names}) VALUES"
        tail = " ON CONFLICT DO NOTHING" if self.once else ""
        # Whoever writes undoes the whole transaction. With OR FAIL, SQLite keeps no journal to undo the statement alone, which it
        # would do where there is a trigger, at the price of the row.
        insert = "INSERT" if self.once else "INSERT OR FAIL"
        return {
            "sqlite": f"{insert} {rest} ({', '.join('?' for _ in self.columns)}){tail}",
            "postgresql": f"INSERT {rest} ({', '.join(f'${i}' for i in range(1, len(self.columns) + 1))}){tail}",
        }


def insert_order(inserts: Iterable[TableInsert]) -> list[TableInsert]:
    """The inserts in an order in which rows come after those that they refer to.

    With rows in any other order SQLite searches each referring table once per referred row.
    """
    ranks = _ranks(len(Base.metadata.tables))
    return sorted(inserts, key=lambda insert: ranks[insert.table.name])


@cache
def _ranks(_tables: int) -> dict[str, int]:
    return {table.name: rank for rank, table in enumerate(Base.metadata.sorted_tables)}


def quoted(name: str) -> str:
    """An identifier as both databases read it."""
    return f'"{name}"'


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """A plain value and the column that holds it."""

    field: str
    column: Column[Any]

    @property
    def kind(self) -> Kind:
        """What the column holds."""
        kind = kind_of(self.column.type)
        assert kind is not None, "checked when the table was matched with its class"
        return kind


INSERT_LINK = TableInsert(Base.metadata.tables[EntityLink.__tablename__], ("owner_id", "field", "child_id"))
INSERT_SEQUENCE = TableInsert(Base.metadata.tables[EntitySequence.__tablename__], ("owner_id", "field", "sequence_id", "length", "keys"))


@dataclass(frozen=True, eq=False)
class Mapping:
    """Where each field of an entity class is stored: exactly once."""

    cls: type[Entity]
    table: Table
    constants: dict[str, object]
    """Columns with the same value for every row of this class: the discriminator of a shared table."""
    values: tuple[ValueColumn, ...]
    references: dict[str, str]
    """Field to column."""
    collections: dict[str, tuple[str, str, str | None]]
    """Field to the columns of its sequence, its length and, for a keyed field, its keys."""
    packed_column: str | None
    packed: tuple[str, ...]
    """Fields with plain values that share the JSON object in `packed_column`."""
    links: tuple[str, ...]
    """References that are rows of `entity_link`."""
    sequences: tuple[str, ...]
    """Ordered fields that are rows of `entity_sequence`."""
    mutable: frozenset[str]
    """Fields whose values can change in place."""
    keyed: frozenset[str]
    """Ordered fields that have keys."""
    model: Any = None
    """The declared class of the table; `None` for `entity_any`."""
    conversion: Conversion | None = None
    """What the model does with fields that it converts itself; those are not among `values`."""

    @property
    def value_fields(self) -> tuple[str, ...]:
        """Every field with a plain value."""
        converted = () if self.conversion is None else self.conversion.fields
        return (*(value.field for value in self.values), *converted, *self.packed)

    @cached_property
    def insert(self) -> TableInsert:
        """The INSERT of a row of the class's table."""
        return TableInsert(self.table, ("id", *self.constants, *self._data_columns))

    def encode(
        self,
        dialect: DialectName,
        id: int,
        values: Dict[str, Any],
        documents: Dict[str, bytes],
        references: Dict[str, int | None],
        sequences: Dict[str, Place],
        keys: Dict[str, Sequence[str]],
    ) -> Iterator[tuple[TableInsert, Row]]:
        """The rows of one version, that of the class's table first.

        `values` holds the plain values as the entity's `__dict__` does, `documents` what `dump_json` wrote of those that can
        change in place, `references` and `sequences` an entry for each such field. A conversion needs the identity in `values`.

        Raises:
            UnstorableValue: A value does not fit into its column.
            ConversionFailed: The table's own conversion failed, or would not give back what it was given.
        """
        yield self.insert, self._row(dialect, id, values, documents, references, sequences, keys)
        for field in self.links:
            if (child := references[field]) is not None:
                yield INSERT_LINK, (id, field, child)
        for field in self.sequences:
            sequence, length = sequences[field]
            if sequence is not None:
                yield INSERT_SEQUENCE, (id, field, sequence, length, dump_keys(keys[field]) if field in keys else None)

    def selects(self, dialect: DialectName) -> tuple[str, ...]:
        """Statements for the bare driver that read everything there is of some versions; each takes `id_parameter`."""
        return self._selects[dialect]

    def decode(
        self, dialect: DialectName, results: Sequence[Sequence[Row]], name_of: Callable[[int], UUID], absent: Collection[str] = ()
    ) -> Loaded:
        """What the results of `selects` mean; `name_of` gives the id of a version by its key, for errors.

        The versions were written without the fields in `absent`, which get their defaults, or hold nothing.

        Raises:
            UnknownStoredField: A version holds a field that the class has not.
            UnreadableVersion: A version does not fit the class.
        """
        rows = results[0]
        if not rows:
            return Loaded([], [], [], [], [], self._nothing)
        columns = iter(zip(*rows, strict=True))
        ids = list(next(columns))
        cells = [next(columns) for _ in self.values]
        converted = [next(columns) for _ in self.conversion.columns] if self.conversion is not None else []
        cells += [next(columns)] if self.packed_column is not None else []

        def name_of_row(number: int) -> UUID:
            return name_of(ids[number])

        loaded = Loaded(
            ids,
            self._decoder.values(cells, len(ids), name_of_row, absent=absent),
            rows_of(dict(zip(self.references, columns, strict=False)), len(ids)),
            *self._ordered(columns, len(ids), absent),
            self._nothing,
        )
        if self.conversion is not None:
            rows_of_model = list(zip(*converted, strict=True)) or [()] * len(ids)
            for number, cells_of_row in enumerate(rows_of_model):
                self._convert(dialect, name_of_row(number), cells_of_row, absent, loaded.values[number])
        if self._has_loose_fields:
            self._attach_loose(loaded, results[1], results[2], name_of)
        return loaded

    def characters(self, rows: Sequence[Row]) -> int:
        """How much text and bytes there is in the plain values of some rows that could be decoded, of the first of `selects`."""
        return sum(len(row[place] or "") for place in self._long_columns for row in rows)

    @cached_property
    def _long_columns(self) -> tuple[int, ...]:
        """Where in a row there is text or bytes."""
        long = [each.kind in (Kind.text, Kind.json, Kind.bytes) for each in self.values]
        converted = () if self.conversion is None else self.conversion.columns
        long += [kind_of(column.type) in (Kind.text, Kind.json, Kind.bytes) for column in converted]
        long += [self.packed_column is not None]
        return tuple(place for place, is_long in enumerate(long, start=1) if is_long)

    def _ordered(
        self, columns: Iterator[Sequence[Any]], count: int, absent: Collection[str]
    ) -> tuple[list[dict[str, Place]], list[dict[str, tuple[str, ...]]]]:
        """Places and keys of each version, from the columns of ordered fields. Most hold nothing: those share one dict."""
        places: list[list[Place]] = []
        keys: dict[str, list[tuple[str, ...]]] = {}
        for field, (_, _, keys_column) in self.collections.items():
            stored = list(zip(next(columns), next(columns), strict=True))
            places.append(stored if field not in absent else [(None, 0)] * count)
            if keys_column is not None:
                names = next(columns)
                keys[field] = [load_keys(each) for each in names] if field not in absent else [()] * count
        if self._has_loose_fields:  # whose rows will be added to these
            return [dict(zip(self.collections, row, strict=True)) for row in across(places, count)], rows_of(keys, count)
        blank = tuple(self._nothing.values())
        found = [self._nothing if row == blank else dict(zip(self.collections, row, strict=True)) for row in across(places, count)]
        return found, rows_of(keys, count) if keys else [_NO_KEYS] * count

    @cached_property
    def _nothing(self) -> dict[str, Place]:
        return dict.fromkeys(self.collections, (None, 0))

    def _convert(self, dialect: DialectName, ecs_id: UUID, cells: Sequence[Any], absent: Collection[str], values: dict[str, Any]) -> None:
        """Add the values that the model of the table makes of its columns; of fields that are absent, the defaults."""
        assert self.conversion is not None, "asked before"
        if not set(self.conversion.fields) <= set(absent):
            found = self.conversion.values(dialect, ecs_id, cells)
            values.update((name, value) for name, value in found.items() if name not in absent)
        add_defaults(self.cls, self.conversion.fields, ecs_id, values)

    @cached_property
    def value_columns(self) -> tuple[str, ...]:
        """The columns that hold plain values."""
        converted = () if self.conversion is None else (column.name for column in self.conversion.columns)
        packed = () if self.packed_column is None else (self.packed_column,)
        return (*(value.column.name for value in self.values), *converted, *packed)

    @cached_property
    def _data_columns(self) -> tuple[str, ...]:
        ordered = (column for columns in self.collections.values() for column in columns if column is not None)
        return (*self.value_columns, *self.references.values(), *ordered)

    @property
    def _has_loose_fields(self) -> bool:
        """Whether to look into the tables for fields without a column; where there is no table, for unknown ones too."""
        return bool(self.links or self.sequences) or self.table.name == AnyEntity.__tablename__

    def _row(
        self,
        dialect: DialectName,
        id: int,
        values: Dict[str, Any],
        documents: Dict[str, bytes],
        references: Dict[str, int | None],
        sequences: Dict[str, Place],
        keys: Dict[str, Sequence[str]],
    ) -> Row:
        row: list[Any] = [id, *self.constants.values(), *self.encode_values(dialect, values, documents)]
        row.extend(references[field] for field in self.references)
        for field, (_, _, keys_column) in self.collections.items():
            row.extend(sequences[field])
            if keys_column is not None:
                row.append(dump_keys(keys[field]))
        return tuple(row)

    def encode_values(self, dialect: DialectName, values: Dict[str, Any], documents: Dict[str, bytes]) -> list[Any]:
        """What `value_columns` hold of one version.

        Raises:
            UnstorableValue: A value does not fit into its column.
        """
        return self._encoders[dialect].cells(values, documents)

    @cached_property
    def _encoders(self) -> dict[DialectName, CellEncoder]:
        dialects: tuple[DialectName, ...] = ("sqlite", "postgresql")
        columns = {value.field: value.column.type for value in self.values}
        packed = None if self.packed_column is None else self.packed
        nothing = "{}" if self.table.name == AnyEntity.__tablename__ else None
        return {each: CellEncoder(self.cls, each, columns, self.conversion, packed, nothing, self.mutable) for each in dialects}

    @cached_property
    def _selects(self) -> dict[DialectName, tuple[str, ...]]:
        return {"sqlite": self._select("sqlite"), "postgresql": self._select("postgresql")}

    def _select(self, dialect: DialectName) -> tuple[str, ...]:
        among = among_ids(dialect)
        # As text, both are read in bulk by pydantic; asyncpg and SQLAlchemy would make objects of each.
        as_text = {each.name for each in self.table.c if kind_of(each.type) in (Kind.uuid, Kind.json)} if dialect == "postgresql" else ()
        names = ", ".join(quoted(name) + ("::text" if name in as_text else "") for name in ("id", *self._data_columns))
        main = f"SELECT {names} FROM {quoted(self.table.name)} WHERE id {among}"
        if not self._has_loose_fields:
            return (main,)
        links = f"SELECT owner_id, field, child_id FROM entity_link WHERE owner_id {among}"
        keys = "keys::text" if dialect == "postgresql" else "keys"
        sequences = f"SELECT owner_id, field, sequence_id, length, {keys} FROM entity_sequence WHERE owner_id {among}"
        return (main, links, sequences)

    @cached_property
    def _decoder(self) -> Decoder:
        kinds = {value.field: value.kind for value in self.values}
        return Decoder(self.cls, kinds, self.packed, has_packed_cell=self.packed_column is not None)

    def _attach_loose(self, loaded: Loaded, links: Sequence[Row], sequences: Sequence[Row], name_of: Callable[[int], UUID]) -> None:
        unknown = {row[1] for row in links} - set(self.links) | {row[1] for row in sequences} - set(self.sequences)
        if unknown:
            owner = next(row[0] for row in (*links, *sequences) if row[1] in unknown)
            raise UnknownStoredField(self.cls.__kind__, name_of(owner), sorted(unknown))
        index = {key: i for i, key in enumerate(loaded.ids)}
        for references in loaded.references:
            references.update(dict.fromkeys(self.links))
        for owner, field, child in links:
            loaded.references[index[owner]][field] = child
        for places in loaded.sequences:
            places.update(dict.fromkeys(self.sequences, (None, 0)))
        for owner, field, sequence, length, keys in sequences:
            loaded.sequences[index[owner]][field] = (sequence, length)
            if keys is not None:
                loaded.keys[index[owner]][field] = load_keys(keys)
        for names in loaded.keys:
            for field in self.keyed - names.keys():
                names[field] = ()


_NO_KEYS: dict[str, tuple[str, ...]] = {}


def dump_keys(keys: Sequence[str]) -> str:
    """The stored form of the keys of a keyed field."""
    return escape_json(json.dumps(list(keys), ensure_ascii=False).encode(errors="backslashreplace").decode())


def load_keys(stored: str) -> tuple[str, ...]:
    return tuple(parse(unescape_json(stored)))
