"""The line of versions that a slider moves along: from the first version through the one that is shown to the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
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


@dataclass(frozen=True, slots=True)
class Tick:
    """A version that the slider points out: one with a tag, or one that a branch leaves."""

    version: UUID
    share: float
    """How far along the line it is, in percent."""
    kind: Literal["tagged", "branching"]
    text: str


MOST_TICKS = 200
"""On one line, the first ones."""


def ticks_on(line: Line, tree: LineageTree, tags: Mapping[str, VersionInfo]) -> list[Tick]:
    """What there is to point out on a line, the oldest first."""
    names: dict[UUID, list[str]] = {}
    for name, version in tags.items():
        names.setdefault(version.ecs_id, []).append(name)
    last, ticks = max(1, len(line.versions) - 1), list[Tick]()
    for place, version in enumerate(line.versions):
        if len(ticks) == MOST_TICKS:
            break
        share = round(100 * place / last, 2)
        if version.ecs_id in names:
            ticks.append(Tick(version.ecs_id, share, "tagged", ", ".join(names[version.ecs_id])))
        elif len(tree.children(version.ecs_id)) > 1:
            ticks.append(Tick(version.ecs_id, share, "branching", "a branch leaves here"))
    return ticks


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
