"""`minference lineage`: how the versions of a thread come from each other, in the terminal, as Mermaid, as a picture, as data."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.text import Text

from minference.cli.database import existing
from minference.cli.find import find_version
from minference.cli.output import one_line, page, print_json, stderr
from minference.cli.threads import tags_by_version
from minference.cli.working import working
from minference.ecs.lineage import LineageTree, VersionInfo, margin, short_id
from minference.ecs.lineage_graph import Row, label, rows_of, rows_to_mermaid
from minference.ecs.lineage_svg import rows_to_svg
from minference.ecs.summary import summarise
from minference.storage.base import EntityStorage
from minference.storage.whole_files import check_target, whole_file

MOST = 300
"""Lines that are printed without `--all`, and versions of which it is told what they changed."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a lineage is to be shown."""

    limit: int
    """Versions, the newest, that are shown one by one."""
    everything: bool = False
    mermaid: bool = False
    svg: Path | None = None
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Lineage:
    """What there is to show."""

    current: VersionInfo
    rows: list[Row]
    heads: frozenset[UUID]
    tags: Mapping[Any, list[str]]
    changes: Mapping[UUID, str]

    def marks(self) -> dict[UUID, str]:
        """What stands at the versions that have a name or are an end."""
        versions = (row.version.ecs_id for row in self.rows if row.version is not None)
        return {version: mark for version in versions if (mark := self.mark(version))}

    def mark(self, version: UUID) -> str:
        """The names of a version, whether it is a head, and whether it is the one that was asked for."""
        words = [f"[{one_line(name, 40)}]" for name in self.tags.get(version, [])]
        words += ["head"] if version in self.heads else []
        return " ".join([*words, *(["current"] if version == self.current.ecs_id else [])])


def lineage(database: str, thread: str, drawing: Drawing) -> None:
    """Show the lineage of a thread.

    Raises:
        UnwritableFile: The picture cannot be written.
        UnknownThread: No one thread is called so.
    """
    if drawing.svg is not None:
        check_target(drawing.svg)
    asyncio.run(_lineage(database, thread, drawing))


async def _lineage(database: str, thread: str, drawing: Drawing) -> None:
    async with existing(database) as storage:
        with working("reading versions"):
            found = await _read(storage, await find_version(storage, thread), drawing)
    if drawing.svg is not None:
        title = f"thread {short_id(found.current.lineage_id)}"
        with whole_file(drawing.svg) as write:
            write(rows_to_svg(found.rows, found.marks(), title=title, current=found.current.ecs_id).encode())
        stderr().print(f"{sum(len(row.versions) for row in found.rows):,} versions: {drawing.svg}", soft_wrap=True)
    elif drawing.mermaid:
        print(rows_to_mermaid(found.rows, found.marks(), found.changes))
    elif drawing.as_json:
        print_json([_as_json(found, row) for row in reversed(found.rows)])
    else:
        shown = found.rows[::-1] if drawing.everything else found.rows[: -MOST - 1 : -1]
        page(Text("\n").join(_line(found, row) for row in shown))
        if len(shown) < len(found.rows):
            stderr().print(f"and {len(found.rows) - len(shown):,} more lines (--all)")


async def _read(storage: EntityStorage, current: VersionInfo, drawing: Drawing) -> Lineage:
    tree = LineageTree(await storage.lineage(current.lineage_id))
    tags = await tags_by_version(storage, current)
    keep = [version.ecs_id for version in (await storage.tags(current.lineage_id)).values()]
    rows = rows_of(tree, current=current.ecs_id, keep=keep, newest=None if drawing.everything else drawing.limit)
    alone = [row.version.ecs_id for row in rows if row.version is not None and row.version.parent_id is not None]
    told = await storage.changes(alone) if len(alone) <= MOST else []
    changes = {version: summarise(diff) for version, diff in zip(alone, told, strict=False) if diff is not None}
    return Lineage(current, rows, frozenset(head.ecs_id for head in tree.heads), tags, changes)


def _line(found: Lineage, row: Row) -> Text:
    line = Text(margin(row.depth, starts=row.starts), style="dim")
    version = row.version
    if version is None:
        return line.append(f"┆ {label(row, {})}")
    is_current = version.ecs_id == found.current.ecs_id
    line.append("● " if is_current else "○ ", style="bold cyan not dim" if is_current else "cyan not dim")
    line.append(label(row, {}), style="not dim")
    if mark := found.mark(version.ecs_id):
        line.append(f"  {mark}", style="bold green not dim")
    if changed := found.changes.get(version.ecs_id):
        line.append(f"  {one_line(changed, 60)}")
    return line


def _as_json(found: Lineage, row: Row) -> dict[str, Any]:
    first, last = row.versions[0], row.versions[-1]
    parent = str(first.parent_id) if first.parent_id else None
    if row.version is None:
        return {"versions": len(row.versions), "first": str(first.ecs_id), "last": str(last.ecs_id), "parent": parent, "depth": row.depth}
    return {
        "version": str(first.ecs_id),
        "parent": parent,
        "depth": row.depth,
        "created_at": first.created_at.isoformat(),
        "author": first.commit.author,
        "note": first.commit.note,
        "head": first.ecs_id in found.heads,
        "current": first.ecs_id == found.current.ecs_id,
        "tags": found.tags.get(first.ecs_id, []),
        "changes": found.changes.get(first.ecs_id),
    }
