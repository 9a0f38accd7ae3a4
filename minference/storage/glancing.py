"""Looking without loading, over any backend."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from pydantic import ValidationError

from minference.ecs.diff import EntityDiff, same_value
from minference.ecs.entity import Entity, kind_to_class, kinds_of, plan_of
from minference.ecs.lineage import VersionInfo
from minference.ecs.opaque import OpaqueEntity
from minference.ecs.state import Ledger
from minference.ecs.values import adapter_of
from minference.errors import NoPlainField, NoSuchCollection, UnfitValue, WrongEntityType
from minference.storage.arguments import a_class, a_row_count, a_text, an_id
from minference.storage.base import Backend, Record
from minference.storage.building import build, no_garbage_collection, opaque_values
from minference.storage.differences import differences, known_versions
from minference.storage.glances import Called, Glances, Newest
from minference.storage.partial import children_of, reachable, read_windows

E = TypeVar("E", bound=Entity)


class Glancing(Glances):
    """The part of `VersionedStorage` that keeps the promises of `Glances`."""

    _backend: Backend

    @abstractmethod
    async def _settled(self) -> Ledger:
        """The ledger of the open storage, when what was queued can be read."""

    async def _kinds(self, cls: type[Entity]) -> list[str]:
        """The stored names of a class and its subclasses, former ones included; of what stands for unknown kinds, those."""
        kinds = {kind for each in with_subclasses(a_class(cls)) for kind in kinds_of(each)}
        if cls is Entity or cls.__opaque__:
            kinds |= {kind for kind in await self._backend.kinds() if kind_to_class(kind) is None}
        return sorted(kinds)

    async def count(self, cls: type[Entity]) -> int:
        """See `Glances.count`."""
        await self._settled()
        return await self._backend.shallow().count(await self._kinds(cls))

    async def newest(self, cls: type[Entity], limit: int) -> list[Newest]:
        """See `Glances.newest`."""
        await self._settled()
        return await self._backend.shallow().newest(await self._kinds(cls), a_row_count("limit", limit))

    async def length(self, lineage_id: UUID) -> int:
        """See `Glances.length`."""
        await self._settled()
        return await self._backend.shallow().length(an_id("lineage_id", lineage_id))

    async def recent(self, lineage_id: UUID, limit: int, *, skip: int = 0) -> list[VersionInfo]:
        """See `Glances.recent`."""
        await self._settled()
        return await self._backend.shallow().recent(an_id("lineage_id", lineage_id), a_row_count("limit", limit), a_row_count("skip", skip))

    async def merges(self, lineage_id: UUID) -> dict[UUID, tuple[UUID, ...]]:
        """See `Lineages.merges`."""
        await self._settled()
        return await self._backend.shallow().merges(an_id("lineage_id", lineage_id))

    async def called(self, cls: type[Entity], digits: str) -> Called:
        """See `Glances.called`."""
        await self._settled()
        plain = a_text("digits", digits).replace("-", "").lower()
        if not plain or not set(plain) <= set("0123456789abcdef"):
            return Called((), ())
        return await self._backend.shallow().called(await self._kinds(cls), plain)

    async def matching(self, prefix: str) -> list[VersionInfo]:
        """See `EntityStorage.matching`."""
        await self._settled()
        digits = prefix.replace("-", "").lower()
        return await self._backend.matching(digits) if digits and set(digits) <= set("0123456789abcdef") else []

    async def find_by(self, cls: type[Entity], /, **values: object) -> list[VersionInfo]:
        """See `Glances.find_by`."""
        wanted = {field: _fitting(cls, field, value) for field, value in values.items()}
        await self._settled()
        if not wanted:
            return await self._backend.heads_of_kinds(await self._kinds(cls))
        found = await self._backend.shallow().candidates(with_subclasses(cls), *next(iter(wanted.items())))
        known = await known_versions(self._backend.shallow(), [each.ecs_id for each in found])
        records = await self._backend.shallow().records([each.key for each in known.values()])
        held = {record.version.ecs_id: _values(record) for record in records.values()}
        return [each for each in found if all(same_value(cls, name, held[each.ecs_id][name], value) for name, value in wanted.items())]

    async def peek(self, cls: type[E], versions: Sequence[UUID], /, **windows: slice) -> list[E]:
        """See `Glances.peek`."""
        collections = [each.name for each in plan_of(cls).collections]
        if unknown := windows.keys() - set(collections):
            raise NoSuchCollection(cls.__name__, min(unknown), collections)
        ledger = await self._settled()
        shallow = self._backend.shallow()
        known = await known_versions(shallow, versions)
        for each in known.values():
            if not issubclass(each.cls, cls):
                defined = each.cls is not OpaqueEntity
                raise WrongEntityType(each.version.ecs_id, cls.__name__, each.cls_name, defined=defined)
        roots = await shallow.records([each.key for each in known.values()])
        await read_windows(shallow, roots.values(), windows)
        records = {**await shallow.trees(sorted({key for root in roots.values() for key in children_of(root)})), **roots}
        with no_garbage_collection():
            return [build(reachable(records, known[version].key), cls, ledger, cold=True) for version in versions]

    async def changes(self, versions: Sequence[UUID]) -> list[EntityDiff | None]:
        """See `Glances.changes`."""
        ledger = await self._settled()
        known = await known_versions(self._backend.shallow(), versions)
        records = await self._backend.shallow().records([each.key for each in known.values()])
        parents = {record.version.ecs_id: record.parent_id for record in records.values()}
        pairs = {version: (parent, version) for version, parent in parents.items() if parent is not None}
        told = dict(zip(pairs, await differences(self._backend, ledger, list(pairs.values())), strict=True))
        return [told.get(version) for version in versions]


def with_subclasses(cls: type[Entity]) -> list[type[Entity]]:
    """A class and all that come from it."""
    return [cls, *(each for direct in cls.__subclasses__() for each in with_subclasses(direct))]


def _values(record: Record) -> dict[str, Any]:
    """The plain values of a record by the fields of its class."""
    return record.values if record.opaque is None else opaque_values(record, record.opaque)


def _fitting(cls: type[Entity], field: str, value: object) -> Any:
    """The value as the field would hold it."""
    plan = plan_of(cls)
    if field not in (*plan.values, *plan.mutable):
        raise NoPlainField(cls.__name__, field, (*plan.values, *plan.mutable))
    try:
        return adapter_of(cls, field).validate_python(value, by_alias=False, by_name=True)
    except ValidationError as error:
        raise UnfitValue(cls.__name__, field, value, error.errors(include_url=False)[0]["msg"]) from error
