"""A function may have parameters of every kind; a model passes all of them by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar, Final, NotRequired, Self, Unpack

import pytest
from hypothesis import given, settings
from pydantic import BaseModel, Field, ValidationError
from typing_extensions import TypedDict

from minference.errors import UnusableFunction
from minference.threads.schemas import schema_errors, schema_validator
from minference.threads.signatures import signature_of
from tests.support.examples import examples
from tests.threads.signature_samples import Sample, samples


class Place(BaseModel):
    """Somewhere."""

    name: str


class Options(TypedDict):
    """Further options."""

    unit: str
    days: NotRequired[Annotated[int, Field(description="How far to look ahead.")]]


def call(function: Callable[..., Any], **arguments: Any) -> Any:
    bound = signature_of(function).bind(arguments)
    return function(*bound.positional, **bound.named)


def test_parameters_that_python_passes_by_position_only_have_names_for_a_model() -> None:
    def between(low: float, high: float = 9.0, /, *, strict: bool = False) -> list[Any]:
        return [low, high, strict]

    assert signature_of(between).input_schema["required"] == ["low"]
    assert call(between, low="1", strict=True) == [1.0, 9.0, True]
    assert call(between, low=1, high=2) == [1.0, 2.0, False]


def test_any_number_of_values_is_a_list() -> None:
    def total(start: int = 100, *amounts: int, unit: str = "€") -> str:
        """Add up.

        Args:
            *amounts: What to add.
        """
        return f"{start + sum(amounts)} {unit}"

    schema = signature_of(total).input_schema
    assert schema["properties"]["amounts"] == {
        "type": "array",
        "items": {"type": "integer"},
        "default": [],
        "description": "What to add.",
    }
    assert "required" not in schema
    assert [call(total), call(total, amounts=[1, 2]), call(total, amounts=["3"], start=1, unit="$")] == ["100 €", "103 €", "4 $"]


def test_further_arguments_by_name_are_properties_of_one_type() -> None:
    def visit(first: Place, **others: Place) -> list[str]:
        return [first.name, *(f"{key}={place.name}" for key, place in others.items())]

    schema = signature_of(visit).input_schema
    assert schema["additionalProperties"] == {"$ref": "#/$defs/Place"}
    assert call(visit, first={"name": "Oslo"}, then={"name": "Rome"}, argument_0={"name": "Bern"}) == [
        "Oslo",
        "then=Rome",
        "argument_0=Bern",
    ]
    with pytest.raises(ValidationError, match="then"):
        call(visit, first={"name": "Oslo"}, then="Rome")


def test_keywords_of_a_typed_dict_are_parameters_of_their_own() -> None:
    def forecast(place: str, **options: Unpack[Options]) -> Any:
        return place, dict(options)

    schema = signature_of(forecast).input_schema
    assert schema["properties"]["days"] == {"type": "integer", "description": "How far to look ahead."}
    assert (schema["required"], schema["additionalProperties"]) == (["place", "unit"], False)
    assert call(forecast, place="Oslo", unit="C") == ("Oslo", {"unit": "C"})
    assert call(forecast, place="Oslo", unit="C", days="2") == ("Oslo", {"unit": "C", "days": 2})
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        call(forecast, place="Oslo", unit="C", weeks=1)


def test_a_model_cannot_replace_what_a_partial_has_bound() -> None:
    def send(text: str, **headers: str) -> Any:
        return text, headers

    hidden = partial(send, token="secret")
    assert signature_of(hidden).input_schema == {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    }
    for stolen in ({"token": "mine"}, {"headers": {"token": "mine"}}):
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            call(hidden, text="Hello.", **stolen)
    assert call(hidden, text="Hello.") == ("Hello.", {"token": "secret"})


def twice(a: int, /, **options: Unpack[A]) -> None: ...


class A(TypedDict):
    a: int


def of_a_class(a: ClassVar[int]) -> None: ...  # type: ignore[misc]  # people write stranger things
def final(a: Final[int] = 3) -> None: ...  # type: ignore[valid-type]  # as above
def itself(a: Self) -> None: ...  # type: ignore[misc]  # as above
def a_type(a: type[int]) -> None: ...
def any_number(*values) -> None: ...  # type: ignore[no-untyped-def]  # that is the point
def any_names(**values) -> None: ...  # type: ignore[no-untyped-def]  # that is the point


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (of_a_class, "its annotations cannot be read (typing.ClassVar[int] is not valid as type argument)"),
        (final, "its annotations cannot be read (typing.Final[int] is not valid as type argument)"),
        (itself, "parameter 'a' is annotated as typing.Self, which no JSON value is: annotate what is passed"),
        (a_type, "parameter 'a' is annotated as type[int], which no JSON value is: annotate what is passed"),
        (twice, "two parameters are called 'a', and a model passes arguments by name: rename one"),
        (any_number, "parameter '*values' has no annotation, so its schema is unknown: annotate it, with Any if all is welcome"),
        (any_names, "parameter '**values' has no annotation, so its schema is unknown: annotate it, with Any if all is welcome"),
    ],
)
def test_a_parameter_that_no_model_can_fill_in_is_refused_with_the_reason(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(UnusableFunction) as caught:
        signature_of(function)
    assert caught.value.reason == reason


@given(samples())
@settings(deadline=None, max_examples=examples(50, 500))
def test_arguments_survive_the_way_through_json_whatever_the_signature(sample: Sample) -> None:
    signature = signature_of(sample.function)
    assert schema_errors(schema_validator("sample", signature.input_schema), sample.as_json) is None
    received = call(sample.function, **sample.as_json)
    assert received == sample.values
    assert [type(value) for value in received.values()] == [type(value) for value in sample.values.values()]


@given(samples())
@settings(deadline=None, max_examples=30)
def test_an_argument_that_does_not_fit_the_signature_is_refused(sample: Sample) -> None:
    arguments = {**sample.as_json, "no such": 1}
    with pytest.raises(ValidationError, match="Input should be an object" if sample.takes_anything else "Extra inputs are not permitted"):
        signature_of(sample.function).bind(arguments)
