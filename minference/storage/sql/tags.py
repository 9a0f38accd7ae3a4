"""Giving names to versions, in one statement each: the primary key decides who has a name."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from minference.errors import StorageError
from minference.storage.sql.dialects import Transient, diagnose, write_failed
from minference.storage.sql.driver import Driver, Patience, Rows
from minference.storage.sql.schema import Tag
from minference.storage.sql.types import encoder

_SET = """
    INSERT INTO tag (lineage_id, name, version_id, updated_at)
    SELECT v.lineage_id, {name}, v.id, {time} FROM entity_version v WHERE v.ecs_id = {version}
    ON CONFLICT (lineage_id, name) DO UPDATE SET
        version_id = CASE WHEN {move} THEN excluded.version_id ELSE tag.version_id END,
        updated_at = CASE WHEN {move} THEN excluded.updated_at ELSE tag.updated_at END
    RETURNING (SELECT holder.ecs_id FROM entity_version holder WHERE holder.id = version_id)"""
_REMOVE = "DELETE FROM tag WHERE lineage_id = {lineage} AND name = {name} RETURNING version_id"
_PARAMETERS = {
    "sqlite": {"name": "?1", "time": "?2", "version": "?3", "move": "?4", "lineage": "?2"},
    "postgresql": {"name": "$1::text", "time": "$2::timestamptz", "version": "$3::uuid", "move": "$4::boolean", "lineage": "$2::uuid"},
}


class TagWriter:
    """Changes the tag table. Each change can be made again without harm, so a connection that breaks is no failure."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._dialect = driver.dialect

    async def tag(self, name: str, ecs_id: UUID, *, move: bool, at: datetime) -> UUID:
        """See `Backend.tag`."""
        encode = encoder(Tag.__table__.c["updated_at"].type, self._dialect)
        rows, _ = await self._write(_SET, name, at if encode is None else encode(at), self._uuid(ecs_id), move)
        [(holder,)] = rows
        return holder if isinstance(holder, UUID) else UUID(hex=holder)

    async def untag(self, name: str, lineage_id: UUID) -> bool:
        """See `Backend.untag`."""
        rows, again = await self._write(_REMOVE, name, self._uuid(lineage_id))
        return bool(rows) or again

    def _uuid(self, value: UUID) -> Any:
        return value if self._dialect == "postgresql" else value.hex

    async def _write(self, statement: str, *arguments: Any) -> tuple[Rows, bool]:
        """The rows that come back, and whether an earlier attempt may have succeeded unheard."""
        patience, again = Patience(), False
        while True:
            try:
                return await self._driver.write_returning(statement.format(**_PARAMETERS[self._dialect]), *arguments), again
            except StorageError:
                raise
            except Exception as error:
                if not (isinstance(diagnose(error), Transient) and await patience.wait()):
                    raise write_failed(error) from error
                again = True
