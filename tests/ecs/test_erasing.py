"""What is left of values when they are erased: empty ones that fit the class."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import pytest
from pydantic import AwareDatetime, BaseModel, Field, JsonValue

from minference.ecs.entity import Entity, plan_of
from minference.ecs.erasing import empty_values, erased, erased_keys, is_erased
from minference.ecs.plan import OnErase
from minference.errors import MisplacedMark, NoEmptyValue
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import ChatMessage, MessageRole, ToolCall, Usage
from minference.threads.tools import CallableTool, StructuredTool


class Colour(Enum):
    red = "red"
    blue = "blue"


class Inner(BaseModel):
    text: str
    number: int = 3
    deeper: list[str]


class Anything(Entity, kind="erased_anything"):
    text: str
    perhaps: str | None
    named: Annotated[str, Field(min_length=3)]
    default: str = "some default"
    number: int
    several: int = Field(ge=2)
    standing: int = 5
    ratio: float
    money: Decimal
    flag: bool
    on: bool = True
    octets: bytes
    moment: AwareDatetime
    day: date
    hour: time
    span: timedelta
    id: UUID
    colour: Colour
    choice: Literal["a", "b"]
    many: list[int]
    pair: tuple[str, int]
    row: tuple[str, ...]
    lookup: dict[str, int]
    whatever: Any
    json_value: JsonValue
    inner: Inner
    made: datetime = Field(default_factory=datetime.now)


def test_each_kind_of_value_has_an_empty_one_that_fits() -> None:
    with pytest.raises(NoEmptyValue, match="'several' has no empty value"):
        empty_values(Anything)

    class Everything(Anything, kind="erased_everything"):
        several: int = Field(ge=2, default=7)

    found = empty_values(Everything)
    assert found == {
        "text": "",
        "perhaps": None,
        "named": "erased",
        "default": "",
        "number": 0,
        "several": 7,
        "standing": 5,
        "ratio": 0.0,
        "money": Decimal(0),
        "flag": False,
        "on": True,
        "octets": b"",
        "moment": datetime.fromisoformat("1970-01-01T00:00:00+00:00"),
        "day": date(1970, 1, 1),
        "hour": time(0, 0, tzinfo=UTC),
        "span": timedelta(0),
        "id": UUID(int=0),
        "colour": Colour.red,
        "choice": "a",
        "many": [],
        "pair": ("", 0),
        "row": (),
        "lookup": {},
        "whatever": None,
        "json_value": None,
        "inner": Inner(text="", number=3, deeper=[]),
        "made": found["made"],
    }
    assert erased(Everything, {}) == found
    assert is_erased(Everything, found)
    assert not is_erased(Everything, found | {"number": 1})


def test_empty_values_are_not_shared_between_versions() -> None:
    class Holder(Entity, kind="erased_holder"):
        many: list[int] = Field(default_factory=list)

    empty_values(Holder)["many"].append(1)
    assert empty_values(Holder) == {"many": []}


def test_a_class_says_what_stays_and_its_subclasses_fields_go() -> None:
    class Kept(Entity, kind="erased_kept"):
        number: int
        text: str

        @classmethod
        def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
            return super().erased_values(values) | {"number": values["number"]}

    class More(Kept, kind="erased_more"):
        secret: str
        about: Annotated[UUID | None, OnErase.follows] = None

    about = uuid4()
    assert erased(More, {"number": 3, "text": "a", "secret": "b", "about": about}) == {
        "number": 3, "text": "", "secret": "", "about": about,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (lambda values: {}, "'text' is not among both its fields and its erased values"),
        (lambda values: {"text": "", "other": 1}, "'other' is not among both"),
        (lambda values: {"text": 3}, r"'text' cannot be 3"),
        (lambda values: {"text": values["text"] + "!"}, "'text' would have another value if it were erased again"),
    ],
)
def test_a_class_whose_rule_cannot_be_right_is_refused(given: Any, reason: str) -> None:
    class Wrong(Entity, kind="erased_wrong"):
        text: str

        @classmethod
        def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
            found: dict[str, Any] = given(values)
            return found

    with pytest.raises(NoEmptyValue, match=reason):
        erased(Wrong, {"text": "a"})


def test_keys_become_places() -> None:
    assert erased_keys({"named": ("Alice", "Bob"), "none": ()}) == {"named": ("0", "1"), "none": ()}


@pytest.mark.parametrize(
    ("annotation", "mark"),
    [
        (str, OnErase.follows),
        (str, OnErase.too),
        (UUID, OnErase.stays),
        (list[UUID], OnErase.follows),
        (Anything | None, OnErase.follows),
        (list[Anything], OnErase.follows),
    ],
)
def test_a_mark_on_a_field_that_it_is_not_for_is_refused_when_the_class_is_defined(annotation: Any, mark: OnErase) -> None:
    with pytest.raises(MisplacedMark, match=r"Marked.field: .* is marked OnErase\."):
        type("Marked", (Entity,), {"__annotations__": {"field": Annotated[annotation, mark]}, "__module__": __name__})


def test_marks_are_compiled_with_the_class() -> None:
    class Marked(Entity, kind="erased_marked"):
        one: Annotated[Anything | None, OnErase.stays] = None
        more: Annotated[list[Anything], OnErase.too] = Field(default_factory=list)
        about: Annotated[UUID | None, OnErase.follows] = None
        plain: Anything | None = None

    assert plan_of(Marked).on_erase == {"one": OnErase.stays, "more": OnErase.too, "about": OnErase.follows}


def values_of(entity: Entity) -> dict[str, Any]:
    return {name: entity.__dict__[name] for name in (*plan_of(type(entity)).values, *plan_of(type(entity)).mutable)}


def test_what_is_left_of_a_message_is_still_a_message() -> None:
    call = ToolCall.from_arguments("c1", "look", {"at": "secret"})
    message = ChatMessage(
        role=MessageRole.assistant, content="secret", reasoning="secret", reasoning_json="secret", refusal="secret", tool_calls=(call,)
    )
    left = erased(ChatMessage, values_of(message))
    assert "secret" not in repr(left)
    assert left["tool_calls"] == (ToolCall(id="c1", name="look"),)
    assert (left["role"], left["timestamp"]) == (MessageRole.assistant, message.timestamp)
    assert ChatMessage(**left).tool_calls[0].arguments == {}


def test_what_is_left_of_settings_can_be_constructed() -> None:
    config = LLMConfig(client="openai", model="m", max_tokens=7, stop=("secret",), extra={"user": "secret"}, response_format="tool")  # type: ignore[arg-type]
    left = LLMConfig(**erased(LLMConfig, values_of(config)))
    assert (left.client, left.model, left.max_tokens, left.response_format) == ("openai", "m", 7, ResponseFormat.tool)
    assert (left.stop, left.extra) == ((), {})
    tool = CallableTool(name="look", docstring="secret", input_schema={"type": "object", "title": "secret"}, callable_text="secret")
    assert "secret" not in repr(CallableTool(**erased(CallableTool, values_of(tool))))
    schema = StructuredTool(name="answer", description="secret", instruction_string="secret", json_schema={"type": "object"})
    assert "secret" not in repr(StructuredTool(**erased(StructuredTool, values_of(schema))))
    usage = Usage(model="m", prompt_tokens=1, completion_tokens=2, total_tokens=3)
    assert erased(Usage, values_of(usage)) == values_of(usage)
