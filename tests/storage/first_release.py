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
from sqlalchemy import JSON, Connection, MetaData
from sqlalchemy.types import Boolean, DateTime, Uuid

from minference.ecs.entity import Entity
from minference.storage.sql.dialects import open_engine
from minference.storage.sql.mapping import quoted
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


async def load_first_release(url: str) -> None:
    """Make the tables of revision 0001 and fill them with the rows of the file."""
    engine = open_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_create_and_fill)
    finally:
        await engine.dispose()


def exported_then() -> list[dict[str, Any]]:
    """The lines that minference exported then, the header aside."""
    lines: list[str] = json.loads(FILE.read_text(encoding="utf-8"))["exported"]
    return [json.loads(line) for line in lines[1:]]


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
        columns = [table.c[name] for name in stored[table.name]["columns"]]
        sql = f"INSERT INTO {table.name} ({', '.join(map(quoted, stored[table.name]['columns']))}) VALUES "
        marks = [_mark(connection, number, column.type) for number, column in enumerate(columns, 1)]
        for row in stored[table.name]["rows"]:
            cells = [_cell(connection, column.type, cell) for column, cell in zip(columns, row, strict=True)]
            connection.exec_driver_sql(f"{sql}({', '.join(marks)})", tuple(cells))


def _mark(connection: Connection, number: int, column_type: Any) -> str:
    """A parameter; JSON goes in as the text that it was."""
    if connection.dialect.name == "sqlite":
        return "?"
    return f"CAST(CAST(${number} AS TEXT) AS JSON)" if isinstance(column_type, JSON) else f"${number}"


def _cell(connection: Connection, column_type: Any, cell: Any) -> Any:
    """A cell of the file, which is SQLite's, as the driver takes it."""
    if cell is None or connection.dialect.name == "sqlite":
        return cell
    if isinstance(column_type, DateTime):
        return datetime.fromisoformat(cell)
    if isinstance(column_type, Uuid):
        return UUID(hex=cell)
    return bool(cell) if isinstance(column_type, Boolean) else cell
