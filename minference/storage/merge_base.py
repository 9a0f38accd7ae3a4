"""`Base`: what two versions are compared with when they are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

from minference.ecs.entity import Entity
from minference.ecs.lineage import LineageTree
from minference.ecs.merge import merge_entities
from minference.ecs.merge_bases import merge_bases
from minference.errors import UnrelatedVersions

if TYPE_CHECKING:
    from minference.storage.base import EntityStorage

E = TypeVar("E", bound=Entity)


@dataclass(frozen=True, slots=True)
class Base(Generic[E]):
    """The version that both came from last; several, if branches were merged into each other."""

    cls: type[E]
    versions: tuple[UUID, ...]
    fork_point: UUID
    """The last that both were made from, by whatever way."""
    before: dict[UUID, tuple[UUID, ...]]
    """What each version of the lineage was made from, or merged."""

    def is_at(self, version: UUID) -> bool:
        """Whether one of the two is this version, and the other has come from it."""
        return self.versions == (version,)

    async def load(self, storage: EntityStorage) -> E:
        """It as an object of its own. Several are merged into one that was never saved, as git does for the same reason.

        Where they contradict each other nobody can say what both sides have known: then it is that from which all of them came.
        """
        first, *others = self.versions
        found = await storage.get(self.cls, first)
        for other in others:
            shared = merge_bases(first, other, self.before)
            if len(shared) != 1:
                return await storage.get(self.cls, self.fork_point)
            before = await storage.get(self.cls, shared[0])
            if merge_entities(before, found, await storage.get(self.cls, other)).conflicts:
                return await storage.get(self.cls, self.fork_point)
        return found


async def base_of(storage: EntityStorage, cls: type[E], one: UUID, other: UUID) -> Base[E]:
    """From where two versions of one lineage differ: what was merged before is known to both.

    Raises:
        UnrelatedVersions: They are of different lineages.
        VersionNotFound: One is not stored here.
    """
    lineage_id = (await storage.info(one)).lineage_id
    if (await storage.info(other)).lineage_id != lineage_id:
        raise UnrelatedVersions(one, other)
    tree = LineageTree(await storage.lineage(lineage_id))
    merges = await storage.merges(lineage_id)
    before = {each.ecs_id: (*_parent(each.parent_id), *merges.get(each.ecs_id, ())) for each in tree.in_order}
    fork_point = tree.common_ancestor(one, other)
    if fork_point is None:
        raise UnrelatedVersions(one, other)
    return Base(cls, tuple(merge_bases(one, other, before)), fork_point.ecs_id, before)


def _parent(parent_id: UUID | None) -> tuple[UUID, ...]:
    return () if parent_id is None else (parent_id,)
