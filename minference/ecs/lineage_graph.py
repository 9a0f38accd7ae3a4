"""A lineage of any size in few lines: versions that matter one by one, what is between them as stretches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from uuid import UUID

from minference.ecs.lineage import Drawn, LineageTree, VersionInfo, describe, mermaid_text

LONGEST = 120
"""Characters of a version's description that are shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a drawing: a version, or a stretch of several on one branch."""

    versions: tuple[VersionInfo, ...]
    """The oldest first."""
    depth: int
    """How many lines of other branches are beside it, on its left."""
    starts: bool
    """Whether it is the first of a side branch."""
    above: int | None
    """The row that holds what it was made from, by index; `None` for a root."""

    @property
    def version(self) -> VersionInfo | None:
        """The version, if it is one."""
        return self.versions[0] if len(self.versions) == 1 else None


def rows_of(tree: LineageTree, *, current: UUID | None = None, keep: Collection[UUID] = (), newest: int | None = 20) -> list[Row]:
    """The lineage as rows, each after what it was made from; the line that leads to `current` is the straight one.

    Versions that nothing tells apart from their neighbours are joined to stretches. First versions, heads, those that a branch
    leaves or begins with, `current`, those in `keep`, and so many of the newest (`None`: all of them) stand alone.
    """
    alone = {*keep, *([current] if current is not None else [])}
    alone.update(version.ecs_id for version in (tree.versions if newest is None else tree.versions[len(tree) - min(newest, len(tree)) :]))
    groups: list[tuple[Drawn, list[VersionInfo]]] = []
    joins = False
    for place in tree.drawn(current):
        version = place.version
        is_joint = version.parent_id in tree and not place.starts and len(tree.children(version.ecs_id)) == 1
        is_plain = is_joint and version.ecs_id not in alone
        if is_plain and joins and groups[-1][1][-1].ecs_id == version.parent_id:
            groups[-1][1].append(version)
        else:
            groups.append((place, [version]))
        joins = is_plain
    home = {version.ecs_id: index for index, (_, versions) in enumerate(groups) for version in versions}
    return [
        Row(tuple(versions), place.depth, place.starts, home.get(place.version.parent_id) if place.version.parent_id is not None else None)
        for place, versions in groups
    ]


def label(row: Row, marks: Mapping[UUID, str]) -> str:
    """What to write at a row: who, when and why, with the version's mark; of a stretch, how many there are and of which time."""
    if (version := row.version) is not None:
        told = describe(version)
        told = told if len(told) <= LONGEST else f"{told[: LONGEST - 1]}…"
        return "  ".join(filter(None, (told, marks.get(version.ecs_id))))
    begin, end = (version.created_at.astimezone(UTC) for version in (row.versions[0], row.versions[-1]))
    same_day = begin.date() == end.date()
    return f"… {len(row.versions):,} versions, {begin:%Y-%m-%d %H:%M:%S} to {end:{'%H:%M:%S' if same_day else '%Y-%m-%d %H:%M:%S'}} …"


def rows_to_mermaid(rows: Sequence[Row], marks: Mapping[UUID, str], changes: Mapping[UUID, str]) -> str:
    """The rows as a Mermaid flowchart; everything is escaped. `changes`, by version: what to write at the edge to it."""
    texts = [mermaid_text(label(row, marks)) for row in rows]
    nodes = [f'    v{index}["{text}"]' if rows[index].version else f'    v{index}(["{text}"])' for index, text in enumerate(texts)]
    edges = []
    for index, row in enumerate(rows):
        text = changes.get(row.versions[0].ecs_id) if row.version else None
        told = f'|"{mermaid_text(text)}"|' if text else ""
        if row.above is not None:
            edges.append(f"    v{row.above} -->{told} v{index}")
    return "\n".join(["flowchart TD", *nodes, *edges])
