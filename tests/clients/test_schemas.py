"""Schemas become strict where that keeps their meaning."""

from __future__ import annotations

import copy
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AnyUrl, BaseModel, Field

from minference.clients.schemas import ANTHROPIC, strict_schema
from minference.threads.nulls import without_spare_nulls


class Colour(Enum):
    red = "red"


class Leaf(BaseModel):
    kind: Literal["leaf"]
    colour: Colour = Field(default=Colour.red, description="How it looks.")


class Node(BaseModel):
    kind: Literal["node"]
    children: list[Annotated[Node | Leaf, Field(discriminator="kind")]]
    parent: Node | None = None
    site: AnyUrl | None = None


class Anything(BaseModel):
    value: Any


class Pair(BaseModel):
    both: tuple[int, str]


class Free(BaseModel):
    counts: dict[str, int]


def test_a_nested_and_recursive_model_becomes_strict() -> None:
    schema = Node.model_json_schema()
    before = copy.deepcopy(schema)
    strict = strict_schema(schema)
    assert schema == before
    node = {
        "type": "object",
        "properties": {
            "kind": {"const": "node", "type": "string"},
            "children": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Node"}, {"$ref": "#/$defs/Leaf"}]}},
            "parent": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            "site": {"anyOf": [{"type": "string", "description": '(format: "uri") (minLength: 1)'}, {"type": "null"}]},
        },
        "required": ["kind", "children", "parent", "site"],
        "additionalProperties": False,
    }
    leaf = {
        "type": "object",
        "properties": {
            "kind": {"const": "leaf", "type": "string"},
            "colour": {"type": "string", "enum": ["red"], "description": 'How it looks. (default: "red")'},
        },
        "required": ["kind", "colour"],
        "additionalProperties": False,
    }
    assert strict == {**node, "$defs": {"Colour": {"type": "string", "enum": ["red"]}, "Leaf": leaf, "Node": node}}


@pytest.mark.parametrize(
    "schema",
    [
        Anything.model_json_schema(),
        Pair.model_json_schema(),
        Free.model_json_schema(),
        {"type": "object"},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}, {"minLength": 1}]}}},
        {"type": "object", "properties": {"a": {"type": "array"}}},
        {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/missing"}}},
        {"type": "object", "properties": {"a": True}},
        {"type": "string"},
        {"anyOf": [{"type": "object", "properties": {}}]},
    ],
)
def test_a_schema_that_would_lose_its_meaning_does_not(schema: dict[str, Any]) -> None:
    assert strict_schema(schema) is None


class Trip(BaseModel):
    """Optional fields, bounds, and a list of types."""

    days: int = Field(ge=1, le=9)
    code: str = Field(min_length=2, pattern="^[A-Z]+$")
    stops: list[str] = Field(min_length=2, max_length=5)


OPTIONAL: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"type": ["integer", "null"]}, "c": {"$ref": "#/definitions/C"}},
    "required": ["a"],
    "definitions": {"C": {"type": "object", "properties": {"d": {"enum": ["x"]}}}},
}


def test_openai_keeps_what_it_takes_and_is_told_the_rest() -> None:
    strict = strict_schema(Trip.model_json_schema())
    assert strict is not None
    assert strict["properties"] == {
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "code": {"type": "string", "pattern": "^[A-Z]+$", "description": "(minLength: 2)"},
        "stops": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 5},
    }


def test_anthropic_takes_fewer_keywords_and_leaves_optional_fields_optional() -> None:
    strict = strict_schema(Trip.model_json_schema(), ANTHROPIC)
    assert strict is not None
    assert strict["properties"] == {
        "days": {"type": "integer", "description": "(maximum: 9) (minimum: 1)"},
        "code": {"type": "string", "description": '(minLength: 2) (pattern: "^[A-Z]+$")'},
        "stops": {"type": "array", "items": {"type": "string"}, "description": "(maxItems: 5) (minItems: 2)"},
    }
    assert strict_schema(OPTIONAL, ANTHROPIC) == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "c": {"$ref": "#/$defs/C"},
        },
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"C": {"type": "object", "properties": {"d": {"enum": ["x"]}}, "additionalProperties": False}},
    }


def test_for_openai_what_can_be_left_out_may_be_null_and_null_is_left_out_again() -> None:
    strict = strict_schema(OPTIONAL)
    assert strict is not None
    assert strict["required"] == ["a", "b", "c"]
    assert strict["properties"] == {
        "a": {"type": "string"},
        "b": {"type": ["integer", "null"]},
        "c": {"anyOf": [{"$ref": "#/$defs/C"}, {"type": "null"}]},
    }
    assert without_spare_nulls(OPTIONAL, {"a": "x", "b": None, "c": None}) == {"a": "x", "b": None}
    assert without_spare_nulls(OPTIONAL, {"a": None, "b": 1, "c": {"d": None}}) == {"a": None, "b": 1, "c": {}}


def test_nulls_are_left_out_in_lists_and_in_the_variant_that_fits() -> None:
    one = {"type": "object", "properties": {"kind": {"const": "one"}, "x": {"type": "integer"}}, "required": ["kind"]}
    two = {"type": "object", "properties": {"kind": {"const": "two"}, "y": {"type": "integer"}}, "required": ["kind"]}
    schema = {"type": "object", "properties": {"of": {"type": "array", "items": {"anyOf": [one, two]}}}}
    written: dict[str, Any] = {"of": [{"kind": "one", "x": None}, {"kind": "two", "y": None}, {"kind": "two", "y": 2}]}
    assert without_spare_nulls(schema, written) == {"of": [{"kind": "one"}, {"kind": "two"}, {"kind": "two", "y": 2}]}


def test_a_recursive_schema_is_strict_for_openai_alone() -> None:
    assert strict_schema(Node.model_json_schema()) is not None
    assert strict_schema(Node.model_json_schema(), ANTHROPIC) is None


def test_a_schema_deeper_than_openai_takes_is_not_strict() -> None:
    def nested(depth: int) -> dict[str, Any]:
        return {"type": "object", "properties": {"in": nested(depth - 1) if depth else {"type": "string"}}, "required": ["in"]}

    assert strict_schema(nested(9)) is not None
    assert strict_schema(nested(12)) is None
