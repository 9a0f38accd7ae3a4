"""JSON schemas as data: checked without any I/O, and what fits them."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic.errors import PydanticUserError

from minference.errors import InvalidToolSchema

if TYPE_CHECKING:
    import jsonschema_rs

Schema = dict[str, JsonValue]

_SHOWN_ERRORS = 5
_SHOWN_CHARACTERS = 80

_MODELS: weakref.WeakValueDictionary[tuple[str, str], type[BaseModel]] = weakref.WeakValueDictionary()
_LOCK = threading.Lock()


def check_schema(name: str, schema: Mapping[str, Any]) -> None:
    """Return if `schema` is a JSON schema of an object that refers to nothing outside of itself.

    Raises:
        InvalidToolSchema: It is not; `name` is the tool that it belongs to.
    """
    schema_validator(name, schema)
    if schema.get("type") != "object":
        raise InvalidToolSchema(name, _not_an_object(schema))


def schema_validator(name: str, schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """A validator of `schema`; building one takes microseconds and no I/O, whatever the schema refers to.

    Raises:
        InvalidToolSchema: It is no valid schema, or refers to something outside of itself.
    """
    import jsonschema_rs

    text = canonical(name, schema)
    refused: list[str] = []

    def refuse(uri: str) -> Any:
        refused.append(uri)
        raise LookupError(uri)

    try:
        # The schema of a cold snapshot is made of frozen containers, which jsonschema_rs does not take for lists and dicts.
        return jsonschema_rs.validator_for(json.loads(text), retriever=refuse)
    except jsonschema_rs.ValidationError as error:
        reason = f"{_at(error.instance_path)}{error.message}"
        if refused:
            reason = f"it refers to {refused[0]!r}, and nothing outside of a schema is fetched: put the definition under '$defs'"
        raise InvalidToolSchema(name, reason) from None
    except (jsonschema_rs.ReferencingError, ValueError, RecursionError) as error:
        raise InvalidToolSchema(name, str(error)) from error


def schema_errors(validator: jsonschema_rs.Validator, value: JsonValue) -> str | None:
    """In what way `value` does not fit, in one line; `None` if it does."""
    found: list[str] = []
    for error in validator.iter_errors(value):
        if len(found) == _SHOWN_ERRORS:
            return "; ".join([*found, "..."])
        found.append(f"{_at(error.instance_path)}{_shortened(error.message, 2 * _SHOWN_CHARACTERS)}")
    return "; ".join(found) or None


def validation_errors(error: ValidationError) -> str:
    """What pydantic found wrong, in one line."""
    details = error.errors(include_url=False, include_context=False)
    lines = []
    for detail in details[:_SHOWN_ERRORS]:
        given = "" if detail["type"] == "missing" else f" (got {_shortened(repr(detail['input']), _SHOWN_CHARACTERS)})"
        lines.append(f"{_at(detail['loc'])}{detail['msg']}{given}")
    return "; ".join(lines + ["..."] * (len(details) > _SHOWN_ERRORS))


def model_schema(name: str, model: type[BaseModel]) -> Schema:
    """The schema of what a model writes for a pydantic model: always an object at the top.

    Raises:
        InvalidToolSchema: The class cannot be written as a JSON schema, or not as one of an object.
    """
    try:
        schema: dict[str, Any] = model.model_json_schema()
    except PydanticUserError as error:
        raise InvalidToolSchema(name, error.message) from error
    return inlined(schema)


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with a reference at its very top, as recursive models have one, replaced by what it refers to."""
    reference = schema.get("$ref")
    definitions = schema.get("$defs", {})
    if not isinstance(reference, str) or not reference.startswith("#/$defs/"):
        return schema
    target = definitions.get(reference.removeprefix("#/$defs/"))
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return {**target, **rest} if isinstance(target, dict) else schema


def remember_model(name: str, schema: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Let tools of this name and schema find the class for as long as the program has it."""
    with _LOCK:
        _MODELS[name, canonical(name, schema)] = model


def remembered_model(name: str, schema: Mapping[str, Any]) -> type[BaseModel] | None:
    """The class that this process made a tool of this name and exactly this schema from."""
    with _LOCK:
        return _MODELS.get((name, canonical(name, schema)))


def canonical(name: str, schema: Mapping[str, Any]) -> str:
    """The schema as text that is equal for equal schemas.

    Raises:
        InvalidToolSchema: It holds something that JSON cannot.
    """
    try:
        text = json.dumps(schema, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidToolSchema(name, f"it cannot be written as JSON ({error})") from error
    return text


def _not_an_object(schema: Mapping[str, Any]) -> str:
    wanted = "at the top it must say 'type': 'object', because a tool takes named arguments"
    if "type" not in schema:
        return f"{wanted}, and it says no type"
    return f"{wanted}, and it says {schema['type']!r}: wrap it into an object with one property"


def _at(path: Sequence[str | int]) -> str:
    return f"{'.'.join(map(str, path))}: " if path else ""


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
