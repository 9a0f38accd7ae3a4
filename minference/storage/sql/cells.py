"""Cells of rows: what SQLAlchemy shows of a column against what the bare drivers take and give."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column
from sqlalchemy.types import TypeEngine

from minference.ecs.values import parse
from minference.storage.sql.types import (
    DialectName,
    Kind,
    decode_time,
    encoder,
    escape_json,
    json_document,
    kind_of,
    unescape_json,
    unescape_text,
)

_PYTHON: dict[Kind, tuple[type, ...]] = {
    Kind.text: (str,),
    Kind.integer: (int,),
    Kind.real: (float, int),
    Kind.boolean: (bool,),
    Kind.time: (datetime,),
    Kind.uuid: (UUID,),
    Kind.bytes: (bytes,),
}


def cell_of(column: Column[Any], dialect: DialectName, shown: Any) -> Any:
    """What the driver takes for the value that SQLAlchemy would show in the column.

    Raises:
        ValueError: The column cannot hold it; says why.
    """
    if shown is None:
        if not column.nullable:
            raise ValueError(f"column {column.name!r} is NOT NULL and would be empty")
        return None
    kind = kind_of(column.type)
    if kind is Kind.json:
        try:
            return escape_json(json_document(shown))
        except TypeError as error:
            raise ValueError(f"column {column.name!r} takes what JSON can hold ({error})") from error
    assert kind is not None, "checked when the table was matched with its class"
    if not isinstance(shown, _PYTHON[kind]) or (isinstance(shown, bool) and kind is not Kind.boolean):
        raise ValueError(f"column {column.name!r} takes {_PYTHON[kind][0].__name__}, and {shown!r:.100} is {type(shown).__name__}")
    encode = encoder(column.type, dialect)
    return shown if encode is None else encode(shown)


def shown_as(column_type: TypeEngine[Any], dialect: DialectName) -> Callable[[Any], Any]:
    """The function from a cell (never `None`), as written or as `Mapping.selects` reads it, to the value that SQLAlchemy would show."""
    kind, sqlite = kind_of(column_type), dialect == "sqlite"
    match kind:
        case Kind.text:
            return unescape_text
        case Kind.json:
            return lambda cell: parse(unescape_json(cell))
        case Kind.uuid:
            return lambda cell: UUID(hex=str(cell))
        case Kind.time:
            return decode_time
        case Kind.boolean if sqlite:
            return bool
        case Kind.real:
            return float
        case _:
            return lambda cell: cell
