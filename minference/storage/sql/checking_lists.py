"""Check of ordered fields against their runs: whoever put a cell there holds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from minference.ecs.entity import Entity
from minference.storage.sql.driver import Fetch, Rows
from minference.storage.sql.kinds import Kinds
from minference.storage.sql.layout import GENERIC, Layout, layout_of
from minference.storage.sql.mapping import quoted
from minference.storage.sql.older import COLUMNS
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.types import DialectName


class _Lists(NamedTuple):
    """Where ordered fields are."""

    table: str
    owner: str
    sequence: str
    length: str


_LOOSE = _Lists("entity_sequence", "owner_id", "sequence_id", "length")
_HELD = """
    EXISTS (SELECT 1 FROM {table} q JOIN sequence_span s ON s.sequence_id = q.{sequence}
            WHERE q.{owner} = r.owner_id AND s.run_id = r.run_id AND r.position >= s.run_position
            AND r.position - CAST(s.run_position AS BIGINT) < s.length
            AND r.position - CAST(s.run_position AS BIGINT) + s.position < q.{length})"""


async def unheld_cells(fetch: Fetch, dialect: DialectName, kinds: Kinds, classes: Mapping[int, type[Entity]]) -> Rows:
    """Versions that put cells into a run, and hold them in no ordered field, with the run and how many: a row was lost, or says too little.

    Of versions that hold what others put there, nothing tells that a row is missing. Those are passed over of which it
    was not noted where their fields are, or whose columns were dropped since.
    """
    columns: dict[str, set[str]] = {}
    places: set[_Lists] = {_LOOSE}
    known: list[int] = []
    for kind_id, cls in classes.items():
        layout = (await kinds.revision(kind_id)).layout
        if layout is None:
            continue
        found = {*_places(layout), *_places(layout_of(mapping_for(cls)))}
        for table in {each.table for each in found} - columns.keys():
            columns[table] = {str(row[0]) for row in await fetch(COLUMNS[dialect], table)}
        if all({each.sequence, each.length} <= columns[each.table] for each in found):
            places |= found
            known.append(kind_id)
    if not known:
        return []
    nowhere = " AND ".join(
        f"NOT {_HELD.format(**{name: quoted(part) for name, part in each._asdict().items()})}" for each in sorted(places)
    )
    sql = f"""
        SELECT v.ecs_id, r.run_id, COUNT(*) FROM run_item r JOIN entity_version v ON v.id = r.owner_id
        WHERE v.kind_id IN ({", ".join(map(str, known))}) AND v.erased_at IS NULL AND {nowhere} GROUP BY v.ecs_id, r.run_id"""
    return await fetch(sql)


def _places(layout: Layout) -> Iterable[_Lists]:
    if layout.table == GENERIC:
        return ()
    return [_Lists(layout.table, "id", sequence, length) for sequence, length, _ in layout.collections.values()]
