"""Blame: who added and who wrote each member of an ordered field."""

from __future__ import annotations

from uuid import UUID

from minference.ecs.entity import plan_of
from minference.ecs.lineage import Blame
from minference.errors import NoSuchCollection
from minference.storage.base import Backend
from minference.storage.differences import known_versions
from minference.storage.partial import read_windows


async def blame(backend: Backend, ecs_id: UUID, field: str | None, window: slice | None) -> list[Blame]:
    """See `EntityStorage.blame`."""
    holder = (await known_versions(backend.archive(), [ecs_id]))[ecs_id]
    names = [each.name for each in plan_of(holder.cls).collections]
    if not names or field not in (None, *names):
        raise NoSuchCollection(holder.cls.__name__, field, names)
    wanted, shallow = field or names[0], backend.shallow()
    assert holder.version.id is not None, "what is stored has a key"
    [record] = (await shallow.records([holder.version.id])).values()
    await read_windows(shallow, [record], {**dict.fromkeys(names, slice(0)), wanted: window or slice(None)})
    return await shallow.origins(ecs_id, record.members[wanted])
