"""What is saved is read back as it was, or refused: also values that cannot change in place, of which nobody asks what they hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SerializeAsAny,
    ValidationError,
    field_serializer,
)

from minference.ecs.cold import type_of
from minference.ecs.entity import Entity
from minference.errors import UnstorableValue
from minference.storage.base import EntityStorage
from minference.threads.messages import ChatMessage, MessageRole
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
BERLIN = ZoneInfo("Europe/Berlin")
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
    "a time of day in a zone of many": (time, time(12, tzinfo=BERLIN)),
    "one of them in a list of times": (list[time], [time(12, tzinfo=BERLIN)]),
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

WINTER, SUMMER = timezone(timedelta(hours=1)), timezone(timedelta(hours=2))
TWICE = datetime(2020, 10, 25, 2, 30)  # noqa: DTZ001 - on the clocks of Berlin, at first in summer time
GAP = datetime(2020, 3, 29, 2, 30)  # noqa: DTZ001 - on no clock of Berlin
JUNE = datetime(2020, 6, 1)  # noqa: DTZ001


class Event(BaseModel):
    model_config = FROZEN
    at: datetime


class Plan(BaseModel):
    at: datetime
    others: frozenset[datetime] = frozenset()
    event: Event | None = None


class Place(Event):
    name: str = "here"


class Secret(Event):
    hidden: int = Field(default=0, exclude=True)


class Kept(Event):
    _inside: int = PrivateAttr(default=0)


def kept(at: datetime) -> Kept:
    """A model that holds something of its own."""
    made = Kept(at=at)
    made._inside = 1
    return made


def twice(zone: tzinfo) -> datetime:
    """The second of two hours of one name, which Python calls unequal to itself in another zone."""
    return TWICE.replace(tzinfo=zone, fold=int(zone is BERLIN))


PLAIN: dict[str, tuple[Any, Any, Any]] = {
    "summer": (datetime, JUNE.replace(tzinfo=BERLIN), JUNE.replace(tzinfo=SUMMER)),
    "the first of two": (datetime, TWICE.replace(tzinfo=BERLIN), TWICE.replace(tzinfo=SUMMER)),
    "the second of two": (datetime, TWICE.replace(tzinfo=BERLIN, fold=1), TWICE.replace(tzinfo=WINTER)),
    "an hour that was not": (datetime | None, GAP.replace(tzinfo=BERLIN), GAP.replace(tzinfo=WINTER)),
    "another name for UTC": (datetime, JUNE.replace(tzinfo=ZoneInfo("UTC")), JUNE.replace(tzinfo=UTC)),
    "an offset with a name": (datetime, JUNE.replace(tzinfo=timezone(timedelta(hours=2), "CEST")), JUNE.replace(tzinfo=SUMMER)),
    "no zone": (datetime, TWICE.replace(fold=1), TWICE),
    "a time of day": (time, time(2, 30, fold=1), time(2, 30)),
    "a tuple": (tuple[datetime, ...], (TWICE.replace(tzinfo=BERLIN, fold=1),), (TWICE.replace(tzinfo=WINTER),)),
    "a list": (list[datetime], [TWICE.replace(tzinfo=BERLIN, fold=1)], [TWICE.replace(tzinfo=WINTER)]),
    "a dict": (dict[str, datetime], {"at": TWICE.replace(tzinfo=BERLIN)}, {"at": TWICE.replace(tzinfo=SUMMER)}),
    "a union": (datetime | int, TWICE.replace(tzinfo=BERLIN, fold=1), TWICE.replace(tzinfo=WINTER)),
    "a frozen model": (Event, Event(at=JUNE.replace(tzinfo=BERLIN)), Event(at=JUNE.replace(tzinfo=SUMMER))),
    "a frozen model in the second of two": (Event, Event(at=twice(BERLIN)), Event(at=twice(WINTER))),
    "frozen models": (tuple[Event, ...], (Event(at=twice(BERLIN)),), (Event(at=twice(WINTER)),)),
    "a model": (Plan | None, Plan(at=twice(BERLIN)), Plan(at=twice(WINTER))),
    "a model of sets": (
        list[Plan],
        [Plan(at=JUNE, others=frozenset((JUNE, twice(BERLIN))), event=Event(at=twice(BERLIN)))],
        [Plan(at=JUNE, others=frozenset((JUNE, twice(WINTER))), event=Event(at=twice(WINTER)))],
    ),
    "a set": (set[datetime], {JUNE, twice(BERLIN)}, {JUNE, twice(WINTER)}),
    "a frozen set": (frozenset[datetime], frozenset((JUNE, twice(BERLIN))), frozenset((JUNE, twice(WINTER)))),
    "a set of tuples": (set[tuple[datetime, int]], {(twice(BERLIN), 1)}, {(twice(WINTER), 1)}),
    "a set of models": (frozenset[Event], frozenset((Event(at=twice(BERLIN)),)), frozenset((Event(at=twice(WINTER)),))),
}
"""What is saved, and as what it is read back."""
LOST |= {
    "an odd zone in a set": (set[datetime], {ODD, twice(BERLIN)}),
    "an odd zone in a set of models": (frozenset[Event], frozenset((Event(at=twice(BERLIN)), Event(at=ODD)))),
    "more than its class has beside a time": (tuple[Event, ...], (Event(at=twice(BERLIN)), Place(at=twice(BERLIN)))),
    "something private": (Kept, kept(twice(BERLIN))),
    "left out of dumps beside a time": (Secret, Secret(at=twice(BERLIN), hidden=7)),
}


def shown(value: object) -> object:
    """All that there is to a time: the name of a time zone too, by which it finds other offsets at other times."""
    match value:
        case datetime() | time():
            named = isinstance(value.tzinfo, ZoneInfo) or (value.tzinfo is not None and value.tzname() == "CEST")
            return type(value), value.isoformat(), value.fold, named
        case tuple() | list():
            return type_of(value), [shown(each) for each in value]
        case dict():
            return {key: shown(each) for key, each in value.items()}
        case set() | frozenset():
            return type_of(value), sorted(map(repr, map(shown, value)))
        case BaseModel():
            return type_of(value), shown(dict(value))
        case int() | None:
            return value
    raise AssertionError(value)


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


@pytest.mark.parametrize("what", PLAIN)
async def test_a_time_is_read_back_with_the_offset_that_its_zone_had_then(storage: EntityStorage, what: str) -> None:
    annotation, value, read = PLAIN[what]
    entity = await storage.register(holder(annotation, f"time {what}")(value=value))
    loaded = await storage.get(type(entity), entity.ecs_id)
    cold = await storage.get_cold_snapshot(type(entity), entity.ecs_id)
    assert [shown(each.value) for each in (loaded, cold)] == [shown(read)] * 2
    assert shown(entity.value) == shown(value)
    assert (await storage.submit(entity, loaded)).versions == ()
    loaded.value = value
    assert (await storage.submit(loaded)).versions == ()


@pytest.mark.parametrize(
    ("value", "edited"),
    [
        (TWICE.replace(tzinfo=BERLIN), TWICE.replace(tzinfo=BERLIN, fold=1)),
        (TWICE.replace(tzinfo=WINTER), TWICE.replace(hour=3, tzinfo=SUMMER)),
        (TWICE.replace(tzinfo=UTC), TWICE),
    ],
    ids=["the other of two hours", "the same moment on another clock", "no zone"],
)
async def test_another_offset_is_a_change(storage: EntityStorage, value: datetime, edited: datetime) -> None:
    entity = await storage.register(holder(datetime, "edited time")(value=value))
    before = entity.ecs_id
    entity.value = edited
    assert len((await storage.submit(entity)).versions) == 1
    assert list((await storage.diff(before, entity)).fields) == ["value"]
    assert (await storage.get(type(entity), entity.ecs_id)).value.isoformat() == edited.isoformat()


@pytest.mark.parametrize(
    ("annotation", "holding"),
    [(Event, lambda at: Event(at=at)), (frozenset[datetime], lambda at: frozenset((at,)))],
    ids=["a frozen model", "a frozen set"],
)
async def test_another_offset_inside_is_a_change(storage: EntityStorage, annotation: Any, holding: Callable[[datetime], Any]) -> None:
    moments = [twice(BERLIN), twice(BERLIN).replace(fold=0), twice(WINTER), twice(UTC)]
    entity = await storage.register(holder(annotation, f"edited inside {annotation}")(value=holding(moments[0])))
    changes = []
    for moment in moments[1:]:
        entity.value = holding(moment)
        changes.append(len((await storage.submit(entity)).versions))
    assert changes == [1, 1, 1]


async def test_the_times_of_messages_are_in_utc_from_the_start(storage: EntityStorage) -> None:
    message = ChatMessage(role=MessageRole.user, content="x", timestamp=TWICE.replace(tzinfo=BERLIN, fold=1))
    given = TWICE.replace(hour=1, tzinfo=UTC)
    await storage.register(message)
    loaded = await storage.get(ChatMessage, message.ecs_id)
    assert [shown(each.timestamp) for each in (message, loaded)] == [shown(given)] * 2
    message.timestamp = given.astimezone(SUMMER)
    assert (await storage.submit(message)).versions == ()
    with pytest.raises(ValidationError, match="within the years 1 to 9999 in UTC"):
        message.timestamp = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))
