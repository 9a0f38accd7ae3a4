"""Moving between the versions of a lineage: back to one, onto another, and two into one."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from minference.ecs.changes import find_changes, has_changes
from minference.ecs.entity import Entity
from minference.ecs.lineage import LineageTree
from minference.ecs.merge import Conflict, MergeResult, check_strategy, merge_entities
from minference.ecs.merge_lists import Strategy
from minference.ecs.state import Ledger
from minference.errors import UnrelatedVersions, UnsavedChanges
from minference.storage.arguments import an_entity, check_save, version_of
from minference.storage.merge_base import base_of

if TYPE_CHECKING:
    from minference.storage.base import EntityStorage

E = TypeVar("E", bound=Entity)


async def revert(storage: EntityStorage, ledger: Ledger, entity: E, to: UUID, author: str | None, note: str | None) -> E:
    """See `EntityStorage.revert`."""
    check_save((entity,), author, note)
    lineage_id = (await storage.info(to)).lineage_id
    if lineage_id != entity.lineage_id:
        raise UnrelatedVersions(entity.ecs_id, to)
    old = await storage.get(type(entity), to)
    merge_entities(entity, entity, old)
    if (state := ledger.state_of(entity)) is not None:
        state.merging = ()  # that was given up
    return await storage.register(entity, author=author, note=note if note is not None else f"revert to {to}")


async def rebase(
    storage: EntityStorage, ledger: Ledger, entity: E, onto: Entity | UUID | None, strategy: Strategy | None
) -> MergeResult[E]:
    """See `EntityStorage.rebase`."""
    check_strategy(strategy)
    an_entity("entity", entity)
    conflicts, _ = await _rebase(storage, entity, onto, strategy)
    if onto is None:
        conflicts += await _take_along(storage, ledger, entity, strategy)
    return MergeResult(entity, conflicts)


async def _take_along(storage: EntityStorage, ledger: Ledger, root: Entity, strategy: Strategy | None) -> tuple[Conflict, ...]:
    """Rebase what hangs on the root and changed, and has moved on with another holder. The conflicts of that.

    Whoever holds comes before what is held, whose merge covers both. A merge may bring in older versions of what stands on the
    end of its line already, in a cycle also of what holds it: that stays where it stands, so that this comes to an end.
    """
    conflicts: tuple[Conflict, ...] = ()
    settled, seen = {id(root): root}, set[UUID]()
    moved = True
    while moved:
        moved, found = False, find_changes(root, ledger)
        for child in reversed(found.order):
            if id(child) not in found.changed or id(child) in settled or child.ecs_id in seen or ledger.state_of(child) is None:
                continue
            seen.add(child.ecs_id)
            clashes, moved = await _rebase(storage, child, await _tip(storage, child.ecs_id), strategy, settled)
            conflicts += clashes
            settled[id(child)] = child
            if moved:  # other things may be held, and changed, than were
                break
    return conflicts


async def _rebase(
    storage: EntityStorage, entity: Entity, onto: Entity | UUID | None, strategy: Strategy | None, settled: Container[int] = ()
) -> tuple[tuple[Conflict, ...], bool]:
    """The conflicts, and whether the entity stands on another version now."""
    while True:
        standing = entity.ecs_id
        target = version_of(onto) if onto is not None else await _next(storage, standing)
        base = await base_of(storage, type(entity), standing, target)
        if base.is_at(target):
            return (), False
        before, head = await base.load(storage), await storage.get(type(entity), target)
        if entity.ecs_id == standing:
            result = merge_entities(before, entity, head, strategy, onto_theirs=True, theirs_first=True, settled=settled)
            return result.conflicts, True


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
        base = await base_of(storage, type(ours), standing, target)
        if base.is_at(target):
            return MergeResult(ours)
        before, other = await base.load(storage), await storage.get(type(ours), target)
        if ours.ecs_id == standing:
            break
    merged = ledger.state_of(other)
    assert merged is not None, "it was loaded here"
    moves_on = base.is_at(standing)
    result = merge_entities(before, ours, other, strategy, onto_theirs=moves_on)
    if not moves_on and (state := ledger.state_of(ours)) is not None:
        state.merging = tuple(dict.fromkeys((*state.merging, merged.version)))
        state.notify()
    if not result.conflicts:
        what = f"merge {target} into {standing}"
        await storage.register(ours, author=author, note=f"{note} ({what})" if note else what)
    return result


async def _next(storage: EntityStorage, standing: UUID) -> UUID:
    """The end of the main line that continues a version; if none does, of the lineage."""
    tree = await _tree(storage, standing)
    tip = tree.tip(standing)
    return tip.ecs_id if tip.ecs_id != standing else tree.main_line[-1].ecs_id


async def _tip(storage: EntityStorage, standing: UUID) -> UUID:
    """The end of the main line that continues a version; itself, if none does."""
    return (await _tree(storage, standing)).tip(standing).ecs_id


async def _tree(storage: EntityStorage, standing: UUID) -> LineageTree:
    return LineageTree(await storage.lineage((await storage.info(standing)).lineage_id))
