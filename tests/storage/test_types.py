"""Text, times and JSON come back from both databases exactly, through SQLAlchemy and as plain functions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field, JsonValue
from sqlalchemy import Column, Integer, MetaData, Table, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from minference.ecs.entity import Entity
from minference.ecs.values import dump_json, load_json, verify_json
from minference.errors import UnstorableValue
from minference.storage.sql.dialects import open_engine
from minference.storage.sql.types import (
    MARKER,
    ExactText,
    Json,
    UtcDateTime,
    encode_time,
    escape_json,
    escape_text,
    unescape_json,
    unescape_text,
)
from tests.storage.rows import same

ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text(st.sampled_from([MARKER, "\\", '"', "\0", "\ud83d", "\ude00", "u", "a"]))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=10,
)


class Holder(Entity, kind="test_types_holder"):
    """Something that holds JSON."""

    value: JsonValue = None
    counts: dict[str, int] = Field(default_factory=dict)
    data: bytes = b""


def _encodable(stored: str) -> bool:
    stored.encode()
    return "\0" not in stored


@given(ANY_TEXT)
def test_any_text_can_be_stored_and_comes_back(value: str) -> None:
    stored = escape_text(value)
    assert _encodable(stored)
    assert unescape_text(stored) == value


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")).filter(lambda value: not value.startswith(MARKER)))
def test_text_that_every_database_keeps_is_stored_as_it_is(value: str) -> None:
    assert escape_text(value) is value


@given(ANY_JSON)
@example([float("nan"), float("inf"), -0.0])
@example({"\ud83d": 1})
@example({"\ufffd": "\ude00"})
def test_any_json_can_be_stored_and_comes_back(value: Any) -> None:
    document = dump_json(Holder, "value", value)
    stored = escape_json(document.decode())
    assert _encodable(stored)
    json.loads(stored, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert same(load_json(Holder, "value", unescape_json(stored)), value)
    verify_json(Holder, "value", value, document)


@pytest.mark.parametrize(
    ("document", "stored"),
    [
        ('{"a":"naïve","b":"NaN"}', '{"a":"naïve","b":"NaN"}'),
        ("[NaN,-Infinity]", f'"{MARKER}[NaN,-Infinity]"'),
        (r'["\ud83d"]', rf'"{MARKER}[\"\\ud83d\"]"'),
        (r'["\\ud83d"]', r'["\\ud83d"]'),
        (f'"{MARKER}"', rf'"{MARKER}\"{MARKER}\""'),
    ],
)
def test_only_json_that_a_database_refuses_is_escaped(document: str, stored: str) -> None:
    assert escape_json(document) == stored


@given(st.dictionaries(ANY_TEXT, st.integers(0, 9)))
@example({"\ud83d": 1})
@example({"\ufffd": 1})
def test_any_keys_can_be_stored_and_come_back(value: dict[str, int]) -> None:
    assert load_json(Holder, "counts", dump_json(Holder, "counts", value)) == value


@given(st.dictionaries(ANY_TEXT, ANY_TEXT), st.dictionaries(ANY_TEXT, ANY_TEXT))
def test_documents_are_equal_only_if_their_values_are(one: dict[str, str], other: dict[str, str]) -> None:
    stored = [escape_json(dump_json(Holder, "value", value).decode()) for value in (one, other)]
    assert (stored[0] == stored[1]) == (list(one.items()) == list(other.items()))


@given(st.binary())
def test_bytes_are_stored_as_base64(value: bytes) -> None:
    assert load_json(Holder, "data", dump_json(Holder, "data", value)) == value


@pytest.mark.parametrize("value", [{"a": (1, 2)}, {1: "one"}])
def test_a_value_that_would_come_back_as_another_is_refused(value: Any) -> None:
    with pytest.raises(UnstorableValue, match="it would be read back as"):
        verify_json(Holder, "value", value, dump_json(Holder, "value", value))


ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-12))])
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES)  # noqa: DTZ001 - bounds are naive


@given(MOMENTS, MOMENTS)
def test_stored_times_sort_as_the_moments_do(one: datetime, other: datetime) -> None:
    stored = [encode_time(one), encode_time(other)]
    assert (stored[0] < stored[1]) == (one < other)
    assert [datetime.fromisoformat(each) for each in stored] == [one, other]
    assert [len(each) for each in stored] == [32, 32]


METADATA = MetaData()
CELLS = Table(
    "test_types_cells",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("words", ExactText),
    Column("moment", UtcDateTime),
    Column("document", Json),
)


@pytest.fixture
async def connection(sql_url: str) -> Any:
    """A connection to a database with one table, of each SQL database in turn."""
    engine = open_engine(sql_url)
    async with engine.connect() as connection:
        await connection.run_sync(METADATA.create_all)
        yield connection
        await connection.rollback()
    await engine.dispose()


_BIG = 12345678901234567890123
CASES: list[tuple[str | None, datetime | None, Any]] = [
    (None, None, None),
    ("", datetime.min.replace(tzinfo=UTC), {}),
    ("plain", datetime(2026, 11, 21, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2))), {"z": 1, "a": [1.0, True, None, _BIG]}),
    ("naïve \0 🙂", datetime.max.replace(tzinfo=UTC), "text"),
    ("\ud83d", datetime(2026, 1, 1, tzinfo=UTC), ["\ud83d", "\0", "", MARKER]),
    (MARKER, datetime(2026, 1, 1, tzinfo=UTC), MARKER),
    (MARKER + "\ud83d" + MARKER, datetime(2026, 1, 1, tzinfo=UTC), {"\ud83d": float("nan"), "": float("-inf")}),
    ("5", datetime(2026, 1, 1, tzinfo=UTC), 5),
]


async def test_columns_give_back_what_was_put_in(connection: AsyncConnection) -> None:
    for number, (words, moment, document) in enumerate(CASES):
        await connection.execute(insert(CELLS).values(id=number, words=words, moment=moment, document=document))
    found = (await connection.execute(select(CELLS.c.words, CELLS.c.moment, CELLS.c.document).order_by(CELLS.c.id))).all()
    assert same([tuple(row) for row in found], CASES)
    assert {row.moment.tzinfo for row in found if row.moment} == {UTC}


async def test_ordinary_json_can_be_queried_by_the_database(connection: AsyncConnection) -> None:
    await connection.execute(insert(CELLS).values(id=1, document={"b": "x", "a": {"deep": 7}}))
    path = "document ->> 'b', document -> 'a' ->> 'deep'"
    assert [tuple(map(str, row)) for row in (await connection.execute(text(f"SELECT {path} FROM test_types_cells"))).all()] == [("x", "7")]


async def test_a_time_without_a_zone_is_refused(connection: AsyncConnection) -> None:
    with pytest.raises(Exception, match="has no time zone"):
        await connection.execute(insert(CELLS).values(id=1, moment=datetime(2026, 1, 1)))  # noqa: DTZ001 - that is the point
