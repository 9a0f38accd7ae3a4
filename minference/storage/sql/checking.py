"""Checks of a whole database, in one consistent view of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from sqlite3 import OperationalError
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Table

from minference.ecs.entity import Entity, kind_to_class
from minference.ecs.erasing import erased_keys, is_erased
from minference.ecs.state import Ledger
from minference.errors import NoEmptyValue, StorageError
from minference.storage.base import Record
from minference.storage.checks import DatabaseSize, Finding, TableSize
from minference.storage.partial import place_of
from minference.storage.sequences import OPEN
from minference.storage.sql.archive import ArchiveReader, Ask, RunCache
from minference.storage.sql.checking_blobs import HOLDS, wrong_contents, wrong_holds
from minference.storage.sql.checking_cells import wrong_cells
from minference.storage.sql.checking_lists import unheld_cells
from minference.storage.sql.checking_order import circles
from minference.storage.sql.checking_words import damaged_words
from minference.storage.sql.dialects import is_damage, is_no_key, reason_of
from minference.storage.sql.driver import Fetch, Rows
from minference.storage.sql.guards import EXISTING, missing_guards
from minference.storage.sql.holdings import TABLES
from minference.storage.sql.keys import KeyBlock
from minference.storage.sql.kinds import Kinds
from minference.storage.sql.layout import GENERIC
from minference.storage.sql.level import VERSION_ROWS
from minference.storage.sql.mapping import Mapping, quoted
from minference.storage.sql.reader import VERSIONS, Reader
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.rules import RULES
from minference.storage.sql.schema import Base
from minference.storage.sql.searching import indexes_of

MOST = 50
"""Findings of one rule that are told one by one."""
AT_ONCE = 500
"""Versions that are loaded together."""

_BEGIN = {"sqlite": "BEGIN", "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}


class CheckReader(ArchiveReader):
    """Finds what is wrong."""

    _attach_members = Reader._attach_places  # other rules see to it that the cells are there

    async def check(self) -> list[Finding]:
        """See `Checks.check`."""
        findings: list[Finding] = []
        async with self._one_view() as fetch:
            try:
                async for found in self._findings(fetch):
                    findings += found
            except Exception as error:
                if not is_damage(error):
                    raise
                findings.append(Finding("the file", f"it is damaged, and more cannot be checked: {reason_of(error)}"))
        return findings

    async def _findings(self, fetch: Fetch) -> AsyncIterator[list[Finding]]:
        yield await self._file(fetch)
        tables = {str(row[0]) for row in await fetch(TABLES[self._dialect])}
        missing = [name for name in Base.metadata.tables if name not in tables]
        yield [Finding("tables", f"table {name} is missing") for name in missing]
        if missing:
            return
        yield await self._guards(fetch, tables)
        for table in Base.metadata.tables.values():
            for column in table.columns:
                yield await self._references(fetch, table, column)
        if self._dialect == "sqlite":
            yield _limited("cells", [Finding("cells", text) for text in await wrong_cells(fetch, tables)])
        damaged = await self._kinds.damaged()
        yield _limited("shapes", [Finding("shapes", text) for text in damaged.values()])
        for rule in RULES:
            rows = [row for row in await fetch(rule.sql) if rule.excused is None or not rule.excused(*row)]
            yield _told(rule.name, rule.text, rows)
        yield _limited("commits in order", [Finding("commits in order", text) for text in await circles(fetch)])
        yield _limited("blobs whole", await wrong_contents(fetch, self._dialect))
        known, unknown = await self._classes(fetch)
        classes = {kind: cls for kind, cls in known.items() if kind not in damaged}
        yield unknown
        rowless: set[int] = set()
        for mapping, kinds in _by_mapping(classes).items():
            found, lost = await self._rows(fetch, mapping, kinds, tables)
            rowless |= lost
            yield found
        yield await self._sequences(fetch, classes.values())
        unheld = await unheld_cells(fetch, self._dialect, self._kinds, classes)
        yield _told("ordered fields", "version {0} put {2} cells into run {1}, and has no ordered field that holds them", unheld)
        yield await self._indexes(fetch, classes.values(), tables)
        yield await self._loading(fetch, classes, rowless)

    async def size(self) -> DatabaseSize:
        """See `Checks.size`."""
        async with self._one_view() as fetch:
            names = sorted(str(row[0]) for row in await fetch(TABLES[self._dialect]) if not str(row[0]).startswith("sqlite_"))
            tables = {}
            for name in names:
                [(rows,)] = await fetch(f"SELECT COUNT(*) FROM {quoted(name)}")
                size = None
                if self._dialect == "postgresql":
                    [(size,)] = await fetch(f"SELECT pg_total_relation_size('{quoted(name)}'::regclass)")
                tables[name] = TableSize(rows, size)
            if self._dialect == "postgresql":
                [(total,)] = await fetch("SELECT pg_database_size(current_database())")
            else:
                [(total,)] = await fetch("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
            return DatabaseSize(total, tables)

    @asynccontextmanager
    async def _one_view(self) -> AsyncIterator[Fetch]:
        async with self._driver.reading() as fetch:
            await fetch(_BEGIN[self._dialect])
            try:
                yield fetch
            finally:
                await fetch("ROLLBACK")

    async def _file(self, fetch: Fetch) -> list[Finding]:
        if self._dialect != "sqlite":
            return []
        rows = [row for row in await fetch("PRAGMA integrity_check") if row[0] != "ok"]
        return _told("the file", "{0}", rows)

    async def _guards(self, fetch: Fetch, tables: set[str]) -> list[Finding]:
        there = {str(row[0]) for row in await fetch(EXISTING[self._dialect])}
        rows = [(name,) for name in missing_guards(tables, there)]
        text = "trigger {0}, which keeps stored versions from changing, is missing: `minference db upgrade` sets it up"
        return _told("guards", text, rows)

    async def _references(self, fetch: Fetch, table: Table, column: Column[Any]) -> list[Finding]:
        """Rows that refer to what is not there."""
        findings: list[Finding] = []
        for key in column.foreign_keys:
            target = key.column
            owner = next((name for name in ("owner_id", "id", "version_id") if name in table.columns), None)
            version = f"LEFT JOIN entity_version e ON e.id = t.{quoted(owner)}" if owner else "LEFT JOIN entity_version e ON e.id < 0"
            sql = f"""
                SELECT t.{quoted(owner or column.name)}, e.ecs_id, t.{quoted(column.name)}
                FROM {quoted(table.name)} t {version}
                WHERE t.{quoted(column.name)} IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM {quoted(target.table.name)} r WHERE r.{quoted(target.name)} = t.{quoted(column.name)})"""
            text = f"{table.name} {{0}} (version {{1}}): {column.name} {{2}} is not in {target.table.name}"
            findings += _told("references", text, await fetch(sql))
        return findings

    async def _classes(self, fetch: Fetch) -> tuple[dict[int, type[Entity]], list[Finding]]:
        """The classes of the kinds that are in use, and those of them that nobody knows."""
        sql = """
            SELECT k.id, k.name, COUNT(*), MIN(CAST(v.ecs_id AS TEXT)) FROM entity_kind k JOIN entity_version v ON v.kind_id = k.id
            GROUP BY k.id, k.name ORDER BY k.id"""
        classes: dict[int, type[Entity]] = {}
        unknown: Rows = []
        for kind_id, name, count, example in await fetch(sql):
            cls = kind_to_class(name)
            if cls is None:
                unknown.append((name, count, UUID(example)))
            else:
                classes[kind_id] = cls
        text = "{1} versions, {2} among them, are of kind {0}, which this program does not define: import its module to check them whole"
        return classes, [replace(told, fault=False) for told in _told("known kinds", text, unknown)]

    async def _rows(self, fetch: Fetch, mapping: Mapping, kinds: Sequence[int], tables: Collection[str]) -> tuple[list[Finding], set[int]]:
        """Versions without a row in any table in which they may be, and those whose row in the class's table says something else."""
        table, among = quoted(mapping.table.name), ", ".join(map(str, kinds))
        layouts = [(await self._kinds.revision(kind)).layout for kind in kinds]
        places = {mapping.table.name, GENERIC, *(layout.table for layout in layouts if layout is not None)} & set(tables)
        nowhere = " AND ".join(f"NOT EXISTS (SELECT 1 FROM {quoted(each)} t WHERE t.id = v.id)" for each in sorted(places))
        without = f"SELECT v.ecs_id, v.id FROM entity_version v WHERE v.kind_id IN ({among}) AND {nowhere}"
        lost = await fetch(without)
        findings = _told("rows of versions", f"version {{0}} has no row in {mapping.table.name}", lost)
        for column, value in mapping.constants.items():
            differs = f"""
                SELECT v.ecs_id, t.{quoted(column)} FROM entity_version v JOIN {table} t ON t.id = v.id
                WHERE v.kind_id IN ({among}) AND t.{quoted(column)} <> '{value}'"""
            text = f"version {{0}} is a {mapping.cls.__kind__}, and its row in {mapping.table.name} one of {{1}}"
            findings += _told("rows of versions", text, await fetch(differs))
        return findings, {row[1] for row in lost}

    async def _sequences(self, fetch: Fetch, classes: Iterable[type[Entity]]) -> list[Finding]:
        """Ordered fields whose spans do not join up, or that reach beyond what there is."""
        lengths = await self._lengths(fetch, classes)
        ends: dict[int, int] = dict(await fetch("SELECT run_id, MAX(position) + 1 FROM run_item GROUP BY run_id"))
        spans: dict[int, list[tuple[int, int, int, int]]] = {}
        damaged: set[Any] = set()
        for sequence, *span in await fetch("SELECT sequence_id, position, run_id, run_position, length FROM sequence_span ORDER BY 1, 2"):
            if all(isinstance(number, int) for number in (sequence, *span)):
                spans.setdefault(sequence, []).append((span[0], span[1], span[2], span[3]))
            else:
                damaged.add(sequence)
        findings = [Finding("ordered fields", f"sequence {sequence}: a span holds something else than numbers") for sequence in damaged]
        findings += [
            Finding("ordered fields", f"sequence {sequence}, of which {length} members are in use, has no spans")
            for sequence, length in lengths.items()
            if length and sequence not in spans
        ]
        for sequence, parts in spans.items():
            if (problem := _problem(parts, lengths.get(sequence, 0), ends)) is not None:
                findings.append(Finding("ordered fields", f"sequence {sequence}: {problem}"))
        return _limited("ordered fields", findings)

    async def _lengths(self, fetch: Fetch, classes: Iterable[type[Entity]]) -> dict[int, int]:
        """How much of each sequence is in use."""
        sources = {("entity_sequence", "sequence_id", "length")}
        for mapping in map(mapping_for, set(classes)):
            sources |= {(mapping.table.name, sequence, length) for sequence, length, _ in mapping.collections.values()}
        lengths: dict[int, int] = {}
        for table, sequence, length in sorted(sources):
            sql = f"SELECT {sequence}, MAX({length}) FROM {quoted(table)} WHERE {sequence} IS NOT NULL GROUP BY {sequence}"
            for key, longest in await fetch(sql):
                # What is no number is found again when the version is loaded.
                lengths[key] = max(longest if isinstance(longest, int) else 0, lengths.get(key, 0))
        return lengths

    async def _indexes(self, fetch: Fetch, classes: Iterable[type[Entity]], tables: set[str]) -> list[Finding]:
        """Words of what is erased, and words that are not found."""
        found = [names for mapping in map(mapping_for, classes) for names in indexes_of(mapping, self._dialect, tables).values()]
        findings: list[Finding] = []
        for index, indexed in sorted({(names["index"], names["indexed"]) for names in found}):
            sql = f"SELECT v.ecs_id FROM {indexed} d JOIN entity_version v ON v.id = d.id WHERE v.erased_at IS NOT NULL"
            findings += _told("erased versions are not indexed", f"version {{0}} is erased and in the index {index}", await fetch(sql))
            if self._dialect == "sqlite" and (problem := await damaged_words(fetch, index)) is not None:
                findings.append(Finding("words are found", problem))
        return findings

    async def _loading(self, fetch: Fetch, classes: dict[int, type[Entity]], rowless: set[int]) -> list[Finding]:
        """Versions that cannot be read back."""
        among = ", ".join(map(str, classes)) or "NULL"
        keys = [row[0] for row in await fetch(f"SELECT id FROM entity_version WHERE kind_id IN ({among}) ORDER BY id")]
        wanted = [key for key in keys if key not in rowless]
        findings: list[Finding] = []
        for start in range(0, len(wanted), AT_ONCE):
            findings += await self._load(fetch, wanted[start : start + AT_ONCE])
        rules = dict.fromkeys(finding.rule for finding in findings)
        return [told for rule in rules for told in _limited(rule, [finding for finding in findings if finding.rule == rule])]

    async def _load(self, fetch: Fetch, keys: list[int]) -> list[Finding]:
        rows = await self._select(fetch, f"{VERSIONS} WHERE v.id {{among}}", keys)
        try:
            records = await self._level(fetch, VERSION_ROWS.validate_python(rows))
        except (StorageError, ValueError, LookupError, TypeError, OperationalError) as error:
            if isinstance(error, OperationalError) and not is_no_key(error):
                raise
            if len(keys) > 1:
                middle = len(keys) // 2
                return await self._load(fetch, keys[:middle]) + await self._load(fetch, keys[middle:])
            return [Finding("loading", f"version {_shown(rows[0][1])} cannot be loaded: {reason_of(error) if is_no_key(error) else error}")]
        findings = wrong_holds(records, await self._select(fetch, HOLDS, keys))
        for record in records.values():
            if record.erased_at is not None and not _is_empty(record):
                findings.append(Finding("erased versions are empty", f"version {record.version.ecs_id} is erased and holds content"))
            for name in dict.fromkeys((*record.version.places, *record.keys)):
                place = place_of(record, name)
                held = sum(span.length for span in place.spans)
                if held != place.length or (name in record.keys and len(record.keys[name]) != place.length):
                    text = f"version {record.version.ecs_id} has {held} members in {name!r} instead of {place.length}"
                    text += f", and {len(record.keys[name])} keys" if name in record.keys else ""
                    findings.append(Finding("loading", text))
        return findings


