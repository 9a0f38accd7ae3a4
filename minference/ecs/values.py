"""Plain values in the form in which they are stored: JSON that loads equal to what was dumped.

The JSON is written by pydantic from the field's annotation alone, so that serialisers made for presentation on the
class do not get a say. Sets are sorted, so that equal ones are stored equally. Two things go beyond strict JSON: `NaN` and
the infinities stand as bare words, and surrogates (halves of characters, as streams cut them) as `\\udXXX`; the storage
hides both from databases that refuse them.
"""

from __future__ import annotations

import json
import marshal
import re
from collections.abc import Callable
from datetime import datetime, time
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaSerializer, to_jsonable_python

from minference.ecs.cold import type_of
from minference.ecs.entity import Entity, plan_of
from minference.ecs.exactness import DIGITS, same_time
from minference.ecs.likeness import same_elements, same_fields
from minference.ecs.sets import may_hold, with_elements
from minference.errors import UnstorableValue

_REPLACED = "\ufffd".encode()
_HUGE = re.compile(rb"\d{%d}" % (DIGITS + 1))
_ESCAPE = re.compile(r"\\(?:u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)


def stored_config(cls: type[Entity]) -> ConfigDict:
    """How the plain values of a class are written and read, whatever its own configuration says about presentation."""
    return ConfigDict(
        ser_json_inf_nan="constants",
        ser_json_bytes="base64",
        val_json_bytes="base64",
        arbitrary_types_allowed=True,
        use_enum_values=cls.model_config.get("use_enum_values", False),
    )


def stored_type(cls: type[Entity], field: str) -> Any:
    """The annotation of a field together with its constraints, without its default and aliases."""
    info = cls.model_fields[field]
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def dump_json(cls: type[Entity], field: str, value: object) -> bytes:
    """The stored form of one field value.

    Raises:
        UnstorableValue: The value does not fit the annotation, or holds what JSON cannot express.
    """
    return _dumper(cls, field)(value)


def stored_data(cls: type[Entity], field: str, value: object) -> Any:
    """The stored form as JSON data, where sets are `Elements`.

    Raises:
        UnstorableValue: As `dump_json`.
    """
    dumped = _writer(cls, field)(value)
    try:
        data = parse(dumped.decode())
    except ValueError as error:
        raise UnstorableValue(cls.__kind__, field, _unreadable(dumped, str(error))) from error
    return with_elements(value, data) if _may_hold_sets(cls, field) else data


def load_json(cls: type[Entity], field: str, data: str | bytes) -> Any:
    """The value that `dump_json` wrote.

    Raises:
        ValidationError: The value does not fit the annotation (any more).
    """
    text = data if isinstance(data, str) else data.decode()
    if has_surrogates(text):
        return load_plain(cls, field, parse(text))
    return adapter_of(cls, field).validate_json(text, strict=False, by_alias=False, by_name=True)


def load_plain(cls: type[Entity], field: str, value: object) -> Any:
    """A field value from one in any form that its annotation accepts, of the right type then.

    Raises:
        ValidationError: The value does not fit the annotation.
    """
    return adapter_of(cls, field).validate_python(value, strict=False, by_alias=False, by_name=True)


def has_surrogates(document: str) -> bool:
    """Whether a JSON document holds surrogates, lone or not, as escapes: no parser would give back all of them."""
    return "\\u" in document and any(match[1] for match in _ESCAPE.finditer(document))


def parse(document: str) -> Any:
    """What a JSON document holds, each surrogate as it is: the standard parser would join two to one character."""
    return json.loads(_ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[0], document))


def verify_json(cls: type[Entity], field: str, value: object, dumped: bytes) -> None:
    """Make sure that `dumped` loads equal to `value`; worth calling before a changed value is written.

    Raises:
        UnstorableValue: It loads as something else, e.g. a tuple put into a dict of JSON comes back as a list.
    """
    try:
        loaded = load_json(cls, field, dumped)
    except ValidationError as error:
        reason = _unreadable(dumped, error.errors(include_url=False)[0]["msg"])
        raise UnstorableValue(cls.__kind__, field, reason) from error
    if not is_same(loaded, value):
        raise UnstorableValue(cls.__kind__, field, f"it would be read back as {brief(loaded)}, not as {brief(value)}")


