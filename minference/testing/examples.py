"""Values that fit a JSON schema, for what the test provider answers."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, cast

from minference.errors import UnusableValue
from minference.testing.patterns import matching

Schema = Mapping[str, Any]

_FORMATS = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "7d444840-9dc0-41d1-b245-5ffdce74fad2",
    "uuid1": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
    "uuid3": "7d444840-9dc0-31d1-b245-5ffdce74fad2",
    "uuid4": "7d444840-9dc0-41d1-b245-5ffdce74fad2",
    "uuid5": "7d444840-9dc0-51d1-b245-5ffdce74fad2",
}
_TOLD = re.compile(
    r"\((minLength|maxLength|pattern|format|minItems|maxItems|uniqueItems|minimum|maximum|exclusiveMinimum|exclusiveMaximum|multipleOf"
    r"|minProperties|maxProperties|propertyNames|contentSchema): "
)
_DEEP = 6
"""From so many references inside of one another on, a value gets no more than it must have."""


def example(schema: Schema, text: str | None) -> Any:
    """A small value that fits the schema; strings in it are `text` where they may be.

    Limits that are told in a description, as `(maxLength: 20)`, count too. Not looked at are `not`, conditions, and patterns that
    are not simple.

    Raises:
        UnusableValue: Every value would contain itself without end.
    """
    examples = _Examples(schema, text or "", _heights(schema))
    if math.isinf(_height(schema, examples.heights)):
        raise UnusableValue("the schema", dict(schema), "no value that ends fits it: the server needs an `answer` of yours")
    return examples.of(schema, _Place())


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a value we are."""

    inside: tuple[str, ...] = ()
    """The references that are being followed."""
    number: int = 0
    """Which of the items of a list, where they must differ."""
    short: bool = False
    """Whether only what a value must have is wanted, because we have been here before, or deep inside."""

    def within(self, ref: str) -> _Place:
        return replace(self, inside=(*self.inside, ref), short=self.short or ref in self.inside or len(self.inside) >= _DEEP)


@dataclass(frozen=True, slots=True)
class _Examples:
    root: Schema
    text: str
    heights: Mapping[str, float]

    def of(self, schema: Schema | bool, place: _Place) -> Any:
        if isinstance(schema, bool):
            return self.text
        schema = _with_what_is_told(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][place.number % len(schema["enum"])]
        if "$ref" in schema:
            return self.of(_joined(_resolved(schema["$ref"], self.root), _without(schema, "$ref")), place.within(schema["$ref"]))
        if "allOf" in schema:
            return self.of(_joined(_without(schema, "allOf"), *schema["allOf"]), place)
        for several in ("anyOf", "oneOf"):
            if schema.get(several):
                return self.of(_joined(_without(schema, several), self._variant(schema[several], place)), place)
        return self._typed(schema, place)

    def _variant(self, variants: Sequence[Schema], place: _Place) -> Schema:
        """The first that ends, or the one that ends soonest."""
        return min((each for each in variants if self._ends(each)), key=self._height) if place.short else next(filter(self._ends, variants))

    def _height(self, schema: Schema | bool) -> float:
        return _height(schema, self.heights)

    def _ends(self, schema: Schema | bool) -> bool:
        return math.isfinite(self._height(schema))

    def _typed(self, schema: Schema, place: _Place) -> Any:
        kinds = schema.get("type")
        match kinds[0] if isinstance(kinds, list) else kinds or _kind_that_is_meant(schema):
            case "object":
                return self._object(schema, place)
            case "array":
                return self._array(schema, place)
            case "integer":
                return _number(schema, place.number, is_whole=True)
            case "number":
                return _number(schema, place.number, is_whole=False)
            case "boolean":
                return place.number % 2 == 0
            case "null":
                return None
            case _ if "contentSchema" in schema:
                return json.dumps(self.of(schema["contentSchema"], place))
            case _:
                return _string(schema, f"{self.text} {place.number + 1}" if place.number else self.text)

    def _object(self, schema: Schema, place: _Place) -> dict[str, Any]:
        required, properties = schema.get("required", ()), schema.get("properties", {})
        names = [name for name, part in properties.items() if name in required or (not place.short and self._ends(part))]
        spare = [name for name in names if name not in required]
        left_out = spare[max(0, schema.get("maxProperties", len(names)) - (len(names) - len(spare))) :]
        made = {name: self.of(properties[name], place) for name in names if name not in left_out}
        named, value = _free_properties(schema)
        made |= {name: self.of(value, place) for name in required if name not in made}
        for number in range(schema.get("minProperties", 0) - len(made)):
            made[str(replace(self, text="key").of(named, replace(place, number=number)))] = self.of(value, place)
        return made

    def _array(self, schema: Schema, place: _Place) -> list[Any]:
        first, rest = _items(schema)
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        wished = len(first) or int(rest is not False and not place.short and self._ends(rest))
        places = (replace(place, number=number) if schema.get("uniqueItems") else place for number in itertools.count())
        kinds = itertools.chain(first, itertools.repeat(rest))
        length = int(max(least, min(wished, most)))
        return [self.of(kind, where) for kind, where in itertools.islice(zip(kinds, places, strict=False), length)]


def _heights(root: Schema) -> dict[str, float]:
    """How many references must be followed inside of each; one that no value ends is missing."""
    heights: dict[str, float] = {}
    targets = {ref: _resolved(ref, root) for ref in _references(root)}
    changed = True
    while changed:
        found = {ref: _height(target, heights) for ref, target in targets.items()}
        changed = found != {**dict.fromkeys(targets, math.inf), **heights}
        heights = found
    return heights


