"""Blame: who added and who wrote each member of an ordered field."""

from __future__ import annotations

from uuid import UUID

from minference.ecs.entity import plan_of
from minference.ecs.lineage import Blame, LineageTree
from minference.errors import NoSuchCollection
from minference.storage.base import Backend


async def blame(backend: Backend, ecs_id: UUID, field: str | None) -> list[Blame]:
    """See `EntityStorage.blame`."""
    records = await backend.read(ecs_id)
    holder = next(iter(records.values()))
    names = [each.name for each in plan_of(holder.cls).collections] if holder.opaque is None else sorted(holder.members)
    if not names or field not in (None, *names):
        raise NoSuchCollection(holder.kind if holder.opaque is not None else holder.cls.__name__, field, names)
    members = holder.members[field or names[0]]
    placements = {each.version.ecs_id: each for each in await backend.placements(members)}
    versions = LineageTree(await backend.lineage(holder.version.lineage_id))
    line = [*reversed(versions.ancestors(ecs_id)), versions[ecs_id]]
    age = {version.ecs_id: number for number, version in enumerate(line)}
    lines: list[Blame] = []
    for key in members:
        placement = placements[records[key].version.ecs_id]
        first = min(age[placer] for placer in placement.placed_by if placer in age)
        lines.append(Blame(placement.version, line[first].commit))
    return lines
