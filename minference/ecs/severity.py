"""How closely traced functions are watched in this context."""

from __future__ import annotations

from contextvars import ContextVar
from enum import IntEnum


class TraceSeverity(IntEnum):
    """What `@entity_tracer` does at a call."""

    NONE = 0
    """Nothing: the function runs as if it were not decorated."""
    CRITICAL = 1
    """Looks only at the entities that were passed or returned: saves when one of them is new or differs in a field or member of its own."""
    NORMAL = 2
    """Saves whatever changed or is new, at any depth."""
    VERBOSE = 3
    """The same, and logs every call, those that changed nothing too."""


_severity: ContextVar[TraceSeverity] = ContextVar("minference_trace_severity", default=TraceSeverity.NORMAL)


def trace_severity() -> TraceSeverity:
    """The severity of this context, for functions that have none of their own."""
    return _severity.get()


def set_trace_severity(severity: TraceSeverity) -> TraceSeverity:
    """Set the severity of this context, and return the one before."""
    before = _severity.get()
    _severity.set(TraceSeverity(severity))
    return before
