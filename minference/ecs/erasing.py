"""What is left of the values of an entity when its content is erased: empty values that still fit the class. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from enum import Enum
from functools import cache
from typing import Any, Literal, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, ValidationError

from minference.ecs.blobs import Blob
from minference.ecs.entity import Entity, plan_of
from minference.ecs.plan import arms
from minference.ecs.values import adapter_for, dump_json, stored_type, verify_json
from minference.errors import NoEmptyValue, UnstorableValue

_PLACEHOLDER = "erased"
"""For texts that must not be empty."""
_EMPTY: tuple[Any, ...] = (None, "", [], {}, ())
_ZERO: tuple[Any, ...] = (0, UUID(int=0), Blob.of(b""))


def empty_values(cls: type[Entity], but: Collection[str] = ()) -> dict[str, Any]:
    """A value without content for every plain field `but` these, by its annotation: the first of these that fits.

    None, an empty text or container, the field's default, zero (of a number, a time, an id), no bytes, the first member of an
    enumeration, the same inside a model or a tuple, the word "erased".

    Raises:
        NoEmptyValue: None of them fits.
    """
    plan = plan_of(cls)
    return {name: deepcopy(_empty_value(cls, name)) for name in (*plan.values, *plan.mutable) if name not in but}


def erased(cls: type[Entity], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a version after its erasure, as the class says, every one fit to be stored and read back.

    Raises:
        NoEmptyValue: The class gives values that are not its own, cannot be stored, or would change if erased again.
    """
    found = cls.erased_values(values)
    plan = plan_of(cls)
    names = (*plan.values, *plan.mutable)
    if wrong := found.keys() ^ set(names):
        raise NoEmptyValue(cls.__name__, min(wrong), "is not among both its fields and its erased values")
    again = cls.erased_values(found)
    for name in names:
        try:
            stored = dump_json(cls, name, found[name])
            verify_json(cls, name, found[name], stored)
        except UnstorableValue as error:
            raise NoEmptyValue(cls.__name__, name, f"cannot be {found[name]!r:.100} ({error.reason})") from error
        if dump_json(cls, name, again[name]) != stored:
            raise NoEmptyValue(cls.__name__, name, "would have another value if it were erased again")
    return {name: found[name] for name in names}


def is_erased(cls: type[Entity], values: Mapping[str, Any]) -> bool:
    """Whether the values are those of an erased version."""
    return all(dump_json(cls, name, value) == dump_json(cls, name, values[name]) for name, value in erased(cls, values).items())


def erased_keys(keys: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The keys of keyed fields after an erasure: they may be content as well, so each becomes its place."""
    return {name: tuple(map(str, range(len(each)))) for name, each in keys.items()}


def blank_data(data: Any) -> Any:
    """JSON data of a kind that the program does not define, without content: something empty of the same type."""
    match data:
        case bool():
            return False
        case str():
            return ""
        case int() | float():
            return 0
        case list():
            return []
        case dict():
            return {}
        case _:
            return None


@cache
def _empty_value(cls: type[Entity], name: str) -> Any:
    field = cls.model_fields[name]
    defaults = () if field.is_required() or field.default_factory is not None else (field.default,)
    adapter = adapter_for(cls, stored_type(cls, name))
    for candidate in (*_EMPTY, *defaults, *_ZERO, *_constructed(cls, field.annotation), _PLACEHOLDER):
        try:
            return adapter.validate_python(candidate, strict=False)
        except ValidationError:
            continue
    raise NoEmptyValue(cls.__name__, name, "has no empty value that fits its annotation")


def _constructed(cls: type[Entity], annotation: Any) -> Iterator[Any]:
    """Values of types that have no empty one: made of members, or of parts without content."""
    for arm in arms(annotation):
        origin = get_origin(arm)
        if origin is Literal:
            yield get_args(arm)[0]
        elif origin is tuple:
            yield tuple(_part(cls, part) for part in get_args(arm) if part is not Ellipsis)
        elif isinstance(arm, type) and issubclass(arm, Enum):
            yield next(iter(arm))
        elif isinstance(arm, type) and issubclass(arm, BaseModel):
            yield {name: _part(cls, field.annotation) for name, field in arm.model_fields.items() if field.is_required()}


def _part(cls: type[Entity], annotation: Any) -> Any:
    """A value without content for a part of a field; `None` if there is none, which the whole then does not accept."""
    adapter = adapter_for(cls, annotation)
    for candidate in (*_EMPTY, *_ZERO, *_constructed(cls, annotation), _PLACEHOLDER):
        try:
            return adapter.validate_python(candidate, strict=False)
        except ValidationError:
            continue
    return None
