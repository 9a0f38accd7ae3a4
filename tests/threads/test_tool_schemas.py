"""JSON schemas are data: checked when they are given, without any I/O, and kept as the contract of what fits them."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, ValidationError, field_validator

from minference.ecs.cold import FrozenList, freeze
from minference.errors import InvalidToolArguments, InvalidToolSchema
from minference.threads.schemas import check_schema, schema_validator
from minference.threads.tools import CallableTool, StructuredTool


class Review(BaseModel):
    """What a critic thinks."""

    title: str
    stars: int = Field(ge=1, le=5)

    @field_validator("title")
    @classmethod
    def _is_not_shouted(cls, title: str) -> str:
        if title.isupper():
            raise ValueError("do not shout")
        return title


class Node(BaseModel):
    """A tree."""

    name: str
    children: list[Node] = []


NO_OBJECT = "at the top it must say 'type': 'object', because a tool takes named arguments"
OBJECT: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server on this machine that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "{url}/a.json"}}},
        {"type": "object", "$ref": "{url}/a.json"},
        {"type": "object", "$dynamicRef": "{url}/a.json"},
        {"type": "object", "$schema": "{url}/meta.json"},
        {"type": "object", "$id": "{url}/base.json", "properties": {"a": {"$ref": "other.json#/x"}}},
        {"type": "object", "allOf": [{"not": {"items": {"$ref": "{url}/a.json#/$defs/x"}}}]},
    ],
)
def test_a_schema_reaches_no_network(listener: socket.socket, schema: dict[str, Any]) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def with_url(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: with_url(item) for key, item in value.items()}
        if isinstance(value, list):
            return [with_url(item) for item in value]
        return value.replace("{url}", url)

    with pytest.raises(InvalidToolSchema, match=url):
        StructuredTool.from_json_schema("spy", with_url(schema))
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_a_schema_reads_no_file() -> None:
    with pytest.raises(InvalidToolSchema, match="refers to 'file:///etc/hostname', and nothing outside of a schema is fetched"):
        StructuredTool.from_json_schema("spy", {"type": "object", "properties": {"a": {"$ref": "file:///etc/hostname"}}})


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "objekt"}, "type: \"objekt\" is not valid under any of the schemas listed in the 'anyOf' keyword"),
        ({"type": "object", "properties": []}, 'properties: [] is not of type "object"'),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/gone"}}}, "Pointer '/$defs/gone' does not exist"),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, 'properties.a.pattern: "(" is not a "regex"'),
        ({}, f"{NO_OBJECT}, and it says no type"),
        ({"type": "array"}, f"{NO_OBJECT}, and it says 'array': wrap it into an object with one property"),
        ({"type": "object", "maximum": float("nan")}, "it cannot be written as JSON (Out of range float values are not JSON compliant)"),
        ({"type": "object", "title": object}, "it cannot be written as JSON (Object of type type is not JSON serializable)"),
    ],
)
def test_an_invalid_schema_is_refused_with_the_reason(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidToolSchema) as caught:
        StructuredTool.from_json_schema("answer", schema)
    assert (caught.value.name, caught.value.reason) == ("answer", reason)


def test_a_schema_nested_beyond_reason_is_refused() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(5_000):
        schema = {"type": "object", "properties": {"a": schema}}
    with pytest.raises(InvalidToolSchema):
        StructuredTool.from_json_schema("deep", schema)


def test_schemas_are_checked_on_construction_and_on_assignment() -> None:
    with pytest.raises(ValidationError, match="tool 'answer' has an invalid JSON schema"):
        StructuredTool(name="answer", json_schema={"type": "objekt"})
    with pytest.raises(ValidationError, match="tool 'run' has an invalid JSON schema"):
        CallableTool(name="run", input_schema={"type": "array"})
    with pytest.raises(ValidationError, match="tool 'run' has an invalid JSON schema"):
        CallableTool(name="run", input_schema=OBJECT, output_schema={"type": "objekt"})
    tool = StructuredTool.from_json_schema("answer", OBJECT)
    with pytest.raises(ValidationError, match="tool 'answer' has an invalid JSON schema"):
        tool.json_schema = {"type": "objekt"}
    assert tool.json_schema == OBJECT


def test_an_output_schema_need_not_be_an_object() -> None:
    assert CallableTool(name="run", input_schema=OBJECT, output_schema={"type": "array"}).output_schema == {"type": "array"}


def test_from_pydantic_says_what_the_model_says() -> None:
    tool = StructuredTool.from_pydantic(Review)
    assert (tool.name, tool.description, tool.json_schema) == ("Review", "What a critic thinks.", Review.model_json_schema())
    other = StructuredTool.from_pydantic(Review, name="critic", description="Review it.")
    assert (other.name, other.description) == ("critic", "Review it.")


def test_a_recursive_model_has_an_object_at_the_top() -> None:
    tool = StructuredTool.from_pydantic(Node)
    assert (tool.json_schema["type"], "$ref" in tool.json_schema) == ("object", False)
    assert tool.parse('{"name": "root", "children": [{"name": "leaf"}]}') == Node(name="root", children=[Node(name="leaf")])


def test_a_model_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidToolSchema, match="it says 'array': wrap it into an object"):
        StructuredTool.from_pydantic(RootModel[list[int]], name="numbers")


def test_a_model_without_json_schema_is_refused() -> None:
    class Odd(BaseModel, arbitrary_types_allowed=True):
        thing: socket.socket

    with pytest.raises(InvalidToolSchema, match="Odd"):
        StructuredTool.from_pydantic(Odd)


@pytest.mark.parametrize("answer", ['{"title": "Dune", "stars": 4}', {"title": "Dune", "stars": 4}])
def test_a_valid_answer_becomes_an_object_of_the_class(answer: str | dict[str, Any]) -> None:
    assert StructuredTool.from_pydantic(Review).parse(answer) == Review(title="Dune", stars=4)


def test_without_a_class_a_valid_answer_is_a_plain_object() -> None:
    tool = StructuredTool.from_json_schema("answer", OBJECT)
    assert (tool.model_class, tool.parse('{"a": 1}'), tool.validate_object({"a": 1})) == (None, {"a": 1}, {"a": 1})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"title": "Dune"}, '"stars" is a required property'),
        ({"title": "Dune", "stars": 9}, "stars: 9 is greater than the maximum of 5"),
        ({"title": 1, "stars": "4"}, 'title: 1 is not of type "string"; stars: "4" is not of type "integer"'),
        ({"title": "DUNE", "stars": 4}, "title: Value error, do not shout (got 'DUNE')"),
        ("[1]", "the answer is a JSON list, and an object is wanted"),
        ('{"title": "Dune", "stars": 1e999}', "a number is too large"),
        ('{"title": ', "'{\"title\": ' is not JSON (EOF while parsing a value at line 1 column 10)"),
        ({"title": "\ud800", "stars": 4}, None),
        ({"title": "Dune", "stars": float("nan")}, None),
        ({"title": "Dune", "stars": object()}, None),
    ],
)
def test_an_invalid_answer_is_never_taken_for_structured_output(answer: Any, reason: str | None) -> None:
    with pytest.raises(InvalidToolArguments) as caught:
        StructuredTool.from_pydantic(Review).parse(answer)
    assert reason is None or caught.value.reason == reason


def test_a_list_of_errors_is_cut() -> None:
    tool = StructuredTool.from_json_schema("many", {"type": "object", "additionalProperties": {"type": "integer"}})
    with pytest.raises(InvalidToolArguments) as caught:
        tool.validate_object({f"k{n}": "x" * 500 for n in range(50)})
    assert caught.value.reason.endswith("; ...")
    assert len(caught.value.reason) < 1_000


def test_a_tool_made_elsewhere_finds_the_class_of_the_same_name_and_schema() -> None:
    made = StructuredTool.from_pydantic(Review)
    loaded = StructuredTool(name=made.name, json_schema=dict(reversed(made.json_schema.items())))
    assert loaded.model_class is Review
    assert loaded.parse({"title": "Dune", "stars": 4}) == Review(title="Dune", stars=4)


def test_the_tool_of_a_cold_snapshot_works_like_a_warm_one() -> None:
    tool = StructuredTool.from_pydantic(Review)
    object.__setattr__(tool, "__dict__", {**tool.__dict__, "json_schema": freeze(tool.json_schema)})
    assert isinstance(tool.json_schema["required"], FrozenList)
    assert tool.parse({"title": "Dune", "stars": 4}) == Review(title="Dune", stars=4)


def test_an_edited_schema_no_longer_claims_the_class() -> None:
    tool = StructuredTool.from_pydantic(Review)
    tool.json_schema = {**tool.json_schema, "properties": {"title": {"type": "string"}}, "required": ["title"]}
    assert (tool.model_class, tool.parse({"title": "Dune"})) == (None, {"title": "Dune"})


def test_two_classes_of_one_name_do_not_disturb_each_other() -> None:
    def reviews(**fields: Any) -> type[BaseModel]:
        return type("Review", (BaseModel,), {"__module__": __name__, "__annotations__": fields})

    one, other = StructuredTool.from_pydantic(reviews(text=str)), StructuredTool.from_pydantic(reviews(marks=int))
    assert one.parse({"text": "good"}).__class__ is one.model_class
    assert other.parse({"marks": 1}).__class__ is other.model_class
    assert one.model_class is not other.model_class


def test_a_class_lives_as_long_as_its_tool() -> None:
    tool = StructuredTool.from_pydantic(type("Brief", (BaseModel,), {"__module__": __name__, "__annotations__": {"text": str}}))
    gc.collect()
    assert tool.model_class is not None
    name, schema = tool.name, tool.json_schema
    del tool
    gc.collect()
    assert StructuredTool(name=name, json_schema=schema).model_class is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
keywords = st.sampled_from(
    ["type", "properties", "required", "$ref", "$defs", "anyOf", "enum", "minimum", "pattern", "$id", "$schema", "items"]
)


@given(st.dictionaries(keywords, json_values, max_size=5).map(lambda schema: {"type": "object", **schema}))
def test_no_schema_does_anything_but_be_accepted_or_refused(schema: dict[str, Any]) -> None:
    try:
        check_schema("any", schema)
    except InvalidToolSchema:
        return
    assert schema_validator("any", schema).is_valid([]) is False
