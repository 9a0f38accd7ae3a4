"""Frozen containers: what cold snapshots hold instead of lists and dicts."""

from __future__ import annotations

import marshal
from collections.abc import Iterator
from copy import deepcopy
from operator import is_
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


def _refuse(_self: object, *_args: object, **_kwargs: object) -> NoReturn:
    raise TypeError("this belongs to a cold snapshot, or to an entity of an unknown kind, and cannot change: load a warm copy with `get`")


class FrozenList(list[Any]):
    """A list that cannot change. A copy of it can, and so can what it is pickled as."""

    append = extend = insert = remove = pop = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [deepcopy(item, memo) for item in self]

    def __reduce__(self) -> tuple[type[list[Any]], tuple[()], None, Iterator[Any]]:
        return list, (), None, iter(self)


class FrozenDict(dict[str, Any]):
    """A dict that cannot change. A copy of it can, and so can what it is pickled as."""

    update = pop = popitem = clear = setdefault = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {key: deepcopy(item, memo) for key, item in self.items()}

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[()], None, None, Iterator[tuple[str, Any]]]:
        return dict, (), None, None, iter(self.items())


def freeze(value: Any) -> Any:
    """The value with every list and dict in it replaced by a frozen one."""
    if isinstance(value, list):
        return FrozenList(freeze(item) for item in value)
    if isinstance(value, tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, dict):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    return value


def thaw(value: T) -> T:
    """The value with every frozen list and dict in it replaced by one that can change; itself, if there is none in it."""
    kind = type(value)
    if kind not in _CONTAINERS or _is_surely_thawed(value):
        return value
    return _thawed(value) if _is_frozen_somewhere(value) else value


def thaw_fields(values: dict[str, Any]) -> dict[str, Any]:
    """`thaw` for the values of an object's fields, of which most are empty or no containers."""
    for value in values.values():
        kind = type(value)
        if kind in _FROZEN or (kind in _CONTAINERS and value and not _is_surely_thawed(value)):
            return thaw(values)
    return values


def _thawed(value: Any) -> Any:
    kind = type(value)
    if kind is FrozenList:
        return [_thawed(item) for item in value]
    if kind is FrozenDict:
        return {key: _thawed(item) for key, item in value.items()}
    if kind is dict:
        named = {key: _thawed(item) for key, item in value.items()}
        return value if all(map(is_, named.values(), value.values())) else named
    if kind is list or kind is tuple:
        items = kind(map(_thawed, value))
        return value if all(map(is_, items, value)) else items
    return value


def _is_surely_thawed(container: Any) -> bool:
    """Whether there is nothing frozen in it, as far as can be told at once."""
    return type(container) not in _FROZEN and (_is_flat(container) or _is_plain(container))


def _is_flat(container: Any) -> bool:
    """Whether it holds no containers."""
    return _CONTAINERS.isdisjoint(map(type, container.values() if type(container) is dict else container))


def _is_plain(value: Any) -> bool:
    """Whether there are only builtin objects in it, of exactly these classes: nothing else can be marshalled, at C speed."""
    try:
        marshal.dumps(value, 2)
    except ValueError:
        return False
    return True


def _is_frozen_somewhere(container: Any) -> bool:
    waiting, seen = [container], {id(container)}
    while waiting:
        each = waiting.pop()
        if type(each) in _FROZEN:
            return True
        items = each.values() if type(each) is dict else each
        inside = [item for item in items if type(item) in _CONTAINERS and id(item) not in seen and not _is_surely_thawed(item)]
        seen.update(map(id, inside))
        waiting += inside
    return False


def type_of(value: object) -> type:
    """The type that a value has when it can change."""
    return list if isinstance(value, FrozenList) else dict if isinstance(value, FrozenDict) else type(value)


_FROZEN: frozenset[type] = frozenset((FrozenList, FrozenDict))
_CONTAINERS: frozenset[type] = frozenset((list, dict, tuple, *_FROZEN))
