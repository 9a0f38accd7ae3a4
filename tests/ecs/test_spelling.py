"""Names that no field has are refused with the one that was meant; everything else that is refused is told as pydantic tells it."""

from __future__ import annotations

import inspect
from typing import Any, cast

import pytest
from pydantic import Field, ValidationError, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core._pydantic_core import list_all_errors

from minference.ecs.entity import Entity
from minference.ecs.spelling import explained
from minference.errors import ValueWithoutName
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread


class Kettle(Entity, kind="spelling_kettle"):
    litres: float = Field(default=1.0, gt=0)
    colour: str = "red"
    maker: str = Field(default="", alias="made_by")

    @field_validator("colour")
    @classmethod
    def _is_a_colour(cls, colour: str) -> str:
        if colour == "loud":
            raise PydanticCustomError("no_colour", "'{shown}' is no colour, {{it}} is heard", {"shown": colour})
        if colour == "":
            raise ValueError("a colour has a name")
        return colour


def refused(cls: type[Entity], **values: Any) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        cls(**values)
    return caught.value


def told(error: ValidationError) -> list[dict[str, Any]]:
    """What is said of each value; errors in it by their text, for two that say the same are not equal."""
    return [{**each, "ctx": {name: str(fact) for name, fact in each.get("ctx", {}).items()}} for each in error.errors(include_url=False)]


def test_a_misspelled_field_is_refused_with_the_one_that_was_meant() -> None:
    [line] = refused(LLMConfig, client="s", model="m", temprature=1).errors()
    assert (line["type"], line["loc"], line["input"]) == ("extra_forbidden", ("temprature",), 1)
    assert line["msg"].startswith(
        "LLMConfig has no field 'temprature': did you mean 'temperature'? Its fields are client, model, max_tokens, "
    )
    [line] = refused(Kettle, x=1).errors()
    assert line["msg"] == "Kettle has no field 'x': its fields are litres, colour, made_by"
    assert "ecs_id" in refused(Kettle, ecsid=1).errors()[0]["msg"]


def test_a_misspelled_field_is_not_assigned_to() -> None:
    kettle = Kettle()
    before = dict(kettle.__dict__)
    with pytest.raises(
        ValidationError, match=r"Kettle has no field 'litre': did you mean 'litres'\? Its fields are litres, colour, maker"
    ) as caught:
        kettle.litre = 2.0  # type: ignore[attr-defined]
    assert [(each["type"], each["loc"]) for each in caught.value.errors()] == [("no_such_attribute", ("litre",))]
    assert kettle.__dict__ == before


def test_what_else_is_refused_is_told_as_ever() -> None:
    wrong: dict[str, Any]
    for wrong in ({"litres": 0}, {"litres": "many", "colour": 5}, {"colour": "loud"}, {"colour": ""}, {"made_by": None}):
        plain = refused(Kettle, **wrong)
        [*same, unknown] = told(both := refused(Kettle, **wrong, kolour="red"))
        assert (same, unknown["loc"], both.title) == (told(plain), ("kolour",), plain.title)
        assert "did you mean 'colour'" in str(both)


def test_every_kind_of_error_that_pydantic_has_is_told_again() -> None:
    for example in list_all_errors():
        kind, facts = example["type"], example.get("example_context") or {}
        if kind in ("value_error", "assertion_error"):
            facts = {"error": ValueError("wrong")}
        line = cast(InitErrorDetails, {"type": kind, "loc": ("colour", 0), "input": 1, "ctx": facts})
        unknown = InitErrorDetails(type="extra_forbidden", loc=("kolour",), input=2)
        plain = ValidationError.from_exception_data("Kettle", [line])
        assert told(explained(ValidationError.from_exception_data("Kettle", [line, unknown]), Kettle))[:1] == told(plain), kind
        assert explained(plain, Kettle) is plain


def test_a_name_inside_of_a_value_is_left_to_pydantic() -> None:
    [line] = refused(ChatThread, llm_config={"client": "s", "model": "m", "temprature": 1}).errors()
    assert (line["loc"], line["msg"]) == (("llm_config", "temprature"), "Extra inputs are not permitted")


def test_values_without_names_are_refused_with_what_to_write() -> None:
    make: Any = LLMConfig
    with pytest.raises(
        ValueWithoutName, match=r"and 2 were passed without: write LLMConfig\(client=\.\.\., model=\.\.\.\)\. Its fields are"
    ):
        make("openai", "m")
    with pytest.raises(TypeError, match="one was passed without"):
        make("openai", model="m")


def test_the_signature_of_a_class_names_its_fields_and_nothing_else() -> None:
    parameters = inspect.signature(Kettle).parameters.values()
    assert [each.name for each in parameters][-3:] == ["litres", "colour", "made_by"]
    assert {each.kind for each in parameters} == {inspect.Parameter.KEYWORD_ONLY}