def _is_empty(record: Record) -> bool:
    try:
        return is_erased(record.cls, record.values) and record.keys == erased_keys(record.keys)
    except NoEmptyValue:  # nobody can tell any more what it should look like
        return False


def _by_mapping(classes: dict[int, type[Entity]]) -> dict[Mapping, list[int]]:
    found: dict[Mapping, list[int]] = {}
    for kind_id, cls in classes.items():
        found.setdefault(mapping_for(cls), []).append(kind_id)
    return found


def _problem(spans: Sequence[tuple[int, int, int, int]], length: int, ends: dict[int, int]) -> str | None:
    """What is wrong with the spans (position, run, start, length) of a sequence of which `length` members are in use."""
    expected = 0
    for number, (position, run, start, size) in enumerate(spans):
        if position != expected:
            return f"a span begins at {position}, where {expected} comes next"
        if (size == OPEN) != (number == len(spans) - 1):
            return f"the span at {position} is {'open' if size == OPEN else 'closed'}, and only the last one is open"
        if size <= 0:
            return f"the span at {position} has length {size}"
        if start < 0:
            return f"the span at {position} begins with cell {start} of run {run}, where the first is 0"
        used = min(size, length - position)
        if used > 0 and start + used > ends.get(run, 0):
            return f"the span at {position} needs {start + used} cells of run {run}, which has {ends.get(run, 0)}"
        expected = position + size
    return None


