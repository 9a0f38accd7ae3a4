"""JSON schemas in the form that strict decoding asks for, by the rules of each vendor. Pure.

A keyword that a vendor does not take is told in the description instead: what comes back is validated against the tool's
own schema in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from minference.threads.nulls import takes_null

_STRUCTURE = {"type", "anyOf", "oneOf", "enum", "const", "properties", "required", "additionalProperties", "items", "description"}
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
    "$dynamicRef",
}
_DROPPED = {"title", "discriminator", "$schema", "$id", "$comment", "examples", "example", "deprecated", "readOnly", "writeOnly"}
_DEFINITIONS = ("$defs", "definitions")
_NULL = {"type": "null"}


@dataclass(frozen=True, slots=True)
class Rules:
    """What a vendor's strict decoding takes."""

    keywords: Set[str] | None
    """Beside those that make up the structure of a schema; `None` for all."""
    formats: Set[str] | None
    """`None` for all."""
    all_required: bool
    """Whether every property must be required: one that can be left out may be null instead."""
    recursion: bool
    """Whether a schema may contain itself."""
    nesting: int = 1_000
    """Objects and lists inside of one another."""
    properties: int = 5_000
    """Of all objects together."""


_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_NUMBERS = {"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
OPENAI = Rules(frozenset({"pattern", "minItems", "maxItems", *_NUMBERS}), _FORMATS, all_required=True, recursion=True, nesting=10)
GUIDED = Rules(None, None, all_required=True, recursion=True)
ANTHROPIC = Rules(frozenset(), _FORMATS | {"uri"}, all_required=False, recursion=False)


class _NotStrict(Exception):
    """The schema allows what strict decoding cannot."""


def strict_schema(schema: Mapping[str, Any], rules: Rules = OPENAI) -> dict[str, Any] | None:
    """The schema with every object closed; `None` if that would change its meaning.

    Objects with free keys, values of any type, tuples and conditions cannot be strict. Defaults, which strict decoding
    does not know, are told in the description. Where every property must be required, one without a default that can be
    left out may be null: `minference.threads.schemas.without_spare_nulls` takes that back.
    """
    root = dict(schema)
    try:
        if "$ref" in root:
            root = {**_resolve(root["$ref"], root), **{key: value for key, value in root.items() if key in _DEFINITIONS}}
        strict = _Strict(root, rules).node(root, ())
        _require_small(strict, rules)
        if not rules.recursion and _is_recursive(strict):
            raise _NotStrict
    except (_NotStrict, RecursionError):
        return None
    return strict if strict.get("type") == "object" and "anyOf" not in strict else None


@dataclass(frozen=True, slots=True)
class _Strict:
    """One walk through a schema."""

    root: Mapping[str, Any]
    rules: Rules

    def node(self, node: Any, expanding: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(node, Mapping) or _IMPOSSIBLE & node.keys():
            raise _NotStrict
        if "$ref" in node:
            return self._reference(node, expanding)
        if len(node.get("allOf", ())) == 1:
            return self.node({**node["allOf"][0], **{key: value for key, value in node.items() if key != "allOf"}}, expanding)
        if "allOf" in node or not node.keys() & {"type", "anyOf", "oneOf", "enum", "const"}:
            raise _NotStrict
        if isinstance(node.get("type"), list | tuple) and not self.rules.all_required:
            return self.node(_one_type_each(node), expanding)
        out = self._plain(node)
        if variants := node.get("anyOf", node.get("oneOf")):
            out["anyOf"] = [self.node(variant, expanding) for variant in variants]
        return self._containers(node, out, expanding)

    def _plain(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """What is no schema of its own, and the definitions."""
        out: dict[str, Any] = {}
        told: list[str] = []
        for key, value in node.items():
            if key in _DEFINITIONS:
                out["$defs"] = {name: self.node(part, ()) for name, part in value.items()}
            elif key in _DROPPED or (key, value) == ("default", None) or key in ("oneOf", "anyOf"):
                continue
            elif key in _STRUCTURE or self._is_kept(key, value):
                out[key] = value
            else:
                told.append(f"({key}: {to_json(value).decode()})")
        if told:
            out["description"] = " ".join([*filter(None, [node.get("description")]), *told])
        return out

    def _is_kept(self, key: str, value: Any) -> bool:
        if key == "format":
            return self.rules.formats is None or value in self.rules.formats
        if key == "default" or self.rules.keywords is not None:
            return key in (self.rules.keywords or ()) or (key == "minItems" and value in (0, 1))
        return True

    def _containers(self, node: Mapping[str, Any], out: dict[str, Any], expanding: tuple[str, ...]) -> dict[str, Any]:
        kinds = node["type"] if isinstance(node.get("type"), list | tuple) else [node.get("type")]
        if "object" in kinds:
            if node.get("additionalProperties", False) is not False or "properties" not in node:
                raise _NotStrict
            needed = list(node.get("required", ()))
            if set(needed) - node["properties"].keys():
                raise _NotStrict
            out["properties"] = {name: self._property(part, name in needed, expanding) for name, part in node["properties"].items()}
            if self.rules.all_required:
                out["required"] = list(node["properties"])
            out["additionalProperties"] = False
        if "array" in kinds:
            out["items"] = self.node(node.get("items"), expanding)
        return out

    def _property(self, part: Any, required: bool, expanding: tuple[str, ...]) -> dict[str, Any]:
        strict = self.node(part, expanding)
        spare = not required and self.rules.all_required and "default" not in part and not takes_null(part, self.root)
        return {"anyOf": [strict, _NULL]} if spare else strict

    def _reference(self, node: Mapping[str, Any], expanding: tuple[str, ...]) -> dict[str, Any]:
        """A reference stands alone: with anything beside it, what it refers to is written out, except inside of itself."""
        ref = node["$ref"]
        kept = {key: value for key, value in node.items() if key != "$ref" and key not in _DROPPED | set(_DEFINITIONS)}
        beside = {key: value for key, value in kept.items() if (key, value) != ("default", None)}
        target = _resolve(ref, self.root)
        if not beside or ref in expanding:
            return {"$ref": ref.replace("#/definitions/", "#/$defs/")}
        return self.node({**target, **beside}, (*expanding, ref))


def _one_type_each(node: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a variant for each of its types."""
    rest = {key: value for key, value in node.items() if key not in ("type", "description", *_DEFINITIONS)}
    kept = {key: value for key, value in node.items() if key in ("description", *_DEFINITIONS)}
    return {**kept, "anyOf": [dict(_NULL) if kind == "null" else {**rest, "type": kind} for kind in node["type"]]}


def _require_small(strict: Mapping[str, Any], rules: Rules) -> None:
    if sum(len(node.get("properties", ())) for node, _ in _nodes(strict, 0)) > rules.properties:
        raise _NotStrict
    if any(depth > rules.nesting for _, depth in _nodes(strict, 0)):
        raise _NotStrict


def _nodes(node: Mapping[str, Any], depth: int) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Every schema inside of this one, itself first, and in how many objects and lists it is."""
    yield node, depth
    for part in node.get("$defs", {}).values():
        yield from _nodes(part, 0)
    for part in node.get("anyOf", ()):
        yield from _nodes(part, depth)
    inner = [*node.get("properties", {}).values(), *([node["items"]] if "items" in node else [])]
    for part in inner:
        yield from _nodes(part, depth + 1)


def _is_recursive(strict: Mapping[str, Any]) -> bool:
    inside = {name: _references(part) for name, part in strict.get("$defs", {}).items()}
    return "#" in _references(strict) or any(name in _reachable(name, inside) for name in inside)


def _references(node: Mapping[str, Any]) -> set[str]:
    """The names of the definitions that are referred to."""
    return {part["$ref"].rpartition("/")[2] for part, _ in _nodes(node, 0) if "$ref" in part}


def _reachable(start: str, inside: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(inside.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += inside.get(name, ())
    return found


def optional_and_unions(strict: Mapping[str, Any]) -> tuple[int, int]:
    """How many properties can be left out, and how many values have several forms."""
    nodes = [node for node, _ in _nodes(strict, 0)]
    optional = sum(len(node.get("properties", {}).keys() - set(node.get("required", ()))) for node in nodes)
    return optional, sum("anyOf" in node for node in nodes)


def _resolve(ref: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(ref, str) or not ref.startswith("#/"):
        raise _NotStrict
    found: Any = root
    for part in ref[2:].split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise _NotStrict
    return dict(found)
