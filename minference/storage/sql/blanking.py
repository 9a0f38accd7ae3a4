"""Taking the content out of rows, inside the transaction of an erasure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from minference.ecs.entity import Entity, plan_of
from minference.ecs.erasing import erased, erased_keys
from minference.ecs.values import dump_json
from minference.storage.sql.decoding import Loaded
from minference.storage.sql.driver import Transaction
from minference.storage.sql.holdings import TABLES, SqlHoldings, Stored, portions
from minference.storage.sql.mapping import Mapping, among_ids, dump_keys, id_parameter, quoted
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.schema import EntityVersion
from minference.storage.sql.searching import forget, forget_for_good, indexes_of, lock_index
from minference.storage.sql.types import DialectName, encoder


class Blanker:
    """Makes shells of versions: their rows stay, with what their classes leave of them."""

    def __init__(self, transaction: Transaction, dialect: DialectName, holdings: SqlHoldings) -> None:
        self._transaction = transaction
        self._dialect = dialect
        self._holdings = holdings

    async def blank(self, versions: Iterable[Stored], erased_at: datetime) -> None:
        """Take out the content of these, and their words out of every index.

        Raises:
            NoEmptyValue: A class does not say what is left of a field.
        """
        classes: dict[type[Entity], list[int]] = {}
        for version in versions:
            classes.setdefault(version.cls, []).append(version.key)
        tables = {str(name) for (name,) in await self._transaction.fetch(TABLES[self._dialect])}
        for cls, keys in classes.items():
            indexes = indexes_of(mapping_for(cls), self._dialect, tables)
            for names in indexes.values():
                await lock_index(self._transaction, self._dialect, names)
            for part in portions(sorted(keys)):
                await self._mark(part, erased_at)
                await self._empty(cls, part, indexes)
            for names in indexes.values():
                await forget_for_good(self._transaction, self._dialect, names)

    async def _mark(self, keys: list[int], erased_at: datetime) -> None:
        encode = encoder(EntityVersion.__table__.c["erased_at"].type, self._dialect)
        one, among = ("$2", among_ids(self._dialect)) if self._dialect == "postgresql" else ("?2", "IN (SELECT value FROM json_each(?1))")
        sql = f"UPDATE entity_version SET erased_at = {one} WHERE id {among} AND erased_at IS NULL"
        moment = erased_at if encode is None else encode(erased_at)
        await self._transaction.execute(sql, [(id_parameter(self._dialect, keys), moment)])

    async def _empty(self, cls: type[Entity], keys: list[int], indexes: dict[str, dict[str, Any]]) -> None:
        mapping, plan = mapping_for(cls), plan_of(cls)
        loaded = await self._holdings.load(mapping, keys)
        rows: list[tuple[Any, ...]] = []
        for key, values in zip(loaded.ids, loaded.values, strict=True):
            left = erased(cls, values)
            documents = {name: dump_json(cls, name, left[name]) for name in plan.mutable}
            rows.append((*mapping.encode_values(self._dialect, left, documents), key))
        if rows and mapping.value_columns:
            await self._transaction.execute(self._update(mapping, mapping.value_columns), rows)
        await self._empty_keys(mapping, loaded)
        for field, names in indexes.items():
            texts = {key: values[field] for key, values in zip(loaded.ids, loaded.values, strict=True)}
            await forget(self._transaction, self._dialect, names, texts)

    async def _empty_keys(self, mapping: Mapping, loaded: Loaded) -> None:
        """Keys of keyed fields become places."""
        columns = {field: column for field, (_, _, column) in mapping.collections.items() if column is not None}
        for key, keys in zip(loaded.ids, loaded.keys, strict=True):
            for field, places in erased_keys(keys).items():
                if not places:
                    continue
                if field in columns:
                    await self._transaction.execute(self._update(mapping, (columns[field],)), [(dump_keys(places), key)])
                else:
                    one, two, three = ("$1", "$2", "$3") if self._dialect == "postgresql" else ("?1", "?2", "?3")
                    sql = f"UPDATE entity_sequence SET keys = {one} WHERE owner_id = {two} AND field = {three}"
                    await self._transaction.execute(sql, [(dump_keys(places), key, field)])

    def _update(self, mapping: Mapping, columns: tuple[str, ...]) -> str:
        signs = [f"${number}" if self._dialect == "postgresql" else f"?{number}" for number in range(1, len(columns) + 2)]
        changes = ", ".join(f"{quoted(column)} = {sign}" for column, sign in zip(columns, signs, strict=False))
        return f"UPDATE {quoted(mapping.table.name)} SET {changes} WHERE id = {signs[-1]}"
