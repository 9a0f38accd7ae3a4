"""`as_promised`: methods that say "See ..." are documented by the protocol that they keep to, where `help()` shows them."""

from __future__ import annotations

from types import FunctionType
from typing import TypeVar

C = TypeVar("C", bound=type)
_SEE = "See `"


def as_promised(cls: C) -> C:
    """The class, each of its methods with the docstring of what it implements."""
    for kind in cls.__mro__:
        for name, member in vars(kind).items():
            if isinstance(member, FunctionType) and (member.__doc__ or "").startswith(_SEE):
                promises = (vars(base).get(name) for base in cls.__mro__)
                member.__doc__ = next((each.__doc__ for each in promises if each and not (each.__doc__ or _SEE).startswith(_SEE)), _SEE)
    return cls
