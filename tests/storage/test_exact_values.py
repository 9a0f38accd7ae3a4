"""What is saved is read back as it was, or refused: also values that cannot change in place, of which nobody asks what they hold."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, SerializeAsAny, field_serializer

from minference.ecs.entity import Entity
from minference.errors import UnstorableValue
from minference.storage.base import EntityStorage
from tests.storage.rows import same

FROZEN = ConfigDict(frozen=True)


class Shape(BaseModel):
    model_config = FROZEN
    name: str = "shape"


class Circle(Shape):
    radius: float = 1.0


class Hidden(BaseModel):
    model_config = FROZEN
    shown: int = 1
    hidden: int = Field(default=0, exclude=True)


class Rounded(BaseModel):
    model_config = FROZEN
    number: float = 0.0

    @field_serializer("number")
    def _round(self, number: float) -> float:
        return round(number)


class Measured(BaseModel):
    model_config = FROZEN
    values: tuple[float, ...] = ()


class Louder(BaseModel):
    model_config = FROZEN
    text: Annotated[str, AfterValidator(lambda text: f"{text}!")] = ""


class Planet(Enum):
    earth = (1.0, 2.0)
    mars = (3.0, 4.0)


class Price(Enum):
    low = Decimal("1.5")


class Day(Enum):
    first = date(2020, 1, 1)


class Level(IntEnum):
    none = 0
    some = 1


class Colour(Enum):
    red = "red"


ODD = datetime(1850, 1, 1, tzinfo=ZoneInfo("America/New_York"))
"""Noon was where the sun said so: 4 hours, 56 minutes and 2 seconds behind."""
HUGE = 10**4300
"""The first int of more digits than readers of JSON take."""

LOST: dict[str, tuple[Any, Any]] = {
    "more than its class has": (Shape, Circle(radius=5.0)),
    "one of them in a tuple": (tuple[Shape, ...], (Shape(), Circle())),
    "one that may be missing": (Shape | None, Circle()),
    "written as what it is": (SerializeAsAny[Shape], Circle()),
    "left out of dumps": (Hidden, Hidden(hidden=7)),
    "rounded when it is written": (Rounded, Rounded(number=1.6)),
    "no number, in a model": (Measured, Measured(values=(math.nan,))),
    "changed when it is read": (Louder, Louder(text="a")),
    "a member for a tuple": (Planet, Planet.mars),
    "a member for a decimal": (Price, Price.low),
    "a member for a day": (Day, Day.first),
    "bytes as a literal": (Literal[b"x"], b"x"),
    "a zone with seconds": (datetime, ODD),
    "one of them in a tuple of times": (tuple[datetime, ...], (ODD,)),
    "a huge int": (int, HUGE),
    "a huge int that may be missing": (int | None, -HUGE),
    "one of them in a tuple of ints": (tuple[int, ...], (1, HUGE)),
    "one of them in a set": (frozenset[int], frozenset((HUGE,))),
    "one of them in a set that changes": (set[int], {HUGE}),
    "one of them in a list": (list[int], [HUGE]),
    "an int, and no text": (int | str, HUGE),
    "a constrained huge int": (Annotated[int, Field(gt=0)], HUGE),
    "rounded by a serialiser": (Annotated[float, PlainSerializer(lambda number: round(number, 2))], 1.23456),
    "lowered by a serialiser": (Annotated[str, PlainSerializer(str.lower)], "ABC"),
    "such a text inside": (tuple[Annotated[str, PlainSerializer(str.lower)], ...], ("ABC",)),
}
KEPT: dict[str, tuple[Any, Any]] = {
    "model": (Shape, Shape(name="square")),
    "models": (tuple[Shape, ...], (Shape(name="a"), Shape(name="b"))),
    "no models": (tuple[Shape, ...], ()),
    "member": (Colour, Colour.red),
    "member that is a number": (Level, Level.none),
    "literal": (Literal["a", 1, None], 1),
    "numbers that are none": (tuple[float, ...], (math.inf, -0.0)),
    "a large int": (int, HUGE - 1),
    "a large int below zero": (int | None, 1 - HUGE),
    "large ints": (tuple[int, ...], (HUGE - 1, 1 - HUGE)),
    "a set of ints": (frozenset[int], frozenset((3, 1, 2, HUGE - 1))),
    "digits of a text": (int | str, "1" * 5_000),
    "a large decimal": (Decimal, Decimal("9E+999999999")),
    "a long decimal": (Decimal, Decimal("0." + "7" * 5_000)),
    "moment": (datetime, datetime(2020, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=45)))),
    "time": (time, time(12, 30, 1, 5, tzinfo=UTC)),
    "times": (tuple[datetime, ...], (datetime(1, 1, 1, tzinfo=UTC),)),
    "constrained text": (Annotated[str, Field(min_length=1, pattern="^a")], "abc"),
    "constrained number": (Annotated[float, Field(ge=0, allow_inf_nan=False)], 0.1),
}


def holder(annotation: Any, place: str) -> type[Any]:
    """A class of entities with one field."""
    fields = {"__annotations__": {"value": annotation}, "__module__": __name__}
    return type("Holder", (Entity,), fields, kind=f"exact_values_{place.replace(' ', '_')}")


@pytest.mark.parametrize("what", LOST)
async def test_a_value_that_would_be_lost_is_refused(storage: EntityStorage, what: str) -> None:
    annotation, value = LOST[what]
    entity = holder(annotation, what)(value=value)
    with pytest.raises(UnstorableValue, match=r"field 'value' of .* cannot be stored: it (would be|cannot be) read back"):
        await storage.register(entity)
    assert (await storage.status()).versions == 0


@pytest.mark.parametrize("what", KEPT)
async def test_a_value_that_is_kept_is_read_back_as_it_was(storage: EntityStorage, what: str) -> None:
    annotation, value = KEPT[what]
    entity = await storage.register(holder(annotation, what)(value=value))
    loaded = await storage.get(type(entity), entity.ecs_id)
    assert same(loaded.value, value)
