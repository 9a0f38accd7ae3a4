"""The line of versions that a slider moves along: from the first version through the one that is shown to the end."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from minference.ecs.lineage import LineageTree, VersionInfo


@dataclass(frozen=True, slots=True)
class Line:
    """Versions that were made one from the other, the oldest first."""

    versions: tuple[VersionInfo, ...]
    place: int
    """Index of the version that is shown."""
    others: tuple[VersionInfo, ...]
    """Ends of the lineage that are on other branches, the oldest first."""

    @property
    def shown(self) -> VersionInfo:
        """The version that is shown."""
        return self.versions[self.place]

    @property
    def before(self) -> VersionInfo | None:
        """What it was made from."""
        return self.versions[self.place - 1] if self.place else None

    @property
    def after(self) -> VersionInfo | None:
        """What was made from it."""
        return self.versions[self.place + 1] if self.place + 1 < len(self.versions) else None

    @property
    def tip(self) -> VersionInfo:
        """The end of the line."""
        return self.versions[-1]


def line_through(tree: LineageTree, version: UUID, tip: UUID | None = None) -> Line:
    """The line through a version to `tip`, if that comes from it; else past it along the main line.

    Raises:
        KeyError: The version is not in the lineage.
    """
    if tip is not None and tip in tree and (line := _path(tree, tip)) and version in (places := _places(line)):
        return Line(line, places[version], _other_heads(tree, line))
    line = _path(tree, tree.tip(version).ecs_id)
    return Line(line, _places(line)[version], _other_heads(tree, line))


def _path(tree: LineageTree, tip: UUID) -> tuple[VersionInfo, ...]:
    return (*reversed(tree.ancestors(tip)), tree[tip])


def _places(line: tuple[VersionInfo, ...]) -> dict[UUID, int]:
    return {version.ecs_id: place for place, version in enumerate(line)}


def _other_heads(tree: LineageTree, line: tuple[VersionInfo, ...]) -> tuple[VersionInfo, ...]:
    return tuple(head for head in tree.heads if head.ecs_id != line[-1].ecs_id)
