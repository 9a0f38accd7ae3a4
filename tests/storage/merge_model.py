"""Three-way merge told simply, for trees that hold each lineage once: what is in conflict, and what comes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from minference.ecs.diff_values import ABSENT
from minference.ecs.entity import Entity
from minference.ecs.merge import Conflict
from minference.ecs.merge_lists import Strategy
from tests.storage.graphs import Content, exact, fields_of, reachable

Side = dict[UUID, dict[str, Any]]
"""What each lineage of a tree holds, by field, with lineages in the place of entities."""
Clash = tuple[str, Any, Any, Any]
"""A field, and what base, ours and theirs hold in it."""

STRUCTURE = frozenset(
    {"one", "other", "items", "pair", "named", "system_prompt", "llm_config", "tools", "history", "forced_output", "usage", "fallbacks"}
)
"""Fields that hold entities."""


def side_of_objects(root: Entity) -> Side | None:
    """The tree below an object; `None` if it holds two objects of one lineage."""
    entities = reachable([root])
    side = {entity.lineage_id: dict(fields_of(entity, lambda child: child.lineage_id)) for entity in entities}
    return side if len(side) == len(entities) else None


def side_of_version(ecs_id: UUID, stored: Mapping[UUID, Content]) -> Side | None:
    """The tree below a stored version; `None` if it holds two versions of one lineage."""
    side: Side = {}
    seen = {ecs_id}
    waiting = [ecs_id]
    while waiting:
        content = stored[waiting.pop()]
        if content.lineage_id in side:
            return None
        side[content.lineage_id] = {name: renamed(value, lambda child: stored[child].lineage_id) for name, value in content.fields}
        children = dict.fromkeys(held_by(content))
        waiting.extend(child for child in children if child not in seen)
        seen.update(children)
    return side


def held_by(content: Content) -> list[UUID]:
    """The versions that one holds, in the order of its fields."""
    children: list[UUID] = []
    for _, value in content.fields:
        renamed(value, children.append)
    return children


def renamed(value: Any, name_of: Callable[[Any], Any]) -> Any:
    """An exact value with other names for the entities in it."""
    match value:
        case ("entity", name):
            return ("entity", name_of(name))
        case ("dict", list() as items):
            return ("dict", [(key, renamed(item, name_of)) for key, item in items])
        case (str() as kind, list() as items):
            return (kind, [renamed(item, name_of) for item in items])
        case _:
            return value


@dataclass(frozen=True)
class Forecast:
    """What must come of a merge."""

    clashes: Counter[Clash]
    """Plain values that are in conflict."""
    merged: Side | None
    """The whole result, without further conflicts; `None` if both sides changed which entities are where, or one lost some."""
    written: set[UUID]
    """What one side made or changed, which must be there afterwards, or be in conflict."""


def forecast(base: Side, ours: Side, theirs: Side, strategy: Strategy | None) -> Forecast:
    """Field by field: the side that changed it; if both did, differently, a conflict, where ours stays."""
    clashes: Counter[Clash] = Counter()
    settled: Side = {}
    for lineage_id in ours.keys() & theirs.keys():
        settled[lineage_id] = dict(ours[lineage_id])
        for name in ours[lineage_id].keys() - STRUCTURE:
            old = base[lineage_id][name] if lineage_id in base else ABSENT
            mine, yours = ours[lineage_id][name], theirs[lineage_id][name]
            if yours in (mine, old):
                continue
            if mine == old or strategy == "theirs":
                settled[lineage_id][name] = yours
            elif strategy != "ours":
                clashes[name, _hashable(old), _hashable(mine), _hashable(yours)] += 1
    leading = _leading(base, ours, theirs)
    merged = None if leading is None else {each: _with_structure(settled, leading, each) for each in leading}
    return Forecast(clashes, merged, set() if strategy in ("ours", "theirs") else _written(base, ours) | _written(base, theirs))


def _written(base: Side, side: Side) -> set[UUID]:
    return {
        each for each, held in side.items() if each not in base or any(held[name] != base[each][name] for name in held.keys() - STRUCTURE)
    }


def _leading(base: Side, ours: Side, theirs: Side) -> Side | None:
    """The side that alone says where entities are, if it has all that there were."""
    if not ours.keys() & theirs.keys() <= base.keys():
        return None
    if not _moved(base, theirs) and base.keys() <= ours.keys():
        return ours
    return theirs if not _moved(base, ours) and base.keys() <= theirs.keys() else None


def _moved(base: Side, side: Side) -> bool:
    both = base.keys() & side.keys()
    return any(base[each][name] != side[each][name] for each in both for name in base[each].keys() & STRUCTURE)


def _with_structure(settled: Side, leading: Side, lineage_id: UUID) -> dict[str, Any]:
    own = leading[lineage_id]
    return {name: own[name] if name in STRUCTURE else settled.get(lineage_id, own)[name] for name in own}


def reported(conflicts: Sequence[Conflict]) -> tuple[Counter[Clash], int]:
    """The conflicts of plain values among those that a merge returned, and how many others there are."""
    clashes: Counter[Clash] = Counter()
    for conflict in conflicts:
        name = conflict.path.rpartition(".")[2]
        if name and "[" not in name and name not in STRUCTURE:
            clashes[name, *(_hashable(_exact(side)) for side in (conflict.base, conflict.ours, conflict.theirs))] += 1
    return clashes, len(conflicts) - clashes.total()


def _exact(value: Any) -> Any:
    return value if value is ABSENT else exact(value, lambda child: child.lineage_id)


def _hashable(value: Any) -> Any:
    return value if value is ABSENT else repr(value)