def _told(rule: str, text: str, rows: Rows) -> list[Finding]:
    return _limited(rule, [Finding(rule, text.format(*map(_shown, row))) for row in rows])


def _limited(rule: str, findings: list[Finding]) -> list[Finding]:
    if len(findings) <= MOST:
        return findings
    return [*findings[:MOST], Finding(rule, f"and {len(findings) - MOST} more of the kind")]


def _shown(value: Any) -> str:
    """Ids as users know them, also where the database keeps 32 digits."""
    if isinstance(value, str) and len(value) == 32 and set(value) <= set("0123456789abcdef"):
        return str(UUID(hex=value))
    return str(value)


class SqlChecks:
    """See `Checks`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def check(self) -> list[Finding]:
        """See `Checks.check`."""
        found: list[Finding] = await self._ask(lambda reader: _with_cache(reader).check())
        return found

    async def size(self) -> DatabaseSize:
        """See `Checks.size`."""
        found: DatabaseSize = await self._ask(lambda reader: _with_cache(reader).size())
        return found


def _with_cache(reader: Reader) -> CheckReader:
    driver, ledger, _, _ = reader.parts
    # Nothing that is known of live objects and shapes may hide what the rows say.
    checking = CheckReader(driver, Ledger(ledger.database_id), Kinds(driver, KeyBlock(driver)))
    checking.runs = RunCache()
    return checking
