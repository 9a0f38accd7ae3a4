"""Versions without their content: one row of the database each, whether one is looked for or a lineage is listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import repeat
from typing import Any, TypeVar
from uuid import UUID

from pydantic import TypeAdapter

from minference.ecs.lineage import CommitInfo, VersionInfo
from minference.storage.sql.driver import Rows

INFOS = """
    SELECT v.ecs_id, v.lineage_id, p.ecs_id, v.kind_id, v.created_at, v.erased_at, c.id, c.created_at, c.author, c.note
    FROM entity_version v JOIN entity_commit c ON c.id = v.commit_id LEFT JOIN entity_version p ON p.id = v.parent_id"""
LINEAGE = """
    SELECT v.kind_id, v.id, v.parent_id, v.ecs_id, v.created_at, v.erased_at, c.id, c.created_at, c.author, c.note
    FROM entity_version v JOIN entity_commit c ON c.id = v.commit_id
    WHERE v.lineage_id = {one} ORDER BY v.created_at, v.id"""
_InfoRow = tuple[UUID, UUID, UUID | None, int, datetime, datetime | None, int, datetime, str | None, str | None]
_INFO_ROWS = TypeAdapter(list[_InfoRow])
_Columns = tuple[list[UUID], list[datetime], list[datetime | None], list[int], list[datetime], list[str | None], list[str | None]]
_COLUMNS = TypeAdapter(_Columns)

_T = TypeVar("_T")


def versions_of(rows: Rows, kinds: Mapping[int, str]) -> list[VersionInfo]:
    """The versions in rows of `INFOS`."""
    return [
        VersionInfo(ecs_id, lineage_id, parent_id, kinds[kind_id], created_at, CommitInfo(key, at, author, note), erased_at)
        for ecs_id, lineage_id, parent_id, kind_id, created_at, erased_at, key, at, author, note in _INFO_ROWS.validate_python(rows)
    ]


def versions_of_lineage(lineage_id: UUID, rows: Rows, kinds: Mapping[int, str]) -> list[VersionInfo]:
    """The versions of a lineage: parents are among them, so that no row needs to name its own."""
    if not rows:
        return []
    kind_ids, keys, parents, *columns = zip(*rows, strict=True)
    names, created, erased, commits, committed, authors, notes = _COLUMNS.validate_python(columns)
    named = map(dict(zip(keys, names, strict=True)).get, parents)
    saves = _tuples(CommitInfo, commits, committed, authors, notes)
    stored = map(kinds.__getitem__, kind_ids)
    return list(_tuples(VersionInfo, names, repeat(lineage_id), named, stored, created, saves, erased))


def _tuples(class_: type[_T], *columns: Iterable[Any]) -> Iterator[_T]:
    """Named tuples of columns, in half the time that their own constructor takes."""
    return map(tuple.__new__, repeat(class_), zip(*columns, strict=False))  # type: ignore[arg-type]  # some columns never end
