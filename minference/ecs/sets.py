"""Sets in plain values: stored in one order, since theirs says nothing and differs between processes."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel, RootModel


class Elements(list[Any]):
    """The elements of a set as JSON data, sorted."""


def may_hold(schema: object, *kinds: str) -> bool:
    """Whether a value of this core schema may be of one of these kinds, or have one somewhere inside."""
    waiting, seen = [schema], set[int]()
    while waiting:
        part = waiting.pop()
        if not isinstance(part, dict | list | tuple) or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            if part.get("type") in kinds:
                return True
            waiting.extend(part.values())
        else:
            waiting.extend(part)
    return False


def with_elements(value: object, data: Any) -> Any:
    """The JSON data of a value, where what stands for a set is `Elements`. They are paired by the order in which they were written."""
    match data, value:
        case list(), set() | frozenset():
            return Elements(sorted(_each(value, data), key=_rank(data)))
        case list(), list() | tuple() | deque():
            return _each(value, data)
        case dict(), dict() if data.keys() <= value.keys():
            return {name: with_elements(value[name], part) for name, part in data.items()}
        case dict(), dict():  # of keys that are no strings
            return dict(zip(data, _each(value.values(), list(data.values())), strict=True))
        case _, RootModel():
            return with_elements(value.root, data)
        case dict(), BaseModel():
            return {name: with_elements(value.__dict__.get(name), part) for name, part in data.items()}
        case dict(), _ if is_dataclass(value):
            names = {each.name for each in fields(value)}
            return {name: with_elements(getattr(value, name) if name in names else None, part) for name, part in data.items()}
        case _:
            return data


def _each(values: Iterable[object], data: list[Any]) -> list[Any]:
    given = list(values)
    # A serialiser of the field's own may have written something else.
    return [with_elements(value, part) for value, part in zip(given, data, strict=True)] if len(given) == len(data) else data


def _rank(data: list[Any]) -> Any:
    """Numbers and texts sort as one would sort them, everything else as JSON."""
    return None if len({type(each) for each in data}) == 1 and type(data[0]) in (int, str) else json.dumps
