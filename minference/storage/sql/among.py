"""Conditions over any number of values, which are one parameter.

On PostgreSQL keys and ids are arrays of texts: for a type like `bigint[]` asyncpg asks the database what that is, once on every
connection, which takes longer than many statements. The planner reads the texts, so that it knows how many there are; one text for
all it would read anew for every row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from minference.storage.sql.types import DialectName

_AMONG_VALUES = "IN (SELECT value FROM json_each(?))"


def among_ids(dialect: DialectName) -> str:
    """The condition that a key is among those of `id_parameter`."""
    return "= ANY($1::text[]::bigint[])" if dialect == "postgresql" else _AMONG_VALUES


def id_parameter(dialect: DialectName, ids: Iterable[int]) -> Any:
    """The parameter of `among_ids`."""
    return list(map(str, ids)) if dialect == "postgresql" else f"[{','.join(map(str, ids))}]"


def among_uuids(dialect: DialectName) -> str:
    """The condition that an id is among those of `uuid_parameter`."""
    return "= ANY($1::text[]::uuid[])" if dialect == "postgresql" else _AMONG_VALUES


def uuid_parameter(dialect: DialectName, ids: Iterable[UUID]) -> Any:
    """The parameter of `among_uuids`."""
    return list(map(str, ids)) if dialect == "postgresql" else json.dumps([each.hex for each in ids])


def among_texts(dialect: DialectName) -> str:
    """The condition that a text is among those of `text_parameter`."""
    return "= ANY($1::text[])" if dialect == "postgresql" else _AMONG_VALUES


def text_parameter(dialect: DialectName, texts: Iterable[str]) -> Any:
    """The parameter of `among_texts`."""
    return list(texts) if dialect == "postgresql" else json.dumps(list(texts))
