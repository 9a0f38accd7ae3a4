"""JSON schemas in the form that strict decoding asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
_IMPOSSIBLE = {
    "patternProperties",
    "prefixItems",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
}
_DROPPED = {"title", "discriminator", "$schema", "$id", "examples"}


class _NotStrict(Exception):
    """The schema allows what strict decoding cannot."""


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema with every object closed and every property required; `None` if that would change its meaning.

    Objects with free keys, values of any type, tuples and conditions cannot be strict. Defaults, which strict decoding
    does not know, are told in the description.
    """
    root = dict(schema)
    try:
        if "$ref" in root:
            root = {**_resolve(root["$ref"], root), **{key: value for key, value in root.items() if key in ("$defs", "definitions")}}
        strict = _strict(root, root, ())
    except _NotStrict:
        return None
    return strict if strict.get("type") == "object" else None


def _strict(node: Any, root: Mapping[str, Any], expanding: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(node, Mapping) or _IMPOSSIBLE & node.keys():
        raise _NotStrict
    if "$ref" in node:
        return _reference(node, root, expanding)
    if len(node.get("allOf", ())) == 1:
        only = node["allOf"][0]
        return _strict({**only, **{key: value for key, value in node.items() if key != "allOf"}}, root, expanding)
    if "allOf" in node or not node.keys() & {"type", "anyOf", "oneOf", "enum", "const"}:
        raise _NotStrict
    out = {key: value for key, value in node.items() if key not in _DROPPED | {"default", "oneOf"}}
    if node.get("default") is not None:
        out["description"] = f"{node.get('description', '')} (default: {to_json(node['default']).decode()})".strip()
    if "format" in out and out["format"] not in _FORMATS:
        del out["format"]
    for key in ("$defs", "definitions"):
        if key in node:
            out[key] = {name: _strict(part, root, expanding) for name, part in node[key].items()}
    if variants := node.get("anyOf", node.get("oneOf")):
        out["anyOf"] = [_strict(variant, root, expanding) for variant in variants]
    return _containers(node, out, root, expanding)


def _containers(node: Mapping[str, Any], out: dict[str, Any], root: Mapping[str, Any], expanding: tuple[str, ...]) -> dict[str, Any]:
    kinds = node["type"] if isinstance(node.get("type"), list) else [node.get("type")]
    if "object" in kinds:
        if node.get("additionalProperties", False) is not False or "properties" not in node:
            raise _NotStrict
        out["properties"] = {name: _strict(part, root, expanding) for name, part in node["properties"].items()}
        out["required"] = list(node["properties"])
        out["additionalProperties"] = False
    if "array" in kinds:
        out["items"] = _strict(node.get("items"), root, expanding)
    return out


def _reference(node: Mapping[str, Any], root: Mapping[str, Any], expanding: tuple[str, ...]) -> dict[str, Any]:
    """A reference stands alone: with anything beside it, what it refers to is written out, except inside of itself."""
    ref = node["$ref"]
    beside = {key: value for key, value in node.items() if key != "$ref" and key not in _DROPPED and (key, value) != ("default", None)}
    target = _resolve(ref, root)
    if not beside or ref in expanding:
        return {"$ref": ref}
    return _strict({**target, **beside}, root, (*expanding, ref))


def _resolve(ref: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(ref, str) or not ref.startswith("#/"):
        raise _NotStrict
    found: Any = root
    for part in ref[2:].split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise _NotStrict
    return dict(found)
