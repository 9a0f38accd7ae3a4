"""Whether two lists hold the same objects, asked for histories of any length at every save."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from operator import is_
from typing import Any
from weakref import WeakSet


class _Strictness(threading.local):
    on = False


strictness = _Strictness()
"""While it is on, in this thread, no entity equals another object."""
own_equality: WeakSet[type] = WeakSet()
"""Entity classes that define `__eq__` themselves, and do not know of the above."""


def same_objects(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether both hold the same objects in the same order. Equal ones will not do: a forged object carries the ids of another."""
    if own_equality or type(one) is not list or type(other) is not list:
        return len(one) == len(other) and all(map(is_, one, other))
    # Lists compare the addresses of their members before anything else, without touching them: six times as fast as `is_`.
    strictness.on = True
    try:
        return one == other
    finally:
        strictness.on = False
