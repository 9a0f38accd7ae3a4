"""Whatever fits a strict schema fits the tool's own, once spare nulls are out: over schemas and values of all kinds."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minference.clients.schemas import ANTHROPIC, GUIDED, OPENAI, strict_schema
from minference.testing.rules import anthropic_problem, openai_problem
from minference.threads.nulls import without_spare_nulls

Schema = dict[str, Any]

_NAMES = st.sampled_from(["a", "b", "c", "d"])
_KINDS: list[Schema] = [
    {"type": "string"},
    {"type": "integer", "minimum": 1, "maximum": 5},
    {"type": ["boolean", "null"]},
    {"type": "null"},
    {"enum": ["x", "y", None]},
    {"const": "k"},
    {"type": "string", "title": "T", "examples": ["e"]},
    {"$ref": "#/$defs/Leaf"},
    {"$ref": "#/$defs/Maybe", "description": "One of them."},
]
_LEAVES = st.sampled_from(_KINDS)
DEFINITIONS: Schema = {
    "Leaf": {"type": "object", "properties": {"n": {"type": "integer"}, "o": {"type": "string"}}, "required": ["n"]},
    "Maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
}


def objects(parts: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """Objects of which some properties can be left out, some with a default."""

    def build(properties: dict[str, Schema], required: set[str], defaults: set[str]) -> Schema:
        told = {name: {**part, "default": None} if name in defaults - required else part for name, part in properties.items()}
        return {"type": "object", "properties": told, "required": sorted(required & properties.keys())}

    return st.builds(build, st.dictionaries(_NAMES, parts, max_size=4), st.sets(_NAMES), st.sets(_NAMES))


def containers(parts: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    lists = parts.map(lambda part: {"type": "array", "items": part})
    unions = st.lists(parts, min_size=1, max_size=2).map(lambda variants: {"anyOf": variants})
    return objects(parts) | lists | unions


SCHEMAS = objects(st.recursive(_LEAVES, containers, max_leaves=6)).map(lambda schema: {**schema, "$defs": DEFINITIONS})


@st.composite
def values(draw: st.DrawFn, node: Schema, root: Schema) -> Any:
    """A value that a strict decoder could write."""
    if "$ref" in node:
        return draw(values(root["$defs"][node["$ref"].rpartition("/")[2]], root))
    if "anyOf" in node:
        return draw(values(draw(st.sampled_from(node["anyOf"])), root))
    if "enum" in node or "const" in node:
        return draw(st.sampled_from(node["enum"] if "enum" in node else [node["const"]]))
    kind = node["type"] if isinstance(node["type"], str) else draw(st.sampled_from(node["type"]))
    match kind:
        case "object":
            left_out = node["properties"].keys() - set(node.get("required", ()))
            written = [name for name in node["properties"] if name not in left_out or draw(st.booleans())]
            return {name: draw(values(node["properties"][name], root)) for name in written}
        case "array":
            return draw(st.lists(values(node["items"], root), max_size=2))
        case "integer":
            return draw(st.integers(node.get("minimum", 1), node.get("maximum", 5)))
        case "boolean":
            return draw(st.booleans())
        case "null":
            return None
        case _:
            return draw(st.sampled_from(["", "text"]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data(), SCHEMAS, st.sampled_from([OPENAI, GUIDED]))
def test_what_a_strict_decoder_writes_fits_the_schema_that_was_meant(data: st.DataObject, schema: Schema, rules: Any) -> None:
    strict = strict_schema(schema, rules)
    assert strict is not None
    written = data.draw(values(strict, strict))
    assert jsonschema_rs.is_valid(strict, written)
    assert jsonschema_rs.is_valid(schema, without_spare_nulls(schema, written))


@settings(max_examples=100, deadline=None)
@given(SCHEMAS)
def test_strict_schemas_keep_to_the_rules_of_their_vendors(schema: Schema) -> None:
    tool = {"name": "t", "strict": True}
    said: Schema = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    openai, anthropic = strict_schema(schema, OPENAI), strict_schema(schema, ANTHROPIC)
    assert openai_problem({**said, "tools": [{"type": "function", "function": {**tool, "parameters": openai}}]}, set()) is None
    assert anthropic_problem({**said, "tools": [{**tool, "input_schema": anthropic}]}, set(), "") is None


def test_spare_nulls_go_in_the_items_of_a_list_that_may_be_missing() -> None:
    """`list[Item] | None`, as pydantic writes it."""
    item = {"type": "object", "properties": {"name": {"type": "string"}, "unit": {"type": "string"}}, "required": ["name"]}
    items = {"anyOf": [{"type": "array", "items": item}, {"type": "null"}]}
    schema: Schema = {"type": "object", "properties": {"items": items}, "required": ["items"]}
    assert without_spare_nulls(schema, {"items": [{"name": "a", "unit": None}]}) == {"items": [{"name": "a"}]}
    assert without_spare_nulls(schema, {"items": None}) == {"items": None}
