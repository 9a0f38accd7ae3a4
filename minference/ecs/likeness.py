"""Sets and models that hold the same, also where Python calls them different.

In the hour that comes twice in autumn, a time in one zone is never equal to one in another, so that neither is what holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import datetime, time
from typing import Any

from pydantic import BaseModel, RootModel

_Same = Callable[[Any, Any], bool]
_BY_CONTENT = (BaseModel.__eq__, RootModel.__eq__)


def same_elements(one: AbstractSet[Any], other: AbstractSet[Any], same: _Same) -> bool:
    """Whether each element of either set has its like in the other, which is written as it is."""
    ones, others = ({exactly(each): each for each in elements} for elements in (one, other))
    if ones.keys() != others.keys() or not len(one) == len(ones) == len(other):
        return False
    return all(same(each, others[key]) for key, each in ones.items())


def same_fields(one: BaseModel, other: BaseModel, same: _Same) -> bool:
    """Whether two models of one class hold the same in every field, and say nothing of their own on what is equal."""
    if type(one).__eq__ not in _BY_CONTENT or one.__dict__.keys() != other.__dict__.keys():
        return False
    if not same(one.__pydantic_extra__, other.__pydantic_extra__) or one.__pydantic_private__ != other.__pydantic_private__:
        return False
    return all(same(value, other.__dict__[name]) for name, value in one.__dict__.items())


def exactly(value: Any) -> object:
    """What is equal for values that are stored equally, wherever in a set they are."""
    match value:
        case tuple():
            return (type(value), *map(exactly, value))
        case frozenset():
            return (type(value), frozenset(map(exactly, value)))
        case BaseModel():
            return (type(value), *map(exactly, value.__dict__.values()))
        case datetime() | time():
            return (type(value), value.tzinfo is None, value.isoformat())
        case _:
            return (type(value), repr(value))
