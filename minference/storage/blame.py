"""Blame: who added and who wrote each member of an ordered field."""

from __future__ import annotations

from uuid import UUID

from minference.ecs.entity import plan_of
from minference.ecs.lineage import Blame
from minference.errors import NoSuchCollection, WrongArgument
from minference.storage.base import Backend
from minference.storage.differences import known_versions
from minference.storage.partial import read_windows


async def blame(backend: Backend, ecs_id: UUID, field: str | None, window: slice | None) -> list[Blame]:
    """See `EntityStorage.blame`."""
    if window is not None and not isinstance(window, slice):
        raise WrongArgument("window", window, "a slice such as slice(-20, None), or None")
    shallow = backend.shallow()
    holder = (await known_versions(shallow, [ecs_id]))[ecs_id]
    [record] = (await shallow.records([holder.key])).values()
    names = [each.name for each in plan_of(holder.cls).collections] if record.opaque is None else sorted(record.members)
    if not names or field not in (None, *names):
        raise NoSuchCollection(holder.cls_name, field, names)
    wanted = field or names[0]
    if record.opaque is not None:
        everything = range(len(record.members[wanted]))
        return await shallow.origins(ecs_id, [record.members[wanted][place] for place in sorted(everything[window or slice(None)])])
    await read_windows(shallow, [record], {**dict.fromkeys(names, slice(0)), wanted: window or slice(None)})
    return await shallow.origins(ecs_id, record.members[wanted])
