"""The classes of the program that wrote `databases/written_by_0001.json`, and the loading of that file into a database.

The file holds every row as minference wrote them when revision 0001 was the newest, and the lines that it exported then.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from alembic import command
from alembic.config import Config
from pydantic import Field, JsonValue
from sqlalchemy import Connection, MetaData
from sqlalchemy.types import DateTime, Uuid

from minference.ecs.entity import Entity
from minference.storage.sql.dialects import open_engine
from minference.threads.messages import ChatMessage

FILE = Path(__file__).parent / "databases" / "written_by_0001.json"


class Shelf(Entity, kind="first_release_shelf"):
    """Everything that a class without a table can hold."""

    name: str
    ratio: float | None = None
    data: dict[str, JsonValue] = Field(default_factory=dict)
    best: Shelf | None = None
    items: list[Entity] = Field(default_factory=list)
    named: dict[str, Shelf] = Field(default_factory=dict)


class LoudMessage(ChatMessage, kind="first_release_loud_message"):
    """A subclass whose further fields are in the column `extra` of its base class's table."""

    volume: int = 11
    heard_by: Shelf | None = None


def load_first_release(url: str) -> Any:
    """Make the tables of revision 0001 and fill them with the rows of the file."""
    return _load(url)


async def _load(url: str) -> None:
    engine = open_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_create_and_fill)
    finally:
        await engine.dispose()


def _create_and_fill(connection: Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "minference:storage/sql/migrations")
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "0001")
    metadata = MetaData()
    metadata.reflect(connection)
    stored = json.loads(FILE.read_text(encoding="utf-8"))["tables"]
    for table in metadata.sorted_tables:
        if table.name not in stored:
            continue
        connection.execute(table.delete())
        columns, rows = stored[table.name]["columns"], stored[table.name]["rows"]
        values = [{name: _cell(table.c[name].type, cell) for name, cell in zip(columns, row, strict=True)} for row in rows]
        if values:
            connection.execute(table.insert(), values)


def _cell(column_type: Any, cell: Any) -> Any:
    """A cell of the file, which is SQLite's, as the column takes it."""
    if cell is None:
        return None
    if isinstance(column_type, DateTime):
        return datetime.fromisoformat(cell)
    if isinstance(column_type, Uuid):
        return UUID(hex=cell)
    if type(column_type).__name__ == "JSON":
        return json.loads(cell)
    if type(column_type).__name__ == "BOOLEAN":
        return bool(cell)
    return cell
