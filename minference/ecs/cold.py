"""Frozen containers: what cold snapshots hold instead of lists and dicts."""

from __future__ import annotations

from copy import deepcopy
from operator import is_
from typing import Any, NoReturn


def _refuse(_self: object, *_args: object, **_kwargs: object) -> NoReturn:
    raise TypeError("this belongs to a cold snapshot, or to an entity of an unknown kind, and cannot change: load a warm copy with `get`")


class FrozenList(list[Any]):
    """A list that cannot change. A copy of it can."""

    append = extend = insert = remove = pop = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [deepcopy(item, memo) for item in self]


class FrozenDict(dict[str, Any]):
    """A dict that cannot change. A copy of it can."""

    update = pop = popitem = clear = setdefault = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {key: deepcopy(item, memo) for key, item in self.items()}


def freeze(value: Any) -> Any:
    """The value with every list and dict in it replaced by a frozen one."""
    if isinstance(value, list):
        return FrozenList(freeze(item) for item in value)
    if isinstance(value, tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, dict):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    return value


def thaw(value: Any) -> Any:
    """The value with every frozen list and dict in it replaced by one that can change; itself, if there is none in it."""
    if isinstance(value, FrozenList):
        return [thaw(item) for item in value]
    if isinstance(value, FrozenDict):
        return {key: thaw(item) for key, item in value.items()}
    if type(value) is tuple:
        thawed = tuple(map(thaw, value))
        return value if all(map(is_, thawed, value)) else thawed
    return value


def type_of(value: object) -> type:
    """The type that a value has when it can change."""
    return list if isinstance(value, FrozenList) else dict if isinstance(value, FrozenDict) else type(value)