def brief(value: object) -> str:
    """What a value looks like, in an error about it: the beginning of its `repr`, or why it has none, as an int of 5,000 digits."""
    try:
        return f"{value!r:.200}"
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the error is about something else
        return f"<{type(value).__name__}, which cannot be shown: {error}>"


def _unreadable(dumped: bytes, reason: str) -> str:
    if _HUGE.search(dumped):
        return f"it cannot be read back: it holds a number of more than {DIGITS:,} digits"
    return f"it cannot be read back: {reason}"


def reads_back(cls: type[Entity], field: str, value: object, dumped: bytes) -> bool:
    """Whether `dumped` loads equal to `value`."""
    try:
        verify_json(cls, field, value, dumped)
    except UnstorableValue:
        return False
    return True


@cache
def adapter_of(cls: type[Entity], field: str) -> TypeAdapter[Any]:
    """What validates and dumps the stored form of one field."""
    return adapter_for(cls, stored_type(cls, field))


def adapter_for(cls: type[Entity], annotation: Any) -> TypeAdapter[Any]:
    """What validates and writes plain values of a class, or parts of them."""
    try:
        return TypeAdapter(annotation, config=stored_config(cls))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)


@cache
def time_fields(cls: type[Entity]) -> tuple[str, ...]:
    """Fields with values that cannot change in place and may be times, or have them somewhere inside."""
    return tuple(name for name in plan_of(cls).values if may_hold(adapter_of(cls, name).core_schema, "datetime", "time"))


@cache
def _may_hold_sets(cls: type[Entity], field: str) -> bool:
    return may_hold(adapter_of(cls, field).core_schema, "set", "frozenset")


@cache
def _dumper(cls: type[Entity], field: str) -> Callable[[object], bytes]:
    if not _may_hold_sets(cls, field):
        return _writer(cls, field)

    def dump(value: object) -> bytes:
        data = stored_data(cls, field, value)
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")

    return dump


@cache
def _writer(cls: type[Entity], field: str) -> Callable[[object], bytes]:
    """Writes the values of a field as JSON, sets in the order that they happen to have."""
    serializer = adapter_of(cls, field).serializer

    def dump(value: object) -> bytes:
        try:
            dumped = serializer.to_json(value, by_alias=False, round_trip=True, warnings="error")
            # Pydantic refuses lone surrogates in values, but in keys it puts U+FFFD in their place.
            return dumped if _REPLACED not in dumped else _dump_surrogates(serializer, value) or dumped
        except (PydanticSerializationError, ValueError, TypeError) as error:
            if "surrogates not allowed" in str(error) and (escaped := _dump_surrogates(serializer, value)) is not None:
                return escaped
            raise UnstorableValue(cls.__kind__, field, str(error)) from error

    return dump


def _dump_surrogates(serializer: SchemaSerializer, value: object) -> bytes | None:
    """The stored form of a value that holds surrogates, those escaped; `None` if it holds none, or does not fit anyway."""
    try:
        plain = serializer.to_python(value, by_alias=False, round_trip=True, warnings="error")
    except PydanticSerializationError:
        return None
    dumped = json.dumps(plain, ensure_ascii=False, separators=(",", ":"), default=_to_jsonable)
    escaped = dumped.encode(errors="backslashreplace")
    return escaped if has_surrogates(escaped.decode()) else None


def _to_jsonable(value: object) -> Any:
    return to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="constants")


def is_same(one: Any, other: Any) -> bool:
    """Equal with equal types throughout, in the same order, where NaN is NaN."""
    try:
        # In its first format it writes builtin objects exactly, and no others: a comparison at C speed.
        return marshal.dumps(one, 0) == marshal.dumps(other, 0)
    except ValueError:
        return _alike(one, other)


def _alike(one: Any, other: Any) -> bool:
    """The same for objects of any class."""
    if type_of(one) is not type_of(other):
        return False
    match one:
        case dict():
            return list(one) == list(other) and all(_alike(value, other[key]) for key, value in one.items())
        case list() | tuple():
            return len(one) == len(other) and all(map(_alike, one, other))
        case float():
            return repr(one) == repr(other)
        case datetime() | time():
            return same_time(one, other)
        case set() | frozenset():
            return one == other or same_elements(one, other, _alike)
        case BaseModel():
            return one == other or same_fields(one, other, _alike)
        case _:
            return bool(one == other)
