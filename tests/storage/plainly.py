"""What looking without loading says, against what whole versions say that are loaded one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from minference.ecs.diff import diff_entities, same_value
from minference.ecs.entity import Entity, plan_of
from minference.ecs.lineage import Blame, VersionInfo
from minference.ecs.opaque import OpaqueEntity
from minference.storage.base import EntityStorage

WINDOWS = (slice(0), slice(1), slice(-2, None), slice(None))


async def disagreements(storage: EntityStorage, cls: type[Entity]) -> list[str]:
    """What differs between the two, for all versions of all lineages of a class; empty if nothing does."""
    newest = await storage.list_by_type(cls)
    found = [*await _lists(storage, cls, newest), *await _values(storage, cls, newest)]
    for head in newest:
        versions = await storage.lineage(head.lineage_id)
        whole = {each.ecs_id: await storage.get_cold_snapshot(cls, each.ecs_id) for each in versions}
        found += await _differences(storage, versions, whole)
        found += await _parts(storage, cls, whole)
        found += await _blames(storage, versions, whole)
    return found


async def _lists(storage: EntityStorage, cls: type[Entity], newest: list[VersionInfo]) -> list[str]:
    counted = [(each.version, each.versions) for each in await storage.newest(cls, 1_000)]
    found = [] if counted == [(each, len(await storage.lineage(each.lineage_id))) for each in newest] else ["newest"]
    if await storage.count(cls) != len(newest):
        found.append("count")
    for each in newest:
        if each not in (await storage.called(cls, each.lineage_id.hex)).lineages:
            found.append(f"called by the lineage {each.lineage_id}")
        versions = await storage.lineage(each.lineage_id)
        missed = [version for version in versions if version not in (await storage.called(cls, version.ecs_id.hex)).versions]
        found += [f"called by the version {version.ecs_id}" for version in missed]
    return found


async def _values(storage: EntityStorage, cls: type[Entity], newest: list[VersionInfo]) -> list[str]:
    """Every value that any version of the class holds finds the newest versions that hold it."""
    plan = plan_of(cls)
    heads = [(each, await storage.get_cold_snapshot(cls, each.ecs_id)) for each in newest]
    every = [await storage.get_cold_snapshot(cls, version.ecs_id) for each in newest for version in await storage.lineage(each.lineage_id)]
    found: list[str] = []
    for name in (*plan.values, *plan.mutable):
        for value in (entity.__dict__[name] for entity in every):
            wanted = [version for version, entity in heads if same_value(cls, name, entity.__dict__[name], value)]
            if await storage.find_by(cls, **{name: value}) != wanted:
                found.append(f"find_by {name}={value!r}")
    return found


async def _differences(storage: EntityStorage, versions: list[VersionInfo], whole: dict[UUID, Any]) -> list[str]:
    found: list[str] = []
    for old in versions:
        for new in versions:
            told = await storage.diff(old.ecs_id, new.ecs_id)
            if told.to_json() != diff_entities(whole[old.ecs_id], whole[new.ecs_id]).to_json():
                found.append(f"diff of {old.ecs_id} and {new.ecs_id}: {told}")
    changes = [each and each.to_json() for each in await storage.changes([version.ecs_id for version in versions])]
    plain = [
        None if version.parent_id is None else diff_entities(whole[version.parent_id], whole[version.ecs_id]).to_json()
        for version in versions
    ]
    return found if changes == plain else [*found, f"changes: {changes} instead of {plain}"]


async def _parts(storage: EntityStorage, cls: type[Entity], whole: dict[UUID, Any]) -> list[str]:
    found: list[str] = []
    names = [each.name for each in plan_of(cls).collections]
    for window in WINDOWS:
        peeked: list[Any] = await storage.peek(cls, list(whole), **dict.fromkeys(names, window))
        for part, entity in zip(peeked, whole.values(), strict=True):
            if part.ecs_id != entity.ecs_id or part.__dict__.keys() != entity.__dict__.keys():
                found.append(f"peek of {entity.ecs_id}")
            for name, value in entity.__dict__.items():
                if not _agrees(cls, name, part.__dict__[name], value, window):
                    found.append(f"peek of {entity.ecs_id}: {name} is {part.__dict__[name]!r} instead of {value!r}")
    return found


def _agrees(cls: type[Entity], name: str, part: Any, value: Any, window: slice) -> bool:
    """Whether a field of a part is as in the whole: the length, and the members in the window."""
    plan = plan_of(cls)
    if name in (*plan.values, *plan.mutable):
        return bool(same_value(cls, name, part, value))
    if name in plan.references:
        return bool(_contents(part) == _contents(value))
    if name not in {each.name for each in plan.collections}:
        return True
    if len(part) != len(value):
        return False
    wanted = list(value)[window]
    if isinstance(value, dict):
        return list(part) == list(value) and all(_contents(part[key]) == _contents(value[key]) for key in wanted)
    return [_contents(part[place]) for place in range(len(value))[window]] == [_contents(member) for member in wanted]


def _contents(entity: Entity | None) -> Any:
    """The version, and of what is below it the versions and values; the rest of a cycle is not told again."""
    return None if entity is None else [(each.ecs_id, _plain(each)) for each in (entity, *entity.get_sub_entities())]


def _plain(entity: Entity) -> str:
    plan = plan_of(type(entity))
    return repr([(name, entity.__dict__[name]) for name in (*plan.values, *plan.mutable)])


async def _blames(storage: EntityStorage, versions: list[VersionInfo], whole: dict[UUID, Any]) -> list[str]:
    by_id = {version.ecs_id: version for version in versions}
    found: list[str] = []
    for ecs_id, entity in whole.items():
        line = [by_id[ecs_id]]
        while (parent := line[-1].parent_id) is not None:
            line.append(by_id[parent])
        for name, members in _collections(entity):
            plain = [await _blame(storage, line, whole, member) for member in members]
            wrong = [window for window in WINDOWS if await storage.blame(ecs_id, name, window=window) != plain[window]]
            found += [f"blame of {name} of {ecs_id} in {window}" for window in wrong]
    return found


async def _blame(storage: EntityStorage, line: list[VersionInfo], whole: dict[UUID, Any], member: Entity) -> Blame:
    holders = [
        version
        for version in line
        if any(each.lineage_id == member.lineage_id for _, members in _collections(whole[version.ecs_id]) for each in members)
    ]
    return Blame(await storage.info(member.ecs_id), holders[-1].commit)


def _collections(entity: Entity) -> Iterator[tuple[str, list[Entity]]]:
    """The members of each collection, in order."""
    if isinstance(entity, OpaqueEntity):
        held: dict[str, Any] = {**entity.members}
    else:
        held = {each.name: entity.__dict__[each.name] for each in plan_of(type(entity)).collections}
    yield from ((name, list(each.values()) if isinstance(each, dict) else list(each)) for name, each in held.items())
