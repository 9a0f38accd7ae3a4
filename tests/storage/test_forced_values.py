"""Values that were put into an object past its annotations: each is saved and read back as it was, or refused; never anything between."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter

from minference.ecs.entity import Entity
from minference.ecs.identity import Moment
from minference.errors import UnstorableValue
from minference.storage.base import EntityStorage
from tests.storage.rows import same

HUGE = 10**4300
SURROGATE = "\ud800"
"""Half of a character. Pydantic takes it, and writes it not; the storage does."""
NAIVE = datetime(2020, 1, 2, 3, 4, 5, 6)  # noqa: DTZ001


class Colour(Enum):
    red = "red"


class Word(StrEnum):
    red = "red"


class Level(IntEnum):
    one = 1


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


ANNOTATIONS: dict[str, Any] = {
    "text": str,
    "text or none": str | None,
    "bytes": bytes,
    "flag": bool,
    "int": int,
    "int or none": int | None,
    "int or text": int | str,
    "number": float,
    "number or int": float | int,
    "id": UUID,
    "id or text": UUID | str,
    "time": datetime,
    "aware time": AwareDatetime,
    "moment": Moment,
    "moment or none": Moment | None,
    "enum": Colour,
    "enum of text": Word,
    "enum of text or text": Word | str,
    "enum of ints": Level,
    "literal": Literal["red", 1],
    "texts": tuple[str, ...],
    "ints": tuple[int, ...],
    "two texts": tuple[str, str],
    "texts, some": Annotated[tuple[str, ...], Field(min_length=1)],
    "count": Annotated[int, Field(ge=0, lt=2**63)],
    "count or none": Annotated[int | None, Field(ge=0, lt=2**63)],
    "count inside": Annotated[int, Field(ge=0, lt=2**63)] | None,
    "above one": Annotated[int, Field(gt=1)],
    "up to one": Annotated[int, Field(le=1)],
    "share": Annotated[float, Field(ge=0, le=1)],
    "price": Annotated[float, Field(ge=0, allow_inf_nan=False)],
    "finite": Annotated[float, Field(allow_inf_nan=False)],
    "even": Annotated[int, Field(multiple_of=2)],
    "short text": Annotated[str, Field(max_length=2)],
    "strict number": Annotated[float, Field(strict=True)],
}
VALUES: tuple[Any, ...] = (
    None,
    "",
    "red",
    "1",
    SURROGATE,
    "a\0",
    Text("red"),
    b"red",
    True,
    False,
    0,
    1,
    2,
    -1,
    2**63 - 1,
    2**63,
    HUGE,
    -HUGE,
    Whole(1),
    0.0,
    -0.0,
    0.5,
    1.0,
    2.0,
    math.nan,
    math.inf,
    -math.inf,
    UUID(int=1),
    UUID(int=1).hex,
    NAIVE,
    NAIVE.replace(tzinfo=UTC),
    NAIVE.replace(tzinfo=timezone(timedelta(0))),
    NAIVE.replace(tzinfo=timezone(timedelta(hours=2))),
    NAIVE.replace(tzinfo=timezone(timedelta(seconds=-1))),
    datetime.max.replace(tzinfo=UTC),
    NAIVE.isoformat(),
    Colour.red,
    Word.red,
    Level.one,
    (),
    ("red",),
    ("red", "1"),
    (1,),
    (HUGE,),
    (None,),
    ["red"],
    {},
    object(),
)
STORED = ConfigDict(ser_json_inf_nan="constants", ser_json_bytes="base64", val_json_bytes="base64")


def holder(name: str) -> type[Any]:
    """A class of entities with one field."""
    fields = {"__annotations__": {"value": ANNOTATIONS[name]}, "__module__": __name__}
    return type("Holder", (Entity,), fields, kind=f"forced_values_{name.replace(' ', '_').replace(',', '')}")


def forced(cls: type[Any], value: Any) -> Any:
    """An object that holds a value which nobody has looked at."""
    made = cls.model_construct(value=value)
    made.__dict__["value"] = value
    return made


def is_kept(annotation: Any, value: Any) -> bool:
    """Whether pydantic takes a value as it is, both when it is given and from what it writes of it."""
    adapter = TypeAdapter(annotation, config=STORED)
    try:
        if not same_value(adapter.validate_python(value), value):
            return False
        return value == SURROGATE or same_value(adapter.validate_json(adapter.dump_json(value, warnings="error")), value)
    except (ValueError, TypeError):  # those of pydantic among them
        return False


def same_value(one: Any, other: Any) -> bool:
    """Equal with equal types, and times on equal clocks, unless the one is in UTC, as moments are held."""
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one.isoformat() == other.isoformat() or (one.tzinfo is UTC and one == other)
    return same(one, other)


@pytest.mark.parametrize("name", ANNOTATIONS)
async def test_a_forced_value_is_read_back_as_it_was_or_refused(storage: EntityStorage, name: str) -> None:
    cls, wrong = holder(name), []
    for value in VALUES:
        entity, wanted = forced(cls, value), is_kept(ANNOTATIONS[name], value)
        try:
            await storage.register(entity)
        except UnstorableValue:
            if wanted:
                wrong.append(("refused", value))
        else:
            if not wanted:
                wrong.append(("taken", value))
            elif not same_value((await storage.get(cls, entity.ecs_id)).value, value):
                wrong.append(("lost", value))
    assert wrong == []
