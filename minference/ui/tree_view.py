"""The version tree as a picture beside a list: where each line of the list has its dot, and how the dots are joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from minference.ecs.lineage import LineageTree, VersionInfo
from minference.ecs.lineage_graph import Row, rows_of

LINE, STEP, LEFT = 44, 16, 14
"""Pixels from line to line, from branch to branch, and before the first."""
SINGLE = 60
"""The newest versions, which have a line each even if nothing tells them apart from their neighbours."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One line of the list."""

    row: Row
    x: int
    y: int
    branch: int
    """Which colour it has."""
    is_head: bool
    is_shown: bool
    tags: tuple[str, ...]
    changes: str

    @property
    def version(self) -> VersionInfo | None:
        """The version, if the line is not a stretch of several."""
        return self.row.version


@dataclass(frozen=True, slots=True)
class Edge:
    """From a dot to the one that it was made from."""

    path: str
    branch: int
    is_dashed: bool


@dataclass(frozen=True, slots=True)
class TreeView:
    """The list, the newest on top, and the picture on its left."""

    dots: list[Dot]
    edges: list[Edge]
    width: int
    height: int


def rows_to_show(tree: LineageTree, shown: UUID | None, tags: Mapping[str, VersionInfo], *, everything: bool) -> list[Row]:
    """The lines of the list, the oldest first."""
    return rows_of(tree, current=shown, keep=[each.ecs_id for each in tags.values()], newest=None if everything else SINGLE)


def draw(
    tree: LineageTree, rows: Sequence[Row], shown: UUID | None, tags: Mapping[str, VersionInfo], changes: Mapping[UUID, str]
) -> TreeView:
    """Place the lines."""
    named: dict[UUID, list[str]] = {}
    for name, version in tags.items():
        named.setdefault(version.ecs_id, []).append(name)
    heads = {head.ecs_id for head in tree.heads}
    dots = [
        Dot(
            row,
            x=LEFT + row.depth * STEP,
            y=(len(rows) - index) * LINE - LINE // 2,
            branch=row.depth % 6,
            is_head=row.versions[-1].ecs_id in heads,
            is_shown=row.version is not None and row.version.ecs_id == shown,
            tags=tuple(named.get(row.versions[0].ecs_id, ())) if row.version else (),
            changes=changes.get(row.versions[0].ecs_id, "") if row.version else "",
        )
        for index, row in enumerate(rows)
    ]
    width = LEFT * 2 + STEP * max((row.depth for row in rows), default=0)
    return TreeView(dots[::-1], list(_edges(dots)), width, len(rows) * LINE)


def _edges(dots: Sequence[Dot]) -> Iterator[Edge]:
    for dot in dots:
        if dot.row.above is None:
            continue
        above = dots[dot.row.above]
        bend = f"V{above.y - LINE // 2} Q{dot.x} {above.y} {above.x} {above.y}" if dot.x != above.x else f"V{above.y}"
        yield Edge(f"M{dot.x} {dot.y} {bend}", dot.branch, dot.version is None or above.version is None)
