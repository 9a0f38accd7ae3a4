"""How a collection is shown inside the `repr` of what holds it: a few members in full, of many the ends, a line each."""

from __future__ import annotations

from typing import Any

from minference.ecs.diff_render import summary
from minference.ecs.partial import PartialDict, PartialList

MOST = 6
"""Members that are shown one by one, each with everything."""
FIRST, LAST = 1, 3
"""Members at either end that are shown of more."""


class Ends:
    """Stands for a collection of many members where it is printed."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        keys = list(self._value) if isinstance(self._value, dict) else range(len(self._value))
        told = [self._told(key) for key in (*keys[:FIRST], *keys[-LAST:])]
        parts = ", ".join([*told[:FIRST], f"… {len(keys) - len(told):,} more …", *told[FIRST:]])
        return f"{{{parts}}}" if isinstance(self._value, dict) else f"({parts})" if isinstance(self._value, tuple) else f"[{parts}]"

    def _told(self, key: Any) -> str:
        line = f"<{summary(self._value[key])}>"
        return f"{key!r}: {line}" if isinstance(self._value, dict) else line


def shown(value: Any) -> Any:
    """What to print for a collection of entities: itself, if it has few members."""
    return value if len(value) <= MOST or isinstance(value, PartialList | PartialDict) else Ends(value)
