"""`a_choice`: an argument that takes one of a few values, checked before anything happens."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, get_args

from minference.errors import UnknownChoice

T = TypeVar("T")


def a_choice(argument: str, value: T, of: Any) -> T:
    """The value that was passed, which is one of those of a `Literal`.

    Raises:
        UnknownChoice: It is none of them.
    """
    if value not in _choices(of):
        raise UnknownChoice(argument, value, _choices(of))
    return value


@cache
def _choices(of: Any) -> tuple[Any, ...]:
    return get_args(of)
