"""What the provider for tests makes up fits the schema that is asked for."""

from __future__ import annotations

import re
import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import UUID4, AnyUrl, BaseModel, Field, Json, create_model
from pydantic_core import to_json

from minference.clients.base import Client
from minference.clients.schemas import ANTHROPIC, OPENAI, strict_schema
from minference.errors import UnusableValue
from minference.testing import ProviderServer
from minference.testing.examples import example
from minference.testing.patterns import matching
from minference.threads.config import ResponseFormat
from minference.threads.tools import StructuredTool
from tests.clients.threads import asked

WORDS = "Go, and say it at some length, please."


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Linked(BaseModel):
    value: str = Field(max_length=10)
    following: Linked | None = None


class Literally(BaseModel):
    kind: Literal["literally"]
    value: float


class Sum(BaseModel):
    kind: Literal["sum"]
    left: Expression
    right: Expression


class Negative(BaseModel):
    kind: Literal["negative"]
    inner: Expression


Expression = Annotated[Sum | Negative | Literally, Field(discriminator="kind")]


class Formula(BaseModel):
    named: dict[str, Expression] = Field(min_length=2)
    steps: list[Expression] = Field(min_length=1)


class Chain(BaseModel):
    then: Rings


class Rings(BaseModel):
    chains: list[Chain]


class Colour(Enum):
    red = "red"
    blue = "blue"


RECURSIVE: list[type[BaseModel]] = [Node, Linked, Formula, Chain]
TYPES: list[Any] = [
    tuple[int, str, bool],
    tuple[int, ...],
    dict[str, int],
    Annotated[dict[str, int], Field(min_length=3)],
    Annotated[dict[Annotated[str, Field(pattern="^k[0-9]$")], int], Field(min_length=1)],
    Annotated[str, Field(min_length=1, max_length=20)],
    Annotated[str, Field(min_length=100)],
    Annotated[str, Field(pattern=r"^\d{3}$")],
    Annotated[str, Field(pattern=r"^[A-Z]{2,4}-(foo|bar)[^a-z]+$", min_length=12, max_length=14)],
    Annotated[list[int], Field(min_length=3, max_length=4)],
    Annotated[list[Node], Field(max_length=0)],
    Annotated[set[str], Field(min_length=3)],
    Annotated[frozenset[Colour], Field(min_length=2)],
    Annotated[int, Field(ge=5, le=6)],
    Annotated[int, Field(gt=3, multiple_of=5)],
    Annotated[int, Field(lt=0)],
    Annotated[float, Field(gt=0, lt=1)],
    Annotated[float, Field(gt=0.25, multiple_of=0.1)],
    Annotated[set[float], Field(min_length=3)],
    Annotated[Decimal, Field(gt=0, max_digits=5)],
    Colour,
    Literal["x", 3],
    datetime,
    date,
    time,
    timedelta,
    uuid.UUID,
    UUID4,
    IPv4Address,
    IPv6Address,
    AnyUrl,
    Json[int],
    int | None,
    Any,
]


def _forms(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The schema as it is, and as the vendors' strict decoding is sent it."""
    schema = model.model_json_schema()
    return [schema, *filter(None, (strict_schema(schema, rules) for rules in (OPENAI, ANTHROPIC)))]


@pytest.mark.parametrize("model", [*RECURSIVE, *(create_model("Holder", value=(kind, ...)) for kind in TYPES)], ids=repr)
def test_a_value_that_is_made_up_is_one_of_the_model(model: type[BaseModel]) -> None:
    for schema in _forms(model):
        for words in (WORDS, "", None):
            made = to_json(example(schema, words))
            model.model_validate_json(made)
            assert len(made) < 2_000, "small"


@pytest.mark.parametrize(
    "schema",
    [
        {
            "$ref": "#/definitions/a~1b",
            "definitions": {"a/b": {"type": "object", "required": ["self"], "properties": {"self": {"type": "null"}}}},
        },
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}, {"const": "a"}], "additionalItems": False},
        {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"const": 5}}, "required": ["b"]}]},
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "anyOf": [{"required": ["b"]}],
            "maxProperties": 1,
        },
        {"type": "object", "required": ["free"], "additionalProperties": {"type": "number", "maximum": -2.5}},
        {"type": ["null", "string"], "enum": [None, "a"]},
        {"anyOf": [{"$ref": "#"}, {"type": "boolean"}]},
        {"items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2, "type": "array"},
        True,
    ],
)
def test_a_value_that_is_made_up_fits_schemas_of_other_origins(schema: Any) -> None:
    jsonschema_rs.validate(schema, example(schema, WORDS))


@given(st.integers(-20, 20), st.integers(0, 10), st.sampled_from([1, 2, 3, 0.5]), st.booleans(), st.booleans())
def test_numbers_keep_their_limits(least: int, span: int, step: float, open_below: bool, open_above: bool) -> None:
    schema = {
        "type": "number",
        "exclusiveMinimum" if open_below else "minimum": least,
        "exclusiveMaximum" if open_above else "maximum": least + span + 2 * step,
        "multipleOf": step,
    }
    if step <= 1:
        jsonschema_rs.validate(schema, example(schema, None))
    without_step = {name: value for name, value in schema.items() if name != "multipleOf"}
    jsonschema_rs.validate(without_step, example(without_step, None))


def test_a_type_of_which_no_value_ends_is_told() -> None:
    endless = {"$ref": "#/$defs/E", "$defs": {"E": {"type": "object", "properties": {"e": {"$ref": "#/$defs/E"}}, "required": ["e"]}}}
    with pytest.raises(UnusableValue, match="no value that ends fits it: the server needs an `answer` of yours"):
        example(endless, WORDS)


@pytest.mark.parametrize(
    "pattern",
    ["^a{2,}b?c*$", r"\w+@\w+\.(com|org)", r"^(?:x|y)+?[\]a]$", "^[^\\]a-z]$", "", "a|b", r"^\+\d{1,3} [1-9]\d*$", r"^(?P<y>\d{4})-ä$"],
)
@pytest.mark.parametrize("least", [0, 2])
def test_simple_patterns_are_written(pattern: str, least: int) -> None:
    found = matching(pattern, least)
    if found is None:
        assert least, "only a length can be impossible"
    else:
        assert re.search(pattern, found)
        assert len(found) >= least


@pytest.mark.parametrize("pattern", [r"^(?=a)b", r"(a)\1", r"\p{L}", "[", "(?<!a)b", "a{2}{3}"])
def test_other_patterns_are_left(pattern: str) -> None:
    assert matching(pattern) is None
    assert example({"type": "string", "pattern": pattern}, WORDS) == WORDS


@pytest.mark.parametrize("response_format", [ResponseFormat.structured_output, ResponseFormat.tool])
async def test_the_default_answer_is_an_object_of_a_recursive_model(
    client: Client, provider_server: ProviderServer, response_format: ResponseFormat
) -> None:
    provider_server.strict = True
    for model in (Node, Linked):
        thread = asked(client.name, response_format)
        thread.forced_output = StructuredTool.from_pydantic(model)
        reply = client.from_response((await client.send(client.to_request(thread), timeout=30)).payload)
        model.model_validate_json(reply.content or to_json(reply.tool_calls[0].arguments))
