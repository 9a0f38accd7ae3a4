"""What a tool returned or raised, as JSON data and as text for the model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from minference.ecs.entity import Entity
from minference.errors import InvalidToolResult, SourceRefused, ToolError, UnregisteredTool
from minference.threads.attachments import Attached
from minference.threads.schemas import schema_errors, schema_validator, validation_errors
from minference.threads.signatures import is_finite

LONGEST_ERROR = 1000
"""Characters of an error that a model gets to read."""

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
_POSIX_PATH = re.compile(r"(?:file://|(?<![\w/.~]))~?(?:/[\w.@+~%=-]+)+/([\w.@+~%=-]+)/?")
_WINDOWS_PATH = re.compile(r"(?<!\w)[A-Za-z]:(?:\\+[^\\/:*?\"'<>|\r\n]+)*\\+([^\\/:*?\"'<>|\s]+)")


@dataclass(frozen=True, slots=True)
class ToolSucceeded:
    """A tool gave a result."""

    text: str
    """What the model reads: a string as it is, everything else as compact JSON."""
    value: JsonValue
    attachments: tuple[Attached, ...] = ()
    """What the model is shown beside the text."""


@dataclass(frozen=True, slots=True)
class ToolFailed:
    """A tool gave no result."""

    error: ToolError


ToolOutcome = ToolSucceeded | ToolFailed


def succeeded(name: str, result: object, hint: TypeAdapter[Any] | None, schema: Mapping[str, JsonValue] | None) -> ToolSucceeded:
    """The result as JSON data. `hint` is the function's annotation; `schema` a further schema that the data must fit.

    An attachment, or a list of texts and attachments, is no JSON data, and shown to the model as it is.

    Raises:
        InvalidToolResult: It is not what the function promises, or JSON cannot hold it; or it has an attachment somewhere inside.
    """
    if (items := _shown_items(name, result)) is not None:
        return _shown(name, result, items, hint)
    value = _json_value(name, result, hint)
    if schema is not None and (wrong := schema_errors(schema_validator(name, schema), value)) is not None:
        raise InvalidToolResult(name, wrong)
    return ToolSucceeded(value if isinstance(value, str) else to_json(value).decode(), value)


def error_text(error: ToolError) -> str:
    """The error in words for the model: no traceback, no path of this machine, not endless."""
    if isinstance(error, UnregisteredTool):
        return f"tool {error.name!r} is not available at the moment"
    if isinstance(error, SourceRefused):
        return f"tool {error.name!r} is program text, which this application does not run"
    text = _WINDOWS_PATH.sub(r"\1", _POSIX_PATH.sub(r"\1", str(error)))
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST_ERROR else f"{text[: LONGEST_ERROR - 3]}..."


def _shown_items(name: str, result: object) -> Sequence[object] | None:
    """What a result with attachments consists of; `None` if it has none."""
    if isinstance(result, Attached):
        return [result]
    if isinstance(result, list | tuple) and any(isinstance(item, Attached) for item in result):
        return result
    if _holds_attachment(result):
        raise InvalidToolResult(name, f"a {type(result).__name__} with an attachment inside: {_REMEDY}")
    return None


_REMEDY = "return the attachment itself, or a list of texts and attachments, so that the model sees it"


def _holds_attachment(result: object) -> bool:
    """Whether an attachment would be written as JSON. One that belongs to another entity, as to a message, is only told of."""
    stack, seen = [result], set[int]()
    while stack:
        value = stack.pop()
        if isinstance(value, Attached):
            return True
        if id(value) in seen:
            continue
        match value:
            case Mapping():
                parts = [*value.values()]
            case list() | tuple() | set() | frozenset():
                parts = [*value]
            case BaseModel() if not isinstance(value, Entity):
                parts = [*value.__dict__.values()]
            case _ if is_dataclass(value) and not isinstance(value, type):
                parts = [getattr(value, name, None) for name in value.__dataclass_fields__]
            case _:
                continue
        seen.add(id(value))
        stack += parts
    return False


def _shown(name: str, result: object, items: Sequence[object], hint: TypeAdapter[Any] | None) -> ToolSucceeded:
    try:
        (hint or _ANYTHING).validate_python(result)
    except ValidationError as error:
        raise InvalidToolResult(name, validation_errors(error)) from error
    for item in items:
        if not isinstance(item, str | Attached):
            raise InvalidToolResult(name, f"a {type(item).__name__} in a list with an attachment: {_REMEDY}")
    attachments = tuple(item for item in items if isinstance(item, Attached))
    words = [item for item in items if isinstance(item, str)] or [", ".join(attached.name for attached in attachments)]
    text = "\n".join(words)
    return ToolSucceeded(text, _json_value(name, text, None), attachments)


def _json_value(name: str, result: object, hint: TypeAdapter[Any] | None) -> JsonValue:
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise InvalidToolResult(name, "it is a generator: return a list")
    adapter = hint or _ANYTHING
    try:
        checked = adapter.validate_python(result)
        text = adapter.dump_json(checked, by_alias=True, warnings="error")
        # Only now: writing JSON has found cycles, and has made null of NaN.
        if not is_finite(adapter.dump_python(checked, by_alias=True, warnings="error")):
            raise InvalidToolResult(name, "it holds NaN or an infinite number, which JSON cannot hold")
        value: JsonValue = from_json(text, allow_inf_nan=False)
    except ValidationError as error:
        raise InvalidToolResult(name, validation_errors(error)) from error
    except (ValueError, RecursionError) as error:
        raise InvalidToolResult(name, f"a {type(result).__name__} that cannot be written as JSON ({error})") from error
    return value
