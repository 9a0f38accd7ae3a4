"""Reading by level: a tree of any size is a handful of statements a level, whatever the number of entities."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, cast
from uuid import UUID

from pydantic_core import from_json

from minference.ecs.entity import kind_to_class
from minference.ecs.fitting import Fit
from minference.ecs.lineage import KindCount, VersionInfo
from minference.ecs.state import Ledger, Version
from minference.errors import ReadFailed, UnknownKind, UnknownStoredField, UnreadableVersion, VersionNotFound
from minference.storage.base import Record
from minference.storage.building import no_garbage_collection
from minference.storage.sequences import Place, Run, Span, cut
from minference.storage.shallow import Known
from minference.storage.sql.among import among_ids, among_texts, among_uuids, id_parameter, text_parameter, uuid_parameter
from minference.storage.sql.driver import Driver, Fetch
from minference.storage.sql.kinds import Kinds, Revision
from minference.storage.sql.level import VERSION_ROWS, Level, Meaning, VersionRow
from minference.storage.sql.listing import INFOS, LINEAGE, versions_of, versions_of_lineage
from minference.storage.sql.older import OlderRows, StoredRow, renamed_by_table
from minference.storage.sql.recent import FEWEST_ROWS, Recent
from minference.storage.sql.registered import mapping_for

VERSIONS = """
    SELECT v.id, v.ecs_id, v.lineage_id, p.ecs_id, v.kind_id, v.created_at, v.erased_at
    FROM entity_version v LEFT JOIN entity_version p ON p.id = v.parent_id"""
NEWEST = "(SELECT l.id FROM entity_version l WHERE l.lineage_id = r.lineage_id ORDER BY l.created_at DESC, l.id DESC LIMIT 1)"
"""The newest version of the lineage of `r`."""
ROOTS = "FROM entity_version r WHERE r.parent_id IS NULL AND r.kind_id IN (SELECT k.id FROM entity_kind k WHERE k.name {names})"
"""One row for each lineage of some kinds: each has one version that was made from none."""
_ERASED = "SELECT v.id FROM entity_version v WHERE v.erased_at IS NOT NULL AND v.id"
_ERASURES = "SELECT COUNT(*) FROM (SELECT 1 FROM erasure LIMIT {most}) AS e"
_COUNTS = """
    SELECT k.name, COUNT(*), COUNT(DISTINCT v.lineage_id)
    FROM entity_version v JOIN entity_kind k ON k.id = v.kind_id GROUP BY k.name"""
_TAGS = "SELECT t.name, t.version_id, v.ecs_id FROM tag t JOIN entity_version v ON v.id = t.version_id"
_SPANS = "SELECT sequence_id, position, run_id, run_position, length FROM sequence_span WHERE sequence_id {among} ORDER BY 1, 2"
# One document for each range: a thousand rows would take three times as long. Planners may turn a join over ranges into a scan of the
# whole table; a subquery for each holds them to the key.
_ITEMS = {
    "sqlite": """
        SELECT (SELECT json_group_array(i.child_id) FROM (
            SELECT child_id FROM run_item
            WHERE run_id = s.value ->> 0 AND position >= s.value ->> 1 AND position < s.value ->> 2 ORDER BY position) i)
        FROM json_each(?) s ORDER BY s.key""",
    "postgresql": """
        SELECT (SELECT '[' || string_agg(i.child_id::text, ',' ORDER BY i.position) || ']' FROM (
            SELECT position, child_id FROM run_item
            WHERE run_id = s.run AND position >= s.low AND position < s.high OFFSET 0) i)
        FROM unnest($1::text[]::bigint[], $2::text[]::int[], $3::text[]::int[]) WITH ORDINALITY AS s(run, low, high, n) ORDER BY s.n""",
}
MATCHES = 20
"""How many versions `matching` returns at most."""
MOST_ERASURES = 1_000
"""Up to which they are counted; if there are more, it takes less to ask for the versions that are of interest."""


class Parts(NamedTuple):
    """What readers of one database share."""

    driver: Driver
    ledger: Ledger
    kinds: Kinds
    recent: Recent


class Reader:
    """Turns rows into records."""

    def __init__(self, driver: Driver, ledger: Ledger, kinds: Kinds, recent: Recent | None = None) -> None:
        self.parts = Parts(driver, ledger, kinds, recent if recent is not None else Recent())
        self._recent = self.parts.recent
        self._driver = driver
        self._dialect = driver.dialect
        self._ledger = ledger
        self._kinds = kinds

    async def read(self, ecs_id: UUID) -> dict[int, Record]:
        """See `Backend.read`."""
        async with self._driver.reading() as fetch:
            rows = await fetch(f"{VERSIONS} WHERE v.ecs_id = {self._one}", self._uuid(ecs_id))
            if not rows:
                raise VersionNotFound(ecs_id, await self._hint(fetch, ecs_id))
            records = await self._tree(fetch, await self._level(fetch, VERSION_ROWS.validate_python(rows)))
            await self._count_children(fetch, next(iter(records.values())).version)
        return records

    async def trees(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Shallow.trees`."""
        async with self._driver.reading() as fetch:
            return await self._tree(fetch, await self._held(fetch, set(keys)))

    async def _tree(self, fetch: Fetch, found: dict[int, Record]) -> dict[int, Record]:
        """The records that were found and those of everything that they reach, the former first."""
        records: dict[int, Record] = {}
        while found:
            records.update(found)
            wanted = _children(found.values()) - records.keys()
            found = await self._held(fetch, wanted)
            if len(found) != len(wanted):
                raise ReadFailed(f"{len(wanted) - len(found)} versions are gone that others hold", damaged=True)
        return records

    async def _held(self, fetch: Fetch, keys: set[int]) -> dict[int, Record]:
        """Like `_level`, but many are remembered, and taken from there the next time."""
        if len(keys) < FEWEST_ROWS:
            return await self._level(fetch, await self._versions(fetch, keys))
        # Before anything is read: what is erased meanwhile is counted the next time.
        [(erasures,)] = await fetch(_ERASURES.format(most=MOST_ERASURES))
        meanings = {kind: await self._meaning(kind) for kind in self._recent.kinds(keys)}
        known = self._recent.take(keys, meanings, erasures)
        if known and erasures == MOST_ERASURES:
            gone = {key for (key,) in await fetch(f"{_ERASED} {among_ids(self._dialect)}", self._ids(known))}
            self._recent.forget(gone)
            known = {key: record for key, record in known.items() if key not in gone}
        level = await self._bare_level(fetch, await self._versions(fetch, keys - known.keys()))
        await self._attach_members(fetch, level.records, level.wanted)
        by_kind = level.by_kind()
        for kind in level.meanings:
            self._recent.keep(level, kind, [key for key in by_kind[kind] if key in level.rows], erasures)
        return {**known, **level.records}

    async def _versions(self, fetch: Fetch, keys: Collection[int]) -> list[VersionRow]:
        if not keys:
            return []
        return VERSION_ROWS.validate_python(await fetch(f"{VERSIONS} WHERE v.id {among_ids(self._dialect)}", self._ids(keys)))

    async def known(self, ids: Sequence[UUID], keys: Collection[int]) -> list[Known]:
        """See `Shallow.known`."""
        async with self._driver.reading() as fetch:
            rows = await self._versions(fetch, keys)
            if ids:
                named = f"{VERSIONS} WHERE v.ecs_id {among_uuids(self._dialect)}"
                rows += VERSION_ROWS.validate_python(await fetch(named, uuid_parameter(self._dialect, ids)))
        found: list[Known] = []
        for key, ecs_id, lineage_id, _, kind_id, created_at, _ in rows:
            version = self._ledger.versions.get(key)
            if version is None:
                version = self._ledger.versions[key] = Version(ecs_id, lineage_id, created_at, key)
            found.append(Known(version, await self._kinds.name_of(kind_id)))
        return found

    @property
    def _one(self) -> str:
        return "$1" if self._dialect == "postgresql" else "?"

    def _uuid(self, value: UUID) -> Any:
        return value if self._dialect == "postgresql" else value.hex

    def _ids(self, keys: Any) -> Any:
        return id_parameter(self._dialect, keys)

    async def _hint(self, fetch: Fetch, ecs_id: UUID) -> str:
        found = await fetch(f"SELECT 1 FROM entity_version WHERE lineage_id = {self._one} LIMIT 1", self._uuid(ecs_id))
        return "it is the id of a lineage, use latest()" if found else ""

    async def _level(self, fetch: Fetch, rows: list[VersionRow]) -> dict[int, Record]:
        """The records of some versions, without what hangs on them."""
        level = await self._bare_level(fetch, rows)
        await self._attach_members(fetch, level.records, level.wanted)
        return {key: level.records[key] for key in level.versions}

    async def bare(self, fetch: Fetch, keys: Iterable[int]) -> Level:
        """Some versions in the present shape of their class, without the members of their ordered fields."""
        return await self._bare_level(fetch, await self._versions(fetch, list(keys)))

    async def _bare_level(self, fetch: Fetch, rows: list[VersionRow]) -> Level:
        level = Level(self._ledger, {row[0]: row for row in rows})
        older: dict[int, list[int]] = {}
        for (mapping, absent), keys in (await self._as_now(level, older)).items():
            results = [await fetch(sql, self._ids(keys)) for sql in mapping.selects(self._dialect)]
            try:
                with no_garbage_collection():
                    loaded = mapping.decode(self._dialect, results, level.name_of, absent)
                    level.add_loaded(mapping.cls, loaded, results[0])
            except (UnknownStoredField, UnreadableVersion):
                # Fields may have moved into columns, or out of them, before it was noted where they are.
                if not await self._is_unnoted({level.versions[key][4] for key in keys}):
                    raise
            if len(results[0]) < len(keys) or keys[0] not in level.records:
                for key in level.missing(keys):
                    older.setdefault(level.versions[key][4], []).append(key)
        for kind, keys in older.items():
            await self._read_older(fetch, level, await self._kinds.revision(kind), keys)
        return level

    async def _as_now(self, level: Level, older: dict[int, list[int]]) -> dict[Meaning, list[int]]:
        """The versions that are as their class is now, by what their rows mean; the others go to `older`."""
        found: dict[Meaning, list[int]] = {}
        for kind, keys in level.by_kind().items():
            meaning = await self._meaning(kind)
            if meaning is None:
                older[kind] = keys
            else:
                level.meanings[kind] = meaning
                found.setdefault(meaning, []).extend(keys)
        return found

    async def _meaning(self, kind: int) -> Meaning | None:
        """What the rows of a kind mean, if they are as their class is now."""
        revision = await self._kinds.revision(kind)
        cls = kind_to_class(revision.kind)
        if cls is None:
            return None
        mapping = mapping_for(cls)
        lacking = revision.lacks(mapping)
        return None if lacking is None else Meaning(mapping, lacking)

    async def _is_unnoted(self, kinds: Iterable[int]) -> bool:
        return any([(await self._kinds.revision(kind)).layout is None for kind in kinds])

    async def _read_older(self, fetch: Fetch, level: Level, revision: Revision, keys: list[int]) -> None:
        """Add the records of versions in another shape than that of their class now, or whose class is not known."""
        cls = kind_to_class(revision.kind)
        if revision.layout is not None and revision.layout.converted:
            names = ", ".join(map(repr, revision.layout.converted))
            reason = f"the table {revision.layout.table!r} converted {names} itself: give the class the shape that it had then"
            raise UnreadableVersion(revision.kind, level.name_of(keys[0]), None, reason)
        if cls is None:
            rows = await OlderRows(self._dialect, fetch).read(revision, None, keys, _always)
            if revision.layout is None and len(rows) < len(keys):
                raise UnknownKind(revision.kind)
            for key in keys:
                level.add_opaque(key, revision.shape, _row_of(rows, level, revision, key))
            return
        mapping = mapping_for(cls)
        fit = Fit(cls, revision.shape, renamed_by_table(revision, mapping))
        fit.refuse(level.name_of(keys[0]))
        rows = await OlderRows(self._dialect, fetch).read(revision, mapping, keys, fit.keeps)
        values = fit.values([(level.name_of(key), _row_of(rows, level, revision, key).values) for key in keys])
        for key, found in zip(keys, values, strict=True):
            level.add_fitted(key, cls, fit, found, rows[key])

    async def _attach_members(
        self, fetch: Fetch, records: dict[int, Record], wanted: dict[tuple[int, str], tuple[int | None, int]]
    ) -> None:
        places = await self._places(fetch, wanted)
        ranges = [span for place in places.values() for span in place.spans]
        cells = iter(await self._cells(fetch, ranges))
        for (key, name), place in places.items():
            records[key].members[name] = [child for _ in place.spans for child in next(cells)]
            records[key].version.places.setdefault(name, place)

    async def _attach_places(self, fetch: Fetch, records: dict[int, Record], wanted: dict[tuple[int, str], tuple[int | None, int]]) -> None:
        """Where the ordered fields are, without reading their members: for readers that use it in place of `_attach_members`."""
        for (key, name), place in (await self._places(fetch, wanted)).items():
            records[key].version.places.setdefault(name, place)
            for span in place.spans:
                span.run.end = max(span.run.end, span.start + span.length)

    async def _places(self, fetch: Fetch, wanted: dict[tuple[int, str], tuple[int | None, int]]) -> dict[tuple[int, str], Place]:
        spans = await self._spans(fetch, [sequence for sequence, length in wanted.values() if sequence is not None and length])
        places: dict[tuple[int, str], Place] = {}
        for owner, (sequence, length) in wanted.items():
            inside, ends_open = cut(spans.get(sequence, []) if sequence is not None else [], length)
            if sum(span.length for span in inside) != length:
                raise ReadFailed(f"sequence {sequence}, of which {length} members are in use, lacks spans", damaged=True)
            places[owner] = Place(sequence, length, inside, ends_open=ends_open)
        return places

    async def _spans(self, fetch: Fetch, sequences: list[int]) -> dict[int | None, list[tuple[int, Run, int, int]]]:
        if not sequences:
            return {}
        rows = await fetch(_SPANS.format(among=among_ids(self._dialect)), self._ids(sequences))
        runs: dict[int, Run] = {}
        found: dict[int | None, list[tuple[int, Run, int, int]]] = {}
        for sequence, position, run_id, start, length in rows:
            if start < 0:
                raise ReadFailed(f"a span of sequence {sequence} begins with cell {start} of run {run_id}", damaged=True)
            run = runs.setdefault(run_id, self._ledger_run(run_id))
            found.setdefault(sequence, []).append((position, run, start, length))
        return found

    def _ledger_run(self, run_id: int) -> Run:
        run: Run | None = self._ledger.runs.get(run_id)
        if run is None:
            run = self._ledger.runs[run_id] = Run(run_id, 0)
        return run

    async def _cells(self, fetch: Fetch, spans: Sequence[Span]) -> list[list[int]]:
        """The keys in each span, in order."""
        if not spans:
            return []
        if self._dialect == "sqlite":
            ranges = ",".join(f"[{span.run.id},{span.start},{span.start + span.length}]" for span in spans)
            rows = await fetch(_ITEMS["sqlite"], f"[{ranges}]")
        else:
            runs, lows = (span.run.id for span in spans), (span.start for span in spans)
            highs = (span.start + span.length for span in spans)
            rows = await fetch(_ITEMS["postgresql"], self._ids(runs), self._ids(lows), self._ids(highs))
        cells: list[list[int]] = [from_json(row[0] or "[]") for row in rows]
        for span, found in zip(spans, cells, strict=True):
            if len(found) != span.length:
                raise ReadFailed(f"run {span.run.id} lacks cells of a list that is {span.length} of them long there", damaged=True)
            span.run.end = max(span.run.end, span.start + span.length)
        return cells

    async def _count_children(self, fetch: Fetch, version: Version) -> None:
        """Whether an edit of this version will branch, so that the first attempt to write it is right."""
        sql = f"SELECT fork_no + 1, ecs_id FROM entity_version WHERE parent_id = {self._one} ORDER BY fork_no DESC LIMIT 1"
        for number, ecs_id in await fetch(sql, version.id):
            version.children = number
            version.last_child = ecs_id if isinstance(ecs_id, UUID) else UUID(hex=ecs_id)

    async def find(self, ecs_id: UUID) -> VersionInfo | None:
        """See `Backend.find`."""
        return next(iter(await self._infos(f"{INFOS} WHERE v.ecs_id = {self._one}", self._uuid(ecs_id))), None)

    async def lineage(self, lineage_id: UUID) -> list[VersionInfo]:
        """See `Backend.lineage`."""
        async with self._driver.reading() as fetch:
            rows = await fetch(LINEAGE.format(one=self._one), self._uuid(lineage_id))
        kinds = await self._names_of_kinds(row[0] for row in rows)
        with no_garbage_collection():
            return versions_of_lineage(lineage_id, rows, kinds)

    async def heads_of_kinds(self, kinds: Sequence[str]) -> list[VersionInfo]:
        """See `Backend.heads_of_kinds`."""
        newest = f"SELECT {NEWEST} {ROOTS.format(names=among_texts(self._dialect))}"
        latest_first = f"{INFOS} WHERE v.id IN ({newest}) ORDER BY v.created_at DESC, v.id DESC"
        return await self._infos(latest_first, text_parameter(self._dialect, kinds))

    async def matching(self, prefix: str) -> list[VersionInfo]:
        """See `Backend.matching`."""
        low, high = UUID(hex=prefix.ljust(32, "0")), UUID(hex=prefix.ljust(32, "f"))
        first, second = ("$1", "$2") if self._dialect == "postgresql" else ("?1", "?2")
        between = f"BETWEEN {first} AND {second}"
        where = f"v.ecs_id {between} OR v.lineage_id {between}"
        return await self._infos(
            f"{INFOS} WHERE {where} ORDER BY v.created_at DESC, v.id DESC LIMIT {MATCHES}", self._uuid(low), self._uuid(high)
        )

    async def tags(self, lineage_id: UUID) -> dict[str, VersionInfo]:
        """See `Backend.tags`."""
        async with self._driver.reading() as fetch:
            rows = await fetch(f"{_TAGS} WHERE t.lineage_id = {self._one}", self._uuid(lineage_id))
        holders = {name: ecs_id if isinstance(ecs_id, UUID) else UUID(hex=ecs_id) for name, _, ecs_id in sorted(rows)}
        infos = await self._infos(f"{INFOS} WHERE v.id {among_ids(self._dialect)}", self._ids({key for _, key, _ in rows}))
        versions = {info.ecs_id: info for info in infos}
        return {name: versions[ecs_id] for name, ecs_id in holders.items()}

    async def kinds(self) -> set[str]:
        """See `Backend.kinds`."""
        return {revision.kind for revision in await self._kinds.load()}

    async def counts(self) -> dict[str, KindCount]:
        """See `Backend.counts`."""
        async with self._driver.reading() as fetch:
            return {name: KindCount(versions, lineages) for name, versions, lineages in await fetch(_COUNTS)}

    async def _infos(self, sql: str, *arguments: Any) -> list[VersionInfo]:
        async with self._driver.reading() as fetch:
            rows = await fetch(sql, *arguments)
        kinds = await self._names_of_kinds(row[3] for row in rows)
        with no_garbage_collection():
            return versions_of(rows, kinds)

    async def _names_of_kinds(self, kind_ids: Iterable[int]) -> dict[int, str]:
        return {kind_id: await self._kinds.name_of(kind_id) for kind_id in set(kind_ids)}


def _children(records: Iterable[Record]) -> set[int]:
    """The keys of what these hold."""
    found: set[int | None] = set()
    for record in records:
        if record.leaf:
            continue
        found.update(record.references.values())
        for members in record.members.values():
            if members:
                found.update(members)
    found.discard(None)
    return cast(set[int], found)


def _row_of(rows: dict[int, StoredRow], level: Level, revision: Revision, key: int) -> StoredRow:
    if key not in rows:
        raise UnreadableVersion(revision.kind, level.name_of(key), None, "it has no row in any table: run `minference db check`")
    return rows[key]


def _always(_field: str) -> bool:
    return True
