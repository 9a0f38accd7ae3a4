"""`EntityRegistry`: the current storage of this context, under the names that the concept papers use."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar
from uuid import UUID

from minference.ecs.blobs import Blob
from minference.ecs.diff import EntityDiff
from minference.ecs.entity import Entity
from minference.ecs.lineage import LineageTree, StorageStatus, VersionInfo
from minference.ecs.recording import OnConflict
from minference.ecs.severity import TraceSeverity, set_trace_severity
from minference.ecs.summary import summarise
from minference.errors import NoStorage, WrongArgument

E = TypeVar("E", bound=Entity)


class PendingSave(Awaitable[Any], Protocol):
    """A save on its way to the database; awaiting it waits until it is durable."""

    @property
    def versions(self) -> Sequence[UUID]:
        """The new versions, children first; empty if nothing had changed."""
        ...


class CurrentStorage(Protocol):
    """What the registry needs of a storage; `minference.storage.base.EntityStorage` says it in full."""

    url: str

    def submit(self, *roots: Entity, author: str | None = None, note: str | None = None, on_conflict: OnConflict = "branch") -> PendingSave:
        """Make versions now; awaiting the result waits until they are durable."""
        ...

    async def register(self, entity: E, *more: Entity, author: str | None = None, note: str | None = None) -> E:
        """Save what changed under the entities."""
        ...

    async def get(self, cls: type[E], ecs_id: UUID) -> E:
        """A warm copy of one version."""
        ...

    async def get_cold_snapshot(self, cls: type[E], ecs_id: UUID) -> E:
        """A frozen copy of one version."""
        ...

    async def has_entity(self, ecs_id: UUID) -> bool:
        """Whether the version is stored."""
        ...

    async def lineage(self, lineage_id: UUID) -> list[VersionInfo]:
        """All versions of a logical object."""
        ...

    async def list_by_type(self, cls: type[Entity]) -> list[VersionInfo]:
        """The newest version of each lineage of a class."""
        ...

    async def changes(self, versions: Sequence[UUID]) -> Sequence[EntityDiff | None]:
        """What each version changed in the one that it was made from."""
        ...

    async def status(self) -> StorageStatus:
        """How much is stored, by kind."""
        ...

    async def read_blobs(self, blobs: Iterable[Blob]) -> dict[str, bytes]:
        """The bytes of blobs by their SHA-256."""
        ...

    async def missing_blobs(self, blobs: Iterable[Blob]) -> list[Blob]:
        """Those whose bytes are nowhere."""
        ...


_current: ContextVar[CurrentStorage | None] = ContextVar("minference_storage", default=None)


def current_storage() -> CurrentStorage:
    """The storage that this context uses.

    Raises:
        NoStorage: None is open here.
    """
    storage = _current.get()
    if storage is None:
        raise NoStorage
    return storage


def use_storage(storage: CurrentStorage | None) -> CurrentStorage | None:
    """Make `storage` the current one of this context, and return the one before."""
    before = _current.get()
    _current.set(storage)
    return before


class EntityRegistry:
    """The current storage of this context. Nothing is kept here: two contexts can use two storages."""

    @staticmethod
    def use_storage(storage: CurrentStorage) -> None:
        """Make `storage` the current one of this context. Entering `open_storage(...)` does it by itself.

        Raises:
            WrongArgument: It is none, as its URL would be.
        """
        if isinstance(storage, str | type) or not callable(getattr(storage, "submit", None)):
            raise WrongArgument("storage", storage, "a storage, from `async with open_storage(...) as storage:`")
        use_storage(storage)

    @staticmethod
    async def register(entity: E, *more: Entity, author: str | None = None, note: str | None = None) -> E:
        """Save what changed under the entities in one commit; see `EntityStorage.register`."""
        return await current_storage().register(entity, *more, author=author, note=note)

    @staticmethod
    async def get(ecs_id: UUID, expected_type: type[E] = Entity) -> E:  # type: ignore[assignment]  # mypy has no defaults for TypeVar arguments
        """A warm copy of one version."""
        return await current_storage().get(expected_type, ecs_id)

    @staticmethod
    async def get_cold_snapshot(ecs_id: UUID, expected_type: type[E] = Entity) -> E:  # type: ignore[assignment]  # as above
        """The version as a frozen tree."""
        return await current_storage().get_cold_snapshot(expected_type, ecs_id)

    @staticmethod
    async def has_entity(ecs_id: UUID) -> bool:
        """Whether the version is stored."""
        return await current_storage().has_entity(ecs_id)

    @staticmethod
    async def list_by_type(entity_type: type[Entity]) -> list[VersionInfo]:
        """The newest version of each lineage of this class, newest first."""
        return await current_storage().list_by_type(entity_type)

    @staticmethod
    async def get_lineage_entities(lineage_id: UUID) -> Sequence[Entity]:
        """Every version of one logical object as a warm copy, oldest first. For a list of ids, `get_lineage_tree` is cheaper."""
        storage = current_storage()
        return [await storage.get(Entity, version.ecs_id) for version in await storage.lineage(lineage_id)]

    @staticmethod
    async def get_lineage_tree(lineage_id: UUID) -> LineageTree:
        """How the versions of one logical object come from each other."""
        return LineageTree(await current_storage().lineage(lineage_id))

    @staticmethod
    async def get_lineage_tree_sorted(lineage_id: UUID) -> list[VersionInfo]:
        """Every version of one logical object: each after the one that it was made from, otherwise the oldest first."""
        return LineageTree(await current_storage().lineage(lineage_id)).in_order

    @staticmethod
    async def get_registry_status() -> StorageStatus:
        """Where the current storage is, and how many versions and lineages of each kind it holds."""
        return await current_storage().status()

    @staticmethod
    def set_trace_severity(severity: TraceSeverity) -> TraceSeverity:
        """How closely `@entity_tracer` looks in this context, and in tasks started from it. Returns what was set before."""
        return set_trace_severity(severity)

    @staticmethod
    async def get_lineage_mermaid(lineage_id: UUID, *, changes: bool | None = None) -> str:
        """The lineage as a Mermaid graph.

        With `changes`, each edge says what changed, for which every version is compared; by default, if there are at most 100.
        """
        tree = LineageTree(await current_storage().lineage(lineage_id))
        labelled = len(tree) <= LABELLED if changes is None else changes
        return tree.mermaid(await _changes(tree) if labelled else None)


LABELLED = 100
"""How many versions a graph may have whose edges say by themselves what changed."""


async def _changes(tree: LineageTree) -> dict[UUID, str]:
    """What each version of a lineage changed in the one that it was made from, in a line."""
    made = [version.ecs_id for version in tree.versions if version.parent_id in tree]
    told = await current_storage().changes(made)
    return {ecs_id: summarise(diff) for ecs_id, diff in zip(made, told, strict=True) if diff is not None}
