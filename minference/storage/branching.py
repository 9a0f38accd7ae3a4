"""Moving between the versions of a lineage: back to one, onto another, and two into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from minference.ecs.changes import find_changes, has_changes
from minference.ecs.entity import Entity
from minference.ecs.lineage import LineageTree
from minference.ecs.merge import MergeResult, check_strategy, merge_entities
from minference.ecs.merge_lists import Strategy
from minference.ecs.state import Ledger
from minference.errors import UnrelatedVersions, UnsavedChanges
from minference.storage.arguments import an_entity, check_save, version_of

if TYPE_CHECKING:
    from minference.storage.base import EntityStorage

E = TypeVar("E", bound=Entity)


async def revert(storage: EntityStorage, entity: E, to: UUID, author: str | None, note: str | None) -> E:
    """See `EntityStorage.revert`."""
    check_save((entity,), author, note)
    lineage_id = (await storage.info(to)).lineage_id
    if lineage_id != entity.lineage_id:
        raise UnrelatedVersions(entity.ecs_id, to)
    old = await storage.get(type(entity), to)
    merge_entities(entity, entity, old)
    return await storage.register(entity, author=author, note=note if note is not None else f"revert to {to}")


async def rebase(
    storage: EntityStorage, ledger: Ledger, entity: E, onto: Entity | UUID | None, strategy: Strategy | None
) -> MergeResult[E]:
    """See `EntityStorage.rebase`."""
    check_strategy(strategy)
    an_entity("entity", entity)
    conflicts = (await _rebase(storage, entity, onto, strategy)).conflicts
    if onto is None:
        # What hangs on it may have moved on with another holder: whoever holds comes before what is held, whose merge covers both.
        found = find_changes(entity, ledger)
        for child in reversed(found.order):
            if id(child) in found.changed and child is not entity and ledger.state_of(child) is not None:
                conflicts += (await _rebase(storage, child, None, strategy)).conflicts
    return MergeResult(entity, conflicts)


async def _rebase(storage: EntityStorage, entity: E, onto: Entity | UUID | None, strategy: Strategy | None) -> MergeResult[E]:
    while True:
        standing = entity.ecs_id
        target = version_of(onto) if onto is not None else await _next(storage, standing)
        base = await _fork_point(storage, standing, target)
        if base == target:
            return MergeResult(entity)
        before, head = await storage.get(type(entity), base), await storage.get(type(entity), target)
        if entity.ecs_id == standing:
            return merge_entities(before, entity, head, strategy, onto_theirs=True, theirs_first=True)


async def merge(
    storage: EntityStorage, ledger: Ledger, ours: E, theirs: E | UUID, strategy: Strategy | None, author: str | None, note: str | None
) -> MergeResult[E]:
    """See `EntityStorage.merge`."""
    check_strategy(strategy)
    check_save((ours,), author, note)
    while True:
        if isinstance(theirs, Entity) and has_changes(theirs, ledger):
            raise UnsavedChanges(type(theirs).__name__, theirs.ecs_id)
        standing, target = ours.ecs_id, version_of(theirs)
        base = await _fork_point(storage, standing, target)
        if base == target:
            return MergeResult(ours)
        before, other = await storage.get(type(ours), base), await storage.get(type(ours), target)
        if ours.ecs_id == standing:
            break
    result = merge_entities(before, ours, other, strategy, onto_theirs=base == standing)
    if not result.conflicts:
        what = f"merge {target} into {standing}"
        await storage.register(ours, author=author, note=f"{note} ({what})" if note else what)
    return result


async def _next(storage: EntityStorage, standing: UUID) -> UUID:
    """The end of the main line that continues a version; if none does, of the lineage."""
    tree = LineageTree(await storage.lineage((await storage.info(standing)).lineage_id))
    tip = tree.tip(standing)
    return tip.ecs_id if tip.ecs_id != standing else tree.main_line[-1].ecs_id


async def _fork_point(storage: EntityStorage, one: UUID, other: UUID) -> UUID:
    found = await storage.common_ancestor(one, other)
    if found is None:
        raise UnrelatedVersions(one, other)
    return found.ecs_id
