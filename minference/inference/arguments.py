"""Numbers and maps that callers pass, refused where they are passed if they cannot be meant."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, TypeVar

from minference.errors import UnusableValue, WrongArgument

V = TypeVar("V")


def a_count(argument: str, value: object, why: str, *, least: int = 1) -> None:
    """Return if this is a whole number, and no less than the least.

    Raises:
        WrongArgument: It is no whole number.
        UnusableValue: It is less.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise WrongArgument(argument, value, "an int")
    if int(value) < least:
        raise UnusableValue(argument, value, why)


def an_amount(argument: str, value: object, what: str, why: str, *, least: float = 0.0, more: bool = False) -> None:
    """Return if this is a number, and no less than the least; with `more`, more than that.

    Raises:
        WrongArgument: It is no number.
        UnusableValue: It is less, or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise WrongArgument(argument, value, what)
    if not (float(value) > least if more else float(value) >= least):
        raise UnusableValue(argument, value, why)


def a_map(argument: str, value: Mapping[str, V] | None, of: type[Any], wanted: str) -> dict[str, V]:
    """What is under each name, all of one class; nothing for `None`.

    Raises:
        WrongArgument: It is no map, or holds something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise WrongArgument(argument, value, f"a dict such as {wanted}")
    for name, each in value.items():
        if not isinstance(each, of):
            raise WrongArgument(f"{argument}[{name!r}]", each, f"a {of.__name__}, as in {wanted}")
    return dict(value)
