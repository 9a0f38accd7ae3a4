"""One version as it is stored, whatever its class says today."""

from __future__ import annotations

from uuid import UUID

from pydantic import TypeAdapter

from minference.ecs.entity import kind_to_class
from minference.errors import ReadFailed, UnknownKind, VersionNotFound
from minference.storage.sql.among import among_ids
from minference.storage.sql.level import VERSION_ROWS, Level
from minference.storage.sql.older import OlderRows
from minference.storage.sql.reader import VERSIONS, Reader
from minference.storage.sql.registered import mapping_for
from minference.storage.stored import StoredVersion

_IDS = TypeAdapter(dict[int, UUID])


class StoredReader(Reader):
    """Reads without a class."""

    async def read_stored(self, ecs_id: UUID) -> StoredVersion:
        """See `Backend.read_stored`."""
        info = await self.find(ecs_id)
        if info is None:
            raise VersionNotFound(ecs_id)
        async with self._driver.reading() as fetch:
            rows = VERSION_ROWS.validate_python(await fetch(f"{VERSIONS} WHERE v.ecs_id = {self._one}", self._uuid(ecs_id)))
            level = Level(self._ledger, {row[0]: row for row in rows})
            [key] = level.versions
            revision = await self._kinds.revision(level.versions[key][4])
            cls = kind_to_class(revision.kind)
            found = await OlderRows(self._dialect, fetch).read(
                revision, mapping_for(cls) if cls is not None else None, [key], lambda _: False
            )
            if key not in found:
                if cls is None and revision.layout is None:
                    raise UnknownKind(revision.kind)
                raise ReadFailed(f"version {ecs_id} of {revision.kind} has no row in any table", damaged=True)
            level.add_opaque(key, revision.shape, found[key])
            await self._attach_members(fetch, level.records, level.wanted)
            record = level.records[key]
            ids = {child for child in record.references.values() if child is not None}
            ids.update(child for members in record.members.values() for child in members)
            children = await fetch(f"SELECT id, ecs_id FROM entity_version WHERE id {among_ids(self._dialect)}", self._ids(ids))
        named = _IDS.validate_python(dict(children))
        if ids - named.keys():
            raise ReadFailed(f"versions are gone that version {ecs_id} holds", damaged=True)
        return StoredVersion(
            info,
            revision.shape.version,
            record.values,
            {name: named[child] for name, child in record.references.items() if child is not None},
            {name: tuple(named[child] for child in members) for name, members in record.members.items()},
            record.keys,
        )
