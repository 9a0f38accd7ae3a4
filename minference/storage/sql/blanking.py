"""Taking the content out of rows, inside the transaction of an erasure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from minference.ecs.blob_fields import blobs_in
from minference.ecs.entity import Entity, plan_of
from minference.ecs.erasing import erased, erased_keys
from minference.ecs.shapes import shape_of
from minference.ecs.values import dump_json
from minference.storage.base import Record
from minference.storage.holdings import digests_in
from minference.storage.sql.among import among_ids, id_parameter
from minference.storage.sql.driver import Transaction
from minference.storage.sql.holdings import TABLES, Stored, portions
from minference.storage.sql.kinds import Form
from minference.storage.sql.layout import GENERIC, mapping_of_shape
from minference.storage.sql.level import Level
from minference.storage.sql.mapping import Mapping, TableInsert, dump_keys, insert_order, quoted
from minference.storage.sql.older import COLUMNS
from minference.storage.sql.reader import Reader
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.releasing import Releaser
from minference.storage.sql.schema import EntityVersion
from minference.storage.sql.searching import forget, forget_for_good, indexes_on, lock_index
from minference.storage.sql.types import encoder

_OWNED = (("entity_link", "owner_id"), ("entity_sequence", "owner_id"))


class Blanker:
    """Makes shells of versions: they stay, with what their classes leave of them.

    What is in the present shape of its class is changed where it is. Everything else is written anew in the present shape:
    beside others of its class, or into the table for any entity if it is there, since others that are there may refer to it.
    """

    def __init__(self, transaction: Transaction, reader: Reader) -> None:
        self._transaction = transaction
        self._reader = reader
        driver, self._kinds = reader.parts.driver, reader.parts.kinds
        self._dialect = driver.dialect
        self._places: dict[int, Form | None] = {}
        """By key: as what a version is to be written anew; `None` if it can stay where it is."""
        self.digests: set[str] = set()
        """Of the requests to which replies must not be cached any longer."""

    async def unnumbered(self, versions: Sequence[Stored]) -> set[Form]:
        """As what some of these are to be written anew, and what has no number yet. Changes nothing.

        Raises:
            UnknownKind: The program has not defined the class of one of them.
        """
        for (cls, kind_id), keys in _grouped(versions).items():
            mapping, revision = mapping_for(cls), await self._kinds.revision(kind_id)
            if revision.layout is not None and revision.lacks(mapping) == frozenset():
                self._places.update(dict.fromkeys(keys))
                continue
            sql = f"SELECT id FROM {GENERIC} WHERE id {among_ids(self._dialect)}"
            generic = {row[0] for row in await self._transaction.fetch(sql, id_parameter(self._dialect, keys))}
            elsewhere: Form = cls if mapping.table.name == GENERIC else shape_of(cls)
            self._places.update((key, elsewhere if key in generic else cls) for key in keys)
        return {form for form in self._places.values() if form is not None and form not in self._kinds.ids}

    async def blank(self, versions: Sequence[Stored], erased_at: datetime) -> None:
        """Take out the content of these, their words out of every index, and bytes that nobody else holds.

        Raises:
            NoEmptyValue: A class does not say what is left of a field.
            UnreadableVersion: One does not fit its class, which so cannot say what is left of it.
        """
        releaser = Releaser(self._transaction, self._dialect)
        for (cls, kind_id), keys in _grouped(versions).items():
            tables = await self._tables(cls, kind_id)
            indexes = [each for table in tables for each in await self._indexes(table)]
            for names in indexes:
                await lock_index(self._transaction, self._dialect, names)
            for part in portions(sorted(keys)):
                await self._mark(part, erased_at)
                for names in indexes:
                    await forget(self._transaction, self._dialect, names, part)
                await self._empty(cls, part, tables, releaser)
            for names in indexes:
                await forget_for_good(self._transaction, self._dialect, names)
        await releaser.drop()

    async def _tables(self, cls: type[Entity], kind_id: int) -> list[str]:
        """The tables in which versions of a shape may have rows."""
        layout = (await self._kinds.revision(kind_id)).layout
        there = await self._there()
        named = {mapping_for(cls).table.name, GENERIC, *([layout.table] if layout is not None else [])}
        return sorted(named & there)

    async def _there(self) -> set[str]:
        return {str(name) for (name,) in await self._transaction.fetch(TABLES[self._dialect])}

    async def _indexes(self, table: str) -> list[dict[str, Any]]:
        columns = [str(row[0]) for row in await self._transaction.fetch(COLUMNS[self._dialect], table)]
        return indexes_on(table, columns, self._dialect, await self._there())

    async def _mark(self, keys: list[int], erased_at: datetime) -> None:
        encode = encoder(EntityVersion.__table__.c["erased_at"].type, self._dialect)
        one, among = ("$2", among_ids(self._dialect)) if self._dialect == "postgresql" else ("?2", "IN (SELECT value FROM json_each(?1))")
        sql = f"UPDATE entity_version SET erased_at = {one} WHERE id {among} AND erased_at IS NULL"
        moment = erased_at if encode is None else encode(erased_at)
        await self._transaction.execute(sql, [(id_parameter(self._dialect, keys), moment)])

    async def _empty(self, cls: type[Entity], keys: list[int], tables: list[str], releaser: Releaser) -> None:
        level = await self._reader.bare(self._transaction.fetch, keys)
        left = {key: erased(cls, record.values) for key, record in level.records.items()}
        self.digests.update(digest for record in level.records.values() for digest in digests_in(record))
        await releaser.hold_instead({key: blobs_in(cls, values) for key, values in left.items()})
        stay = [key for key in left if self._places[key] is None]
        await self._update(mapping_for(cls), {key: level.records[key] for key in stay}, left)
        await self._write_anew(level, {key: values for key, values in left.items() if self._places[key] is not None}, tables)

    async def _update(self, mapping: Mapping, records: dict[int, Record], left: dict[int, dict[str, Any]]) -> None:
        if records and mapping.value_columns:
            rows = [
                (*mapping.encode_values(self._dialect, left[key] | _identity(record), _documents(record.cls, left[key])), key)
                for key, record in records.items()
            ]
            await self._transaction.execute(self._change(mapping, mapping.value_columns), rows)
        columns = {field: column for field, (_, _, column) in mapping.collections.items() if column is not None}
        for key, record in records.items():
            for field, places in erased_keys(record.keys).items():
                if not places:
                    continue
                if field in columns:
                    await self._transaction.execute(self._change(mapping, (columns[field],)), [(dump_keys(places), key)])
                else:
                    one, two, three = ("$1", "$2", "$3") if self._dialect == "postgresql" else ("?1", "?2", "?3")
                    sql = f"UPDATE entity_sequence SET keys = {one} WHERE owner_id = {two} AND field = {three}"
                    await self._transaction.execute(sql, [(dump_keys(places), key, field)])

    def _change(self, mapping: Mapping, columns: tuple[str, ...]) -> str:
        signs = [f"${number}" if self._dialect == "postgresql" else f"?{number}" for number in range(1, len(columns) + 2)]
        changes = ", ".join(f"{quoted(column)} = {sign}" for column, sign in zip(columns, signs, strict=False))
        return f"UPDATE {quoted(mapping.table.name)} SET {changes} WHERE id = {signs[-1]}"

    async def _write_anew(self, level: Level, left: dict[int, dict[str, Any]], tables: list[str]) -> None:
        if not left:
            return
        among = among_ids(self._dialect)
        for table, column in (*_OWNED, *((table, "id") for table in tables)):
            sql = f"DELETE FROM {quoted(table)} WHERE {column} {among}"
            await self._transaction.execute(sql, [(id_parameter(self._dialect, left),)])
        rows: dict[TableInsert, list[tuple[Any, ...]]] = {}
        numbers: dict[int, list[int]] = {}
        for key, values in left.items():
            form = self._places[key]
            assert form is not None, "these are written anew"
            numbers.setdefault(self._kinds.ids[form], []).append(key)
            for insert, row in self._encode(form, key, level, values):
                rows.setdefault(insert, []).append(row)
        for insert in insert_order(rows):
            await self._transaction.execute(insert.sql(self._dialect), rows[insert])
        for number, keys in numbers.items():
            sql = f"UPDATE entity_version SET kind_id = {number} WHERE id {among}"
            await self._transaction.execute(sql, [(id_parameter(self._dialect, keys),)])

    def _encode(self, form: Form, key: int, level: Level, left: dict[str, Any]) -> Iterable[tuple[TableInsert, tuple[Any, ...]]]:
        record = level.records[key]
        cls, plan = record.cls, plan_of(record.cls)
        mapping = mapping_for(form) if isinstance(form, type) else mapping_of_shape(form)
        documents = _documents(cls, left) if isinstance(form, type) else {name: dump_json(cls, name, left[name]) for name in left}
        sequences = {field.name: level.place(key, field.name) for field in plan.collections}
        values = left | _identity(record)
        return mapping.encode(self._dialect, key, values, documents, record.references, sequences, erased_keys(record.keys))


def _grouped(versions: Iterable[Stored]) -> dict[tuple[type[Entity], int], list[int]]:
    """Their keys, by class and shape."""
    found: dict[tuple[type[Entity], int], list[int]] = {}
    for version in versions:
        found.setdefault((version.cls, version.kind_id), []).append(version.key)
    return found


def _documents(cls: type[Entity], values: dict[str, Any]) -> dict[str, bytes]:
    return {name: dump_json(cls, name, values[name]) for name in plan_of(cls).mutable}


def _identity(record: Record) -> dict[str, Any]:
    """What a table that converts rows itself may want to see."""
    version = record.version
    return {
        "ecs_id": version.ecs_id,
        "lineage_id": version.lineage_id,
        "parent_id": record.parent_id,
        "created_at": version.created_at,
        "live_id": uuid4(),
    }