def _height(schema: Schema | bool, heights: Mapping[str, float]) -> float:
    """How many references must be followed inside of one another for the smallest value; infinite where none ends."""
    if isinstance(schema, bool) or schema.keys() & {"const", "enum"}:
        return 0

    def height(part: Schema | bool) -> float:
        return _height(part, heights)

    parts: list[float] = [1 + heights.get(schema["$ref"], math.inf)] if "$ref" in schema else []
    parts += map(height, schema.get("allOf", ()))
    parts += [min(map(height, schema[several])) for several in ("anyOf", "oneOf") if schema.get(several)]
    _, value = _free_properties(schema)
    parts += [height(schema.get("properties", {}).get(name, value)) for name in schema.get("required", ())]
    parts += [height(value)] if schema.get("minProperties", 0) else []
    first, rest = _items(schema)
    parts += [*map(height, first), *([height(rest)] if schema.get("minItems", 0) > len(first) else [])]
    return max(parts, default=0)


def _references(part: Any) -> set[str]:
    """Every `$ref` in a schema."""
    if isinstance(part, Mapping):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*map(_references, part.values()))
    return set().union(*map(_references, part)) if isinstance(part, list) else set()


def _resolved(ref: str, root: Schema) -> Schema:
    found: Any = root
    for part in ref.removeprefix("#").split("/")[1:]:
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return cast("Schema", found)


def _free_properties(schema: Schema) -> tuple[Schema, Schema | bool]:
    """What the names of properties that have no schema of their own fit, and what their values do."""
    for pattern, value in schema.get("patternProperties", {}).items():
        return {"type": "string", "pattern": pattern}, value
    return {"type": "string", **schema.get("propertyNames", {})}, schema.get("additionalProperties", True)


def _items(schema: Schema) -> tuple[Sequence[Schema | bool], Schema | bool]:
    """What the first items fit, each its own, and what the others do; in the old spelling as well."""
    items = schema.get("items", True)
    return (items, schema.get("additionalItems", True)) if isinstance(items, list) else (schema.get("prefixItems", ()), items)


def _without(schema: Schema, key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}


def _joined(*schemas: Schema) -> dict[str, Any]:
    """One schema for what fits all of them, where they do not contradict each other."""
    joined: dict[str, Any] = {}
    for schema in schemas:
        properties = {**joined.get("properties", {}), **schema.get("properties", {})}
        required = list(dict.fromkeys([*joined.get("required", ()), *schema.get("required", ())]))
        joined |= schema
        joined |= {"properties": properties} if properties else {}
        joined |= {"required": required} if required else {}
    return joined


def _with_what_is_told(schema: Schema) -> Schema:
    """The schema with the limits that its description tells, where a vendor's strict schemas have no keyword for them."""
    told: dict[str, Any] = {}
    for found in _TOLD.finditer(str(schema.get("description", ""))):
        try:
            told[found[1]], _ = json.JSONDecoder().raw_decode(schema["description"], found.end())
        except ValueError:
            continue
    return {**told, **schema} if told else schema


def _kind_that_is_meant(schema: Schema) -> str:
    if schema.keys() & {"properties", "required", "additionalProperties", "minProperties"}:
        return "object"
    return "array" if schema.keys() & {"items", "prefixItems", "minItems"} else "string"


def _number(schema: Schema, number: int, *, is_whole: bool) -> float:
    """The least that the schema allows, 1 where it says nothing of that, or a later one."""
    step = Decimal(str(schema.get("multipleOf", 1)))
    lower, upper = _limits(schema, "minimum", "exclusiveMinimum"), _limits(schema, "maximum", "exclusiveMaximum")
    start = max(lower) if lower else min([step, *upper])
    if stepping := is_whole or "multipleOf" in schema:
        start = math.ceil(start / step) * step
    tried = [start + sign * count * step for sign in (1, -1) for count in range(number + 2)]
    if lower and upper and not stepping:
        tried += [max(lower) + (min(upper) - max(lower)) * part / (number + 2) for part in range(1, number + 2)]
    fitting = [each for each in dict.fromkeys(tried) if _is_within(each, schema)] or [start]
    found = fitting[min(number, len(fitting) - 1)]
    return int(found) if found == int(found) else float(found)


def _limits(schema: Schema, *names: str) -> list[Decimal]:
    return [Decimal(str(schema[name])) for name in names if name in schema]


def _is_within(value: Decimal, schema: Schema) -> bool:
    return (
        all(value >= limit for limit in _limits(schema, "minimum"))
        and all(value > limit for limit in _limits(schema, "exclusiveMinimum"))
        and all(value <= limit for limit in _limits(schema, "maximum"))
        and all(value < limit for limit in _limits(schema, "exclusiveMaximum"))
    )


def _string(schema: Schema, text: str) -> str:
    if (known := _FORMATS.get(schema.get("format", ""))) is not None:
        return known
    least, most, pattern = schema.get("minLength", 0), schema.get("maxLength"), schema.get("pattern")
    plain = (text if len(text) >= least else (text or "x") * math.ceil(least / len(text or "x")))[:most]
    if not pattern or _finds(pattern, plain):
        return plain
    found = matching(pattern, least, most)
    return plain if found is None else found


def _finds(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False
