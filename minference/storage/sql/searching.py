"""Full text: FTS5 on SQLite, tsvector with a GIN index on PostgreSQL, both filled when somebody searches.

An index that is written with each message would cost more than the message, and on PostgreSQL could refuse one. What is
missing is found by key and not by a watermark: processes take keys from blocks of their own, so they are not in order.
Texts are cut into words here, so that both databases find the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from minference.ecs.entity import Entity, kinds_of
from minference.errors import ConfigurationError, ReadFailed
from minference.storage.search import Hit, snippet, words_of
from minference.storage.sql.among import among_ids, id_parameter
from minference.storage.sql.archive import Ask
from minference.storage.sql.driver import Driver, Fetch, Transaction
from minference.storage.sql.mapping import Mapping, quoted
from minference.storage.sql.reader import Reader
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.schema import Base
from minference.storage.sql.types import DialectName, Kind, unescape_text

AT_ONCE = 2_000
"""Texts that are indexed in one transaction."""
_LOCK = 6_364_136_223_846_794
"""Held on PostgreSQL by whoever creates the index, or erases what may be in one."""
_FOUND = TypeAdapter(list[tuple[int, UUID, str]])
_HOLDERS = TypeAdapter(list[tuple[int, UUID]])

_CREATE = {
    "sqlite": ("CREATE VIRTUAL TABLE IF NOT EXISTS {index} USING fts5(words, content='', tokenize='unicode61 remove_diacritics 0')",),
    "postgresql": (
        f"SELECT pg_advisory_xact_lock({_LOCK})",
        "CREATE TABLE IF NOT EXISTS {index} (id BIGINT PRIMARY KEY, words tsvector NOT NULL)",
        "CREATE INDEX IF NOT EXISTS ix_{index} ON {index} USING GIN (words)",
    ),
}
_NOT_ERASED = "NOT EXISTS (SELECT 1 FROM entity_version v WHERE v.id = {id} AND v.erased_at IS NOT NULL)"
_MISSING = f"""
    SELECT m.id, m.{{column}} FROM {{table}} m
    WHERE m.id > {{after}} AND m.{{column}} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {{indexed}} d WHERE d.id = m.id)
    AND {_NOT_ERASED.format(id="m.id")} ORDER BY m.id LIMIT {{count}}"""
# What was read before an erasure is not added after it. FTS5 writes out what it gathered whenever a statement could fail
# half-way, as INSERT ... SELECT could: one SELECT for all and bare VALUES take a fifth of the time.
_STILL_MISSING = f"""
    SELECT m.id FROM {{table}} m
    WHERE m.id {{among}} AND NOT EXISTS (SELECT 1 FROM {{indexed}} d WHERE d.id = m.id) AND {_NOT_ERASED.format(id="m.id")}"""
_ADD = {
    "sqlite": "INSERT INTO {index} (rowid, words) VALUES (?, ?)",
    "postgresql": f"""
        INSERT INTO {{index}} (id, words) SELECT $1::bigint, array_to_tsvector($2::text[])
        WHERE {_NOT_ERASED.format(id="$1::bigint")} ON CONFLICT DO NOTHING""",
}
_FORGET = {
    "sqlite": "INSERT INTO {index} ({index}, rowid, words) VALUES ('delete', ?, ?)",
    "postgresql": "DELETE FROM {index} WHERE id = $1 AND $2::text IS NOT NULL",
}
_INDEXED = """
    SELECT m.id, m.{column} FROM {table} m
    WHERE m.id {among} AND m.{column} IS NOT NULL AND EXISTS (SELECT 1 FROM {indexed} d WHERE d.id = m.id)"""
_MATCHING = {
    "sqlite": "SELECT rowid FROM {index} WHERE {index} MATCH ?",
    "postgresql": "SELECT id FROM {index} WHERE words @@ $1::text::tsquery",
}
_FIND = """
    SELECT n.id, n.ecs_id, n.found FROM (
        SELECT v.id, v.ecs_id, v.created_at, m.{column} AS found,
               ROW_NUMBER() OVER (PARTITION BY v.lineage_id ORDER BY v.created_at DESC, v.id DESC) AS age
        FROM {table} m JOIN entity_version v ON v.id = m.id JOIN entity_kind k ON k.id = v.kind_id
        WHERE m.id IN ({matching}) AND k.name IN ({kinds})) AS n
    WHERE n.age = 1 ORDER BY n.created_at DESC, n.id DESC LIMIT {limit}"""
_PUT = "SELECT DISTINCT i.child_id, o.lineage_id FROM run_item i JOIN entity_version o ON o.id = i.owner_id WHERE i.child_id "


class SearchReader(Reader):
    """Fills the index of one field, and looks into it."""

    async def search(self, classes: Sequence[type[Entity]], field: str, text: str, limit: int) -> list[Hit]:
        """See `Search.search`; the first of the classes is the one that was asked for, the others its subclasses."""
        names = _names(classes[0], field, self._dialect)
        words = words_of(text)
        if not words:
            return []
        driver: Driver = self.parts.driver
        await self._fill(driver, names)
        kinds = ", ".join(f"'{kind}'" for each in classes for kind in kinds_of(each))
        sql = _FIND.format(**names, matching=_MATCHING[self._dialect].format(**names), kinds=kinds, limit=int(limit))
        quote, join = ('"', " ") if self._dialect == "sqlite" else ("'", " & ")
        async with self._driver.reading() as fetch:
            found = _FOUND.validate_python(await fetch(sql, join.join(f"{quote}{word}{quote}" for word in words)))
            holders = await self._holders(fetch, [key for key, _, _ in found])
        hits: list[Hit] = []
        for key, ecs_id, stored in found:
            version = await self.find(ecs_id)
            if version is None:
                raise ReadFailed(f"version {ecs_id} is indexed and not found by its id", damaged=True)
            hits.append(Hit(version, snippet(unescape_text(stored), words), tuple(sorted(holders.get(key, ())))))
        return hits

    async def _fill(self, driver: Driver, names: dict[str, Any]) -> None:
        """Index what is not indexed. Any number of processes may do it at once."""
        dialect = self._dialect
        create = [sql.format(**names) for sql in _CREATE[dialect]]
        await driver.write([(sql, [()]) for sql in create])
        after = -1
        while True:
            async with driver.reading() as fetch:
                rows = await fetch(_MISSING.format(**names, after=after, count=AT_ONCE))
            if not rows:
                return
            after = rows[-1][0]  # what comes below that now was not saved when somebody began to search
            await self._add(driver, names, [(key, words_of(unescape_text(stored))) for key, stored in rows])

    async def _add(self, driver: Driver, names: dict[str, Any], texts: list[tuple[int, list[str]]]) -> None:
        add = _ADD[self._dialect].format(**names)
        if self._dialect == "postgresql":
            await driver.write([(add, texts)])
            return
        still_missing = _STILL_MISSING.format(**names, among=among_ids(self._dialect))
        async with driver.transaction() as transaction:
            wanted = {row[0] for row in await transaction.fetch(still_missing, self._ids([key for key, _ in texts]))}
            await transaction.execute(add, [(key, " ".join(words)) for key, words in texts if key in wanted])

    async def _holders(self, fetch: Fetch, keys: list[int]) -> dict[int, set[UUID]]:
        """For each version the lineages of those that put it into an ordered field."""
        found: dict[int, set[UUID]] = {}
        for key, lineage_id in _HOLDERS.validate_python(await fetch(f"{_PUT} {among_ids(self._dialect)}", self._ids(keys))):
            found.setdefault(key, set()).add(lineage_id)
        return found


def _names(cls: type[Entity], field: str, dialect: str) -> dict[str, Any]:
    """What to put into the statements."""
    return _index(mapping_for(cls).table.name, text_column(cls, field), dialect)


def text_column(cls: type[Entity], field: str) -> str:
    """The name of the column that holds a text.

    Raises:
        ConfigurationError: There is none.
    """
    column = next((each.column.name for each in mapping_for(cls).values if each.field == field and each.kind is Kind.text), None)
    if column is None:
        raise ConfigurationError(
            f"{cls.__name__} has no table with a column for a text {field!r} to search in: declare one, class ...(EntityTable, entity=...)"
        )
    return column


def _index(table: str, column: str, dialect: str) -> dict[str, Any]:
    index = f"{table}_{column}_words"
    indexed = f"{index}_docsize" if dialect == "sqlite" else index
    return {"index": index, "indexed": indexed, "table": quoted(table), "column": quoted(column)}


def indexes_of(mapping: Mapping, dialect: DialectName, tables: Set[str]) -> dict[str, dict[str, Any]]:
    """By field, the indexes of its words that were ever made; `tables` are those that there are."""
    texts = [each for each in mapping.values if each.kind is Kind.text]
    names = {each.field: _index(mapping.table.name, each.column.name, dialect) for each in texts}
    return {field: each for field, each in names.items() if each["index"] in tables}


def indexes_on(table: str, columns: Iterable[str], dialect: DialectName, tables: Set[str]) -> list[dict[str, Any]]:
    """The indexes of words in these columns that were ever made, whatever class they were made for."""
    names = (_index(table, column, dialect) for column in columns)
    return [each for each in names if each["index"] in tables]


def index_names() -> list[str]:
    """The tables of every index that there can be."""
    return [_index(table.name, column.name, "")["index"] for table in Base.metadata.tables.values() for column in table.c]


async def forbid_new_indexes(transaction: Transaction, dialect: DialectName) -> None:
    """Nobody makes another index until the transaction ends."""
    if dialect == "postgresql":
        await transaction.fetch(f"SELECT pg_advisory_xact_lock({_LOCK})")


async def lock_index(transaction: Transaction, dialect: DialectName, names: dict[str, Any]) -> None:
    """Nobody adds words until the transaction ends."""
    if dialect == "postgresql":
        await transaction.execute("LOCK TABLE {index} IN SHARE ROW EXCLUSIVE MODE".format(**names))


async def forget(transaction: Transaction, dialect: DialectName, names: dict[str, Any], keys: Sequence[int]) -> None:
    """Take the words of these versions out of an index, while their rows still hold them."""
    sql = _INDEXED.format(**names, among=among_ids(dialect))
    rows = await transaction.fetch(sql, id_parameter(dialect, keys))
    if rows:
        words = [(key, " ".join(words_of(unescape_text(stored)))) for key, stored in rows]
        await transaction.execute(_FORGET[dialect].format(**names), words)


async def forget_for_good(transaction: Transaction, dialect: DialectName, names: dict[str, Any]) -> None:
    """Write an index anew, since FTS5 notes what was deleted, words and all, until it merges its parts."""
    if dialect == "sqlite":
        await transaction.execute("INSERT INTO {index} ({index}) VALUES ('optimize')".format(**names))


async def search(ask: Ask, classes: Sequence[type[Entity]], field: str, text: str, limit: int) -> list[Hit]:
    """See `Search.search`."""
    found: list[Hit] = await ask(lambda reader: SearchReader(*reader.parts).search(classes, field, text, limit))
    return found
