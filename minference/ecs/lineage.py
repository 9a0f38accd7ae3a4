"""The versions of one logical object: a tree, with its heads, its branches and a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID


class CommitInfo(NamedTuple):
    """One save: what became durable together."""

    id: int
    created_at: datetime
    author: str | None = None
    note: str | None = None


class VersionInfo(NamedTuple):
    """One version of one entity, without its content."""

    ecs_id: UUID
    lineage_id: UUID
    parent_id: UUID | None
    """The version that it was made from; `None` for the first."""
    kind: str
    """The stored name of the entity's class."""
    created_at: datetime
    commit: CommitInfo
    erased_at: datetime | None = None
    """When its content was erased."""


@dataclass(frozen=True, slots=True)
class KindCount:
    """How much of one kind is stored."""

    versions: int
    lineages: int


@dataclass(frozen=True, slots=True)
class StorageStatus:
    """How much a storage holds."""

    url: str
    kinds: Mapping[str, KindCount]
    """By the stored name of the class, in alphabetical order."""

    @property
    def versions(self) -> int:
        """All stored versions."""
        return sum(each.versions for each in self.kinds.values())

    @property
    def lineages(self) -> int:
        """All logical objects."""
        return sum(each.lineages for each in self.kinds.values())


@dataclass(frozen=True, slots=True)
class Drawn:
    """A version in a drawing of its lineage."""

    version: VersionInfo
    depth: int
    """How many lines of other branches are beside it, on its left."""
    starts: bool
    """Whether it is the first of a side branch."""


@dataclass(frozen=True, slots=True)
class Blame:
    """Who is responsible for one member of an ordered field as one version holds it."""

    version: VersionInfo
    """The member's version; its `commit` says who wrote the member as it is there, when and why."""
    added: CommitInfo
    """The commit that first put the member, in whatever version, into the field."""

    @property
    def written(self) -> CommitInfo:
        """The commit that wrote the member as it is there."""
        return self.version.commit


def short_id(ecs_id: UUID) -> str:
    """The last eight digits: those that tell versions apart, since an id begins with the time."""
    return ecs_id.hex[-8:]


