"""Entity classes with a field of every sort, and values for every field, the unusual ones included."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal, get_args, get_origin
from uuid import UUID

import annotated_types
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy import BigInteger, Boolean, Double, Integer, String, Text, Uuid
from sqlalchemy.orm import Mapped, mapped_column

import minference.threads.tables  # noqa: F401 - declares the tables
from minference.ecs.blobs import Blob
from minference.ecs.entity import Entity, plan_of
from minference.ecs.plan import arms
from minference.storage.sql.schema import reference
from minference.storage.sql.tables import EntityTable
from minference.storage.sql.types import ExactText, Id, Json, UtcDateTime
from minference.threads.attachments import FileAttachment, ImageAttachment, ImageLink
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, SystemPrompt, ToolCall, Usage
from minference.threads.outputs import GeneratedJsonObject, ProcessedOutput, RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool


class Color(Enum):
    """Names."""

    red = "red"
    green = "green"


class Level(IntEnum):
    """Numbers."""

    low = 1
    high = 10


class Corner(BaseModel):
    """A value that cannot change."""

    model_config = ConfigDict(frozen=True)

    x: int
    label: str = ""


class Everything(Entity, kind="test_mapping_everything"):
    """A field of every sort, with a table."""

    text: str
    color: Color
    level: Level | None
    choice: Literal["a", "b"] | None
    count: int
    ratio: float
    flag: bool | None
    moment: datetime
    key: UUID | None
    numbers: list[int]
    corners: tuple[Corner, ...]
    anything: JsonValue
    one: Everything | None = None
    other: Entity | None = None
    many: list[Everything] = Field(default_factory=list)
    named: dict[str, Entity] = Field(default_factory=dict)


class EverythingSQL(EntityTable, entity=Everything):
    """Its table."""

    __tablename__ = "test_mapping_everything"
    __rename__ = {"key": "uuid", "many": "several"}  # noqa: RUF012

    text: Mapped[str] = mapped_column(ExactText)
    color: Mapped[str] = mapped_column(String(10))
    level: Mapped[int | None] = mapped_column(Integer)
    choice: Mapped[str | None] = mapped_column(Text)
    count: Mapped[int] = mapped_column(BigInteger)
    ratio: Mapped[float] = mapped_column(Double)
    flag: Mapped[bool | None] = mapped_column(Boolean)
    moment: Mapped[datetime] = mapped_column(UtcDateTime)
    uuid: Mapped[UUID | None] = mapped_column(Uuid)
    numbers: Mapped[Any] = mapped_column(Json)
    corners: Mapped[Any] = mapped_column(Json)
    anything: Mapped[Any | None] = mapped_column(Json)
    one_id: Mapped[int | None] = mapped_column(Id, reference("entity_version.id"))
    other_id: Mapped[int | None] = mapped_column(Id, reference("entity_version.id"))
    several_seq: Mapped[int | None] = mapped_column(Id)
    several_len: Mapped[int]
    named_seq: Mapped[int | None] = mapped_column(Id)
    named_len: Mapped[int]
    named_keys: Mapped[Any] = mapped_column(Json)
    extra: Mapped[Any | None] = mapped_column(Json)


class MoreThanEverything(Everything, kind="test_mapping_more"):
    """Fields that the table of its base class has no columns for."""

    amount: Decimal
    day: date
    hour: time
    pause: timedelta
    data: bytes
    tags: set[int]
    friend: Entity | None = None
    crowd: tuple[Entity, ...] = ()


class Tableless(Entity, kind="test_mapping_tableless"):
    """A class without a table."""

    text: str
    amount: Decimal
    day: date | None
    data: bytes
    ratio: float
    level: Level
    tags: frozenset[str]
    settings: dict[str, JsonValue]
    corner: Corner
    friend: Entity | None = None
    crowd: list[Entity] = Field(default_factory=list)
    named: dict[str, Entity] = Field(default_factory=dict)


CLASSES: list[type[Entity]] = [
    SystemPrompt,
    LLMConfig,
    Usage,
    ChatMessage,
    CallableTool,
    StructuredTool,
    ChatThread,
    GeneratedJsonObject,
    RawOutput,
    ProcessedOutput,
    FileAttachment,
    ImageAttachment,
    ImageLink,
    Everything,
    MoreThanEverything,
    Tableless,
]

_ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
_ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))])
_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: _ANY_TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=_ZONES),  # noqa: DTZ001 - bounds are naive
    JsonValue: _JSON,
    Any: _JSON,
    ToolCall: st.builds(ToolCall, id=_ANY_TEXT, name=_ANY_TEXT, arguments_json=_ANY_TEXT),
    Corner: st.builds(Corner, x=st.integers(), label=_ANY_TEXT),
    Blob: st.binary(max_size=20).map(Blob.of),
}


def values_of(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    """Values that a field admits, the unusual ones included."""
    return st.one_of([_of_arm(arm, metadata) for arm in arms(annotation)])


def _of_arm(arm: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(arm), get_args(arm)
    if origin is tuple:
        return st.lists(values_of(arguments[0], []), max_size=3).map(tuple)
    if origin in (list, set, frozenset):
        return st.lists(values_of(arguments[0], []), max_size=3).map(origin)
    if origin is dict:
        return st.dictionaries(values_of(arguments[0], []), values_of(arguments[1], []), max_size=3)
    if arm in (int, float) and metadata:
        return _bounded(arm, metadata)
    if arm is str and (pattern := next((p for each in metadata if (p := getattr(each, "pattern", None))), None)):
        return st.from_regex(pattern.replace("$", r"\Z"))
    if arm is str and metadata:
        return st.text(min_size=1, max_size=10)
    return _BY_TYPE[arm] if arm in _BY_TYPE else st.from_type(arm)


def _bounded(number: type, metadata: list[Any]) -> st.SearchStrategy[Any]:
    low: Any = next((each.ge if isinstance(each, annotated_types.Ge) else each.gt for each in metadata if _is(each, "Ge", "Gt")), None)
    high: Any = next((each.le if isinstance(each, annotated_types.Le) else each.lt - 1 for each in metadata if _is(each, "Le", "Lt")), None)
    if number is int:
        return st.integers(low if low is not None else -(2**63), high if high is not None else 2**63 - 1)
    exclusive = any(isinstance(each, annotated_types.Gt) for each in metadata)
    return st.floats(low, high, allow_nan=False, allow_infinity=False, exclude_min=exclusive)


def _is(mark: Any, *names: str) -> bool:
    return type(mark).__name__ in names


def entities_of(cls: type[Entity]) -> st.SearchStrategy[Any]:
    """Entities of a class whose plain values are generated and which refer to nothing."""
    plan = plan_of(cls)
    fields = {name: cls.model_fields[name] for name in (*plan.values, *plan.mutable)}
    values = st.fixed_dictionaries({name: values_of(field.annotation, field.metadata) for name, field in fields.items()})
    return values.map(lambda given: cls.model_construct(**given))
