"""Rows from the table for any entity into the tables that classes were given later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from minference.ecs.entity import Entity, plan_of
from minference.ecs.shapes import shape_of
from minference.ecs.values import dump_json
from minference.errors import ConfigurationError
from minference.storage.base import Record
from minference.storage.sequences import EMPTY
from minference.storage.sql.among import among_ids, id_parameter
from minference.storage.sql.archive import Ask, SqlArchive
from minference.storage.sql.dialects import write_failed
from minference.storage.sql.driver import Driver, Statement, Transaction, is_driver_error
from minference.storage.sql.guards import after_moving, before_moving
from minference.storage.sql.kinds import Kinds, Revision
from minference.storage.sql.layout import GENERIC
from minference.storage.sql.mapping import TableInsert, insert_order
from minference.storage.sql.registered import mapping_for

AT_ONCE = 500
"""Versions that are moved in one transaction; a commit is never split, since its versions may refer to each other in cycles."""

_NEXT = """
    SELECT a.id FROM entity_any a JOIN entity_version v ON v.id = a.id
    WHERE v.kind_id IN ({kinds}) AND v.commit_id IN (
        SELECT o.commit_id FROM entity_any b JOIN entity_version o ON o.id = b.id WHERE o.kind_id IN ({kinds}) ORDER BY b.id LIMIT {count})
    ORDER BY a.id"""


class RowMover:
    """Moves versions in the order in which they were written, so that what they refer to comes first."""

    def __init__(self, ask: Ask, driver: Driver, kinds: Kinds) -> None:
        self._ask = ask
        self._driver = driver
        self._kinds = kinds
        self._archive = SqlArchive(ask)

    async def move(self, classes: Sequence[type[Entity]]) -> int:
        """See `Stored.move_rows`; the classes include the subclasses of those that were asked for."""
        for cls in classes:
            if mapping_for(cls).table.name == GENERIC:
                raise ConfigurationError(f"{cls.__name__} has no table to move rows into: declare one, class ...(EntityTable, entity=...)")
        await self._kinds.ensure(classes)
        movable = [revision.id for revision in await self._kinds.load() for cls in classes if _is_present(revision, cls)]
        sql = _NEXT.format(kinds=", ".join(map(str, movable)) or "NULL", count=AT_ONCE)
        moved = 0
        while keys := await self._find(sql):
            if await self._write(await self._archive.records(keys)):
                moved += len(keys)
        return moved

    async def _find(self, sql: str) -> list[int]:
        async def answer(_reader: object) -> list[int]:
            async with self._driver.reading() as fetch:
                return [row[0] for row in await fetch(sql)]

        found: list[int] = await self._ask(answer)
        return found

    async def _write(self, records: dict[int, Record]) -> bool:
        """Whether they are moved now: not, if some of them were erased or moved since they were read."""
        try:
            async with self._driver.transaction() as transaction:
                if self._driver.dialect == "postgresql":
                    # Whoever erases waits, or was first.
                    await transaction.execute("LOCK TABLE entity_version IN ROW EXCLUSIVE MODE")
                if await self._changed(transaction, records):
                    return False
                for sql, rows in self._statements(records):
                    await transaction.execute(sql, rows)
        except Exception as error:
            if not is_driver_error(error):
                raise
            raise write_failed(error) from error
        return True

    async def _changed(self, transaction: Transaction, records: dict[int, Record]) -> bool:
        among = among_ids(self._driver.dialect)
        sql = f"SELECT v.id, v.erased_at IS NOT NULL FROM entity_version v JOIN {GENERIC} a ON a.id = v.id WHERE v.id {among}"
        rows = await transaction.fetch(sql, id_parameter(self._driver.dialect, records))
        return {key: bool(erased) for key, erased in rows} != {key: each.erased_at is not None for key, each in records.items()}

    def _statements(self, records: dict[int, Record]) -> Iterable[Statement]:
        dialect = self._driver.dialect
        among, keys = among_ids(dialect), [(id_parameter(dialect, records),)]
        yield from ((sql, [()]) for sql in before_moving(dialect))
        for table, column in (("entity_link", "owner_id"), ("entity_sequence", "owner_id"), (GENERIC, "id")):
            yield f"DELETE FROM {table} WHERE {column} {among}", keys
        rows: dict[TableInsert, list[tuple[Any, ...]]] = {}
        of_class: dict[type[Entity], list[int]] = {}
        for key, record in records.items():
            of_class.setdefault(record.cls, []).append(key)
            for insert, row in _encode(self._driver, key, record):
                rows.setdefault(insert, []).append(row)
        yield from ((insert.sql(dialect), rows[insert]) for insert in insert_order(rows))
        for cls, members in of_class.items():
            yield f"UPDATE entity_version SET kind_id = {self._kinds.ids[cls]} WHERE id {among}", [(id_parameter(dialect, members),)]
        yield from ((sql, [()]) for sql in after_moving(dialect))


def _is_present(revision: Revision, cls: type[Entity]) -> bool:
    """Whether versions of a revision say what the class would say of them, so that only the place changes."""
    shape = shape_of(cls)
    sorts = {each.name: each.sort for each in shape.fields}
    if (revision.kind, revision.shape.version) != (shape.kind, shape.version):
        return False
    return revision.shape.names == shape.names and all(each.sort in (None, sorts[each.name]) for each in revision.shape.fields)


def _encode(driver: Driver, key: int, record: Record) -> Iterable[tuple[TableInsert, tuple[Any, ...]]]:
    cls, plan = record.cls, plan_of(record.cls)
    documents = {name: dump_json(cls, name, record.values[name]) for name in plan.mutable}
    places = record.version.places
    sequences = {field.name: (places.get(field.name, EMPTY).sequence, places.get(field.name, EMPTY).length) for field in plan.collections}
    return mapping_for(cls).encode(driver.dialect, key, record.values, documents, record.references, sequences, record.keys)
