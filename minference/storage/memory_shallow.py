"""Looking without loading, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from minference.ecs.entity import Entity, kind_to_class
from minference.ecs.lineage import Blame, LineageTree, VersionInfo
from minference.ecs.opaque import OpaqueEntity
from minference.storage.base import Record
from minference.storage.glances import Called, Newest
from minference.storage.sequences import Span
from minference.storage.shallow import Known

if TYPE_CHECKING:
    from minference.storage.memory import MemoryBackend

MATCHES = 20
"""How many versions `matching` and `called` return at most."""


class MemoryShallow:
    """See `Shallow`."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend

    async def count(self, kinds: Sequence[str]) -> int:
        """See `Shallow.count`."""
        return len(await self._backend.heads_of_kinds(kinds))

    async def newest(self, kinds: Sequence[str], limit: int) -> list[Newest]:
        """See `Shallow.newest`."""
        found = (await self._backend.heads_of_kinds(kinds))[:limit]
        return [Newest(version, len(await self._backend.lineage(version.lineage_id))) for version in found]

    async def length(self, lineage_id: UUID) -> int:
        """See `Shallow.length`."""
        return len(await self._backend.lineage(lineage_id))

    async def recent(self, lineage_id: UUID, limit: int, skip: int) -> list[VersionInfo]:
        """See `Shallow.recent`."""
        return (await self._backend.lineage(lineage_id))[::-1][skip : skip + limit]

    async def heads(self, lineage_id: UUID) -> list[VersionInfo]:
        """See `Shallow.heads`."""
        versions = await self._backend.lineage(lineage_id)
        parents = {version.parent_id for version in versions}
        return [version for version in versions if version.ecs_id not in parents]

    async def merges(self, lineage_id: UUID) -> dict[UUID, tuple[UUID, ...]]:
        """See `Shallow.merges`."""
        versions = [version.ecs_id for version in await self._backend.lineage(lineage_id)]
        return {version: self._backend.merged[version] for version in versions if version in self._backend.merged}

    async def called(self, kinds: Sequence[str], digits: str) -> Called:
        """See `Shallow.called`."""
        newest = await self._backend.heads_of_kinds(kinds)
        lineages = [version for version in newest if _is_called(version.lineage_id, digits)]
        versions = [
            version for each in newest for version in await self._backend.lineage(each.lineage_id) if _is_called(version.ecs_id, digits)
        ]
        versions.sort(key=lambda version: version.created_at, reverse=True)
        return Called(tuple(lineages[:MATCHES]), tuple(versions[:MATCHES]))

    async def candidates(self, classes: Sequence[type[Entity]], field: str, value: object) -> list[VersionInfo]:  # noqa: ARG002 - the contract's
        """See `Shallow.candidates`. Here nothing tells more cheaply than the newest versions themselves."""
        kinds = await self._backend.kinds()
        return await self._backend.heads_of_kinds([kind for kind in kinds if (kind_to_class(kind) or OpaqueEntity) in classes])

    async def records(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Shallow.records`."""
        return {key: self._backend.record(key) for key in keys}

    async def known(self, *, ids: Sequence[UUID] = (), keys: Sequence[int] = ()) -> list[Known]:
        """See `Shallow.known`."""
        return self._backend.known_kinds(ids, keys)

    async def cells(self, spans: Sequence[Span]) -> list[list[int]]:
        """See `Shallow.cells`."""
        return [self._backend.cells(span) for span in spans]

    async def origins(self, ecs_id: UUID, keys: Sequence[int]) -> list[Blame]:
        """See `Shallow.origins`."""
        version = await self._backend.find(ecs_id)
        assert version is not None, "its members were read"
        tree = LineageTree(await self._backend.lineage(version.lineage_id))
        line = [*reversed(tree.ancestors(ecs_id)), version]
        age = {each.ecs_id: number for number, each in enumerate(line)}
        firsts = [min(age[placer] for placer in self._backend.placers(key) if placer in age) for key in keys]
        return [Blame(self._backend.info(key), line[first].commit) for key, first in zip(keys, firsts, strict=True)]

    async def trees(self, keys: Sequence[int]) -> dict[int, Record]:
        """See `Shallow.trees`."""
        return self._backend.reached(keys)


def _is_called(name: UUID, digits: str) -> bool:
    return name.hex.startswith(digits) or name.hex.endswith(digits)
