"""Schemas become strict where that keeps their meaning."""

from __future__ import annotations

import copy
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AnyUrl, BaseModel, Field

from minference.clients.schemas import strict_schema


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
            "site": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}]},
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
