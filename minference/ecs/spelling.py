"""What is said of names that no field has, and of values that come without one."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

from minference.ecs.plan import IDENTITY_FIELDS
from minference.errors import ValueWithoutName

if TYPE_CHECKING:
    from minference.ecs.entity import Entity

_UNKNOWN_NAME = ("extra_forbidden", "no_such_attribute")
_KNOWN_TYPES = frozenset(get_args(ErrorType))


def explained(error: ValidationError, cls: type[Entity]) -> ValidationError:
    """The error of validating an object of this class; where a name is that of no field, it says which one was meant.

    Types, places and inputs of what was refused are as they were. An error with nothing to explain is returned itself.
    """
    found = error.errors(include_url=False)
    if not any(_is_unknown_name(each) for each in found):
        return error
    lines = [_line(each, cls) for each in found]
    hidden = bool(cls.model_config.get("hide_input_in_errors"))
    return ValidationError.from_exception_data(error.title, lines, hide_input=hidden)


def without_name(cls: type[Entity], values: tuple[Any, ...]) -> ValueWithoutName:
    """Why an object cannot be made of values without names."""
    return ValueWithoutName(cls.__name__, len(values), _fields(cls))


def _is_unknown_name(line: ErrorDetails) -> bool:
    """Whether it is the object itself that has no such field, not one inside of it."""
    return line["type"] in _UNKNOWN_NAME and len(line["loc"]) == 1


def _line(line: ErrorDetails, cls: type[Entity]) -> InitErrorDetails:
    kind: str | PydanticCustomError = line["type"]
    if _is_unknown_name(line):
        kind = PydanticCustomError(
            line["type"], _said(cls, str(line["loc"][0]), _fields(cls, passed=line["type"] == "extra_forbidden")), line.get("ctx")
        )
    elif kind not in _KNOWN_TYPES:  # a validator's own
        kind = PydanticCustomError(line["type"], line["msg"], line.get("ctx"))
    again: InitErrorDetails = {"type": kind, "loc": line["loc"], "input": line["input"]}
    return {**again, "ctx": line["ctx"]} if isinstance(kind, str) and "ctx" in line else again


def _said(cls: type[Entity], name: str, fields: list[str]) -> str:
    close = get_close_matches(name, [*fields, *IDENTITY_FIELDS], 1)
    its = f"did you mean {close[0]!r}? Its" if close else "its"
    return f"{cls.__name__} has no field {name!r}: {its} fields are {', '.join(fields) or 'none'}"


def _fields(cls: type[Entity], *, passed: bool = True) -> list[str]:
    """Its own fields, by the names under which values are `passed` to it, or assigned."""
    own = {name: field for name, field in cls.model_fields.items() if name not in IDENTITY_FIELDS}
    return [field.validation_alias if passed and isinstance(field.validation_alias, str) else name for name, field in own.items()]
