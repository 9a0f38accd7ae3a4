"""Null where a schema says nothing of it: what strict decoding makes of a property that may be left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from minference.threads.schemas import schema_validator


def without_spare_nulls(schema: Mapping[str, Any], value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The object without properties that are null although they may only be left out: strict decoding leaves models no other way."""
    cleaned = _without_nulls(schema, schema, value)
    return cleaned if isinstance(cleaned, dict) else value


def takes_null(node: Any, root: Mapping[str, Any]) -> bool:
    """Whether null fits this part of the schema `root`."""
    node = _followed(node, root)
    kinds = node.get("type")
    if kinds is not None:
        return "null" in ([kinds] if isinstance(kinds, str) else kinds)
    if "enum" in node or "const" in node:
        return None in node.get("enum", (node.get("const", ""),))
    variants = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    return any(takes_null(each, root) for each in variants) if variants else True


def _without_nulls(node: Any, root: Mapping[str, Any], value: JsonValue) -> JsonValue:
    node = _followed(node, root)
    if isinstance(value, list) and isinstance(items := node.get("items"), Mapping):
        return [_without_nulls(items, root, each) for each in value]
    if not isinstance(value, dict | list):
        return value
    variants = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    if variants and "properties" not in node:
        return _by_variant(variants, root, value)
    if isinstance(value, list):
        return value
    parts, required = node.get("properties", {}), node.get("required", ())
    spare = {name for name, each in value.items() if each is None and name in parts and name not in required}
    return {
        name: _without_nulls(parts[name], root, each) if name in parts else each
        for name, each in value.items()
        if name not in spare or takes_null(parts[name], root)
    }


def _by_variant(variants: Sequence[Any], root: Mapping[str, Any], value: JsonValue) -> JsonValue:
    """The value as the first variant has it that it fits then."""
    definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
    for variant in variants:
        tried = _without_nulls(variant, root, value)
        if isinstance(variant, Mapping) and schema_validator("variant", {**variant, **definitions}).is_valid(tried):
            return tried
    return value


def _followed(node: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference inside the schema refers to; `{}` for what is no schema of an object's parts."""
    for _ in range(32):  # a reference may refer to another, but hardly for ever
        if not isinstance(node, Mapping):
            return {}
        if "$ref" not in node:
            return node
        target: Any = root
        for part in str(node["$ref"]).removeprefix("#/").split("/"):
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
        node = target
    return {}