class LineageTree:
    """The versions of a lineage as a tree. Versions whose parent is not among them are roots.

    Everything that walks the tree is linear in the number of versions that it visits.
    """

    def __init__(self, versions: Iterable[VersionInfo]) -> None:
        self.versions: tuple[VersionInfo, ...] = tuple(versions)
        """As given; storage gives the oldest first."""
        self._by_id = {version.ecs_id: version for version in self.versions}
        self._children: dict[UUID, list[VersionInfo]] = {ecs_id: [] for ecs_id in self._by_id}
        self._roots: list[VersionInfo] = []
        for version in self._by_id.values():
            siblings = self._children.get(version.parent_id) if version.parent_id is not None else None
            (siblings if siblings is not None else self._roots).append(version)
        self._main_child = self._follow()

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, ecs_id: object) -> bool:
        return ecs_id in self._by_id

    def __getitem__(self, ecs_id: UUID) -> VersionInfo:
        """One version.

        Raises:
            KeyError: It is not in this lineage.
        """
        try:
            return self._by_id[ecs_id]
        except KeyError:
            raise KeyError(f"version {ecs_id} is not among the {len(self)} versions of this lineage") from None

    @property
    def roots(self) -> list[VersionInfo]:
        """The versions that were made from none of the others, oldest first."""
        return list(self._roots)

    @property
    def heads(self) -> list[VersionInfo]:
        """The versions from which none was made, oldest first. More than one: the lineage has branches."""
        return [version for version in self._by_id.values() if not self._children[version.ecs_id]]

    @property
    def in_order(self) -> list[VersionInfo]:
        """Every version after the one that it was made from; otherwise as given, the oldest first."""
        order: list[VersionInfo] = []
        placed: set[UUID] = set()
        for version in self._by_id.values():
            line: list[VersionInfo] = []
            above: VersionInfo | None = version
            while above is not None and above.ecs_id not in placed:
                line.append(above)
                placed.add(above.ecs_id)
                above = self._by_id.get(above.parent_id) if above.parent_id is not None else None
            order.extend(reversed(line))
        return order

    @property
    def main_line(self) -> list[VersionInfo]:
        """From the first root, at each branch the side with more versions after it (if equal: the older side)."""
        line = self._roots[:1]
        while line and (following := self._main_child.get(line[-1].ecs_id)) is not None:
            line.append(following)
        return line

    def tip(self, ecs_id: UUID) -> VersionInfo:
        """The end of the main line as it goes on from this version; itself, if none was made from it.

        Raises:
            KeyError: The version is not in this lineage.
        """
        version = self[ecs_id]
        while (following := self._main_child.get(version.ecs_id)) is not None:
            version = following
        return version

    def children(self, ecs_id: UUID) -> list[VersionInfo]:
        """The versions made from this one, oldest first.

        Raises:
            KeyError: The version is not in this lineage.
        """
        return list(self._children[self[ecs_id].ecs_id])

    def ancestors(self, ecs_id: UUID) -> list[VersionInfo]:
        """The versions that this one came from, nearest first, itself left out.

        Raises:
            KeyError: The version is not in this lineage.
        """
        return list(self._upwards(self[ecs_id]))

    def common_ancestor(self, one: UUID, other: UUID) -> VersionInfo | None:
        """The newest version that both came from, themselves included; `None` if there is none.

        Raises:
            KeyError: One of them is not in this lineage.
        """
        first, second = self[one], self[other]
        line = {first.ecs_id, *(version.ecs_id for version in self._upwards(first))}
        return next((version for version in (second, *self._upwards(second)) if version.ecs_id in line), None)

    def _repr_html_(self) -> str:
        """What a notebook shows: the tree as a picture of its own, which no style of the page changes."""
        from base64 import b64encode

        from minference.ecs.lineage_graph import rows_of
        from minference.ecs.lineage_svg import rows_to_svg

        marks = {head.ecs_id: "head" for head in self.heads}
        drawn = rows_to_svg(rows_of(self), marks, title=f"{len(self)} versions")
        return f'<img alt="{len(self)} versions" src="data:image/svg+xml;base64,{b64encode(drawn.encode()).decode()}">'

    def render(self, marks: Sequence[UUID] = ()) -> str:
        """The tree as text, oldest version on top, one line each; versions in `marks` carry a filled dot."""
        marked = set(marks)
        return "\n".join(
            f"{margin(place.depth, starts=place.starts)}{'●' if place.version.ecs_id in marked else '○'} {describe(place.version)}"
            f"{'' if self._children[place.version.ecs_id] else '  (head)'}"
            for place in self.drawn()
        )

    def mermaid(self, changes: Mapping[UUID, str] | None = None) -> str:
        """The tree as a Mermaid flowchart; everything is escaped. `changes`, by version: what to write at the edge to it."""
        labels = {ecs_id: f'|"{mermaid_text(text)}"|' for ecs_id, text in (changes or {}).items()}
        number = {ecs_id: index for index, ecs_id in enumerate(self._by_id)}
        nodes = [f'    v{number[version.ecs_id]}["{mermaid_text(describe(version))}"]' for version in self._by_id.values()]
        edges = [
            f"    v{number[version.ecs_id]} -->{labels.get(child.ecs_id, '')} v{number[child.ecs_id]}"
            for version in self._by_id.values()
            for child in self._children[version.ecs_id]
        ]
        return "\n".join(["flowchart TD", *nodes, *edges])

    def _upwards(self, version: VersionInfo) -> Iterator[VersionInfo]:
        above = self._by_id.get(version.parent_id) if version.parent_id is not None else None
        while above is not None:
            yield above
            above = self._by_id.get(above.parent_id) if above.parent_id is not None else None

    def _follow(self) -> dict[UUID, VersionInfo]:
        """For each version the child with the most versions below it: so a drawing is never deeper than log2 of its size."""
        order: list[VersionInfo] = list(self._roots)
        for version in order:
            order.extend(self._children[version.ecs_id])
        weight = dict.fromkeys(self._by_id, 1)
        for version in reversed(order):
            if version.parent_id is not None and version.parent_id in weight:
                weight[version.parent_id] += weight[version.ecs_id]
        return {ecs_id: max(children, key=lambda child: weight[child.ecs_id]) for ecs_id, children in self._children.items() if children}

    def drawn(self, towards: UUID | None = None) -> Iterator[Drawn]:
        """Each version with its place in a drawing: after the one it was made from, side branches first and further in.

        The line that is not further in than any other is the main line, or the one that leads to `towards`.
        """
        straight = {version.ecs_id for version in (self[towards], *self._upwards(self[towards]))} if towards is not None else set()
        waiting = [Drawn(root, 0, starts=False) for root in reversed(self._roots)]
        while waiting:
            place = waiting.pop()
            yield place
            children = self._children[place.version.ecs_id]
            main = next((child for child in children if child.ecs_id in straight), self._main_child.get(place.version.ecs_id))
            if main is not None:
                waiting.append(Drawn(main, place.depth, starts=False))
                waiting.extend(Drawn(child, place.depth + 1, starts=True) for child in reversed(children) if child is not main)


def margin(depth: int, *, starts: bool) -> str:
    """What stands to the left of a version that is so far in: the lines of the branches beside it."""
    return "│ " * (depth - 1) + "├─" if starts else "│ " * depth


def describe(version: VersionInfo) -> str:
    """One line: short id, when (UTC), who, why."""
    when = version.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    erased = "(erased)" if version.erased_at is not None else None
    words = [short_id(version.ecs_id), when, erased, version.commit.author, version.commit.note]
    return "  ".join(" ".join(_printable(word).split()) for word in words if word)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def mermaid_text(text: str) -> str:
    """A text as Mermaid shows it: it reads `#code;` as a character; whatever is not plain becomes one."""
    return "".join(char if char.isalnum() or char in " -_.,:/()" else f"#{ord(char)};" for char in text)
