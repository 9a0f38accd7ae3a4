"""`@entity_tracer`: a function whose calls become versions, without a word about saving inside."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar, cast, overload

from pydantic import BaseModel

from minference.ecs.changes import differs_itself
from minference.ecs.entity import Entity, state_of
from minference.ecs.graph import top_most
from minference.ecs.recording import Recording
from minference.ecs.registry import PendingSave, current_storage
from minference.ecs.severity import TraceSeverity, trace_severity
from minference.errors import UntraceableFunction

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger("minference.ecs.tracer")


@overload
def entity_tracer(function: F, /) -> F: ...


@overload
def entity_tracer(*, severity: TraceSeverity | None = None) -> Callable[[F], F]: ...


def entity_tracer(function: F | None = None, /, *, severity: TraceSeverity | None = None) -> F | Callable[[F], F]:
    """Save what each call of the function changes or makes.

    Entities among the arguments (also inside lists, tuples, sets, dicts and plain models) that are modified already are
    saved before the call. After it, one commit holds what changed and what is new under the arguments and the result;
    its author is the function's qualified name. Results are returned as they are. A traced function that calls traced
    functions makes one commit, and inside `storage.recording()` none of its own. What the function itself saves is a commit of
    its own at once, by the same author unless it names another. If the function raises, what it changed and did not save
    is not saved: the objects keep their changes, and the version from before the call can be loaded.

    It may stand above or below `@classmethod` and `@staticmethod`.

    An async function returns when its commit is durable. A plain one hands a snapshot to the writer and returns at once;
    `await storage.flush()` waits until it is durable, and raises what went wrong.

    Args:
        severity: How closely to look; `None` follows `EntityRegistry.set_trace_severity`.

    Raises:
        UntraceableFunction: A generator, which has no end at which to save.
        NoStorage: At a call: no storage is current. The function did not run.
    """

    def decorate(function: F) -> F:
        return cast("F", _decorated(function, severity))

    return decorate if function is None else decorate(function)


def _decorated(function: Any, severity: TraceSeverity | None) -> Any:
    if isinstance(function, classmethod | staticmethod):
        return type(function)(_decorated(function.__func__, severity))
    name = getattr(function, "__qualname__", type(function).__qualname__)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UntraceableFunction(name)
    make = _traced_async if _is_async(function) else _traced
    return make(function, name, severity)


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _traced_async(function: Callable[..., Awaitable[Any]], name: str, severity: TraceSeverity | None) -> Callable[..., Any]:
    @wraps(function)
    async def traced(*args: Any, **kwargs: Any) -> Any:
        if (call := _begin(name, severity, (args, kwargs))) is None:
            return await function(*args, **kwargs)
        if (saving := call.before()) is not None:
            await saving
        with call.recording.running():
            result = await function(*args, **kwargs)
        if (saving := call.after(result)) is not None:
            await saving
        return result

    return traced


def _traced(function: Callable[..., Any], name: str, severity: TraceSeverity | None) -> Callable[..., Any]:
    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        if (call := _begin(name, severity, (args, kwargs))) is None:
            return function(*args, **kwargs)
        call.before()
        with call.recording.running():
            result = function(*args, **kwargs)
        call.after(result)
        return result

    return traced


def _begin(name: str, severity: TraceSeverity | None, arguments: object) -> _Call | None:
    severity = trace_severity() if severity is None else severity
    return None if severity is TraceSeverity.NONE else _Call(name, severity, arguments)


class _Call:
    """One call of a traced function: what is saved before and after it."""

    def __init__(self, name: str, severity: TraceSeverity, arguments: object) -> None:
        self._name, self._severity, self._arguments = name, severity, arguments
        self._storage = current_storage()
        self.recording = Recording(self._storage, name, None)

    def before(self) -> PendingSave | None:
        """Save what is modified already, so that it can be restored whatever the function does. `None`: nothing to wait for."""
        found = entities_in(self._arguments)
        self.recording.add(*found)
        if self.recording.is_part():
            return None
        saving = self._save("as it was before the call")
        return saving if saving is not None and saving.versions else None

    def after(self, result: object) -> PendingSave | None:
        """Save what changed under the arguments and the result, or leave that to the recording that the call is a part of."""
        self.recording.add(*entities_in((self._arguments, result)))
        if self.recording.hand_over():
            return None
        saving = self._save(self.recording.note)
        if self._severity is TraceSeverity.VERBOSE:
            count = len(saving.versions) if saving is not None else 0
            _log.info("%s made %d new version%s", self._name, count, "" if count == 1 else "s", extra={"versions": count})
        return saving

    def _save(self, note: str | None) -> PendingSave | None:
        entities, recording = self.recording.entities, self.recording
        if not entities or (self._severity is TraceSeverity.CRITICAL and not any(map(differs_itself, entities))):
            return None
        saving = self._storage.submit(*top_most(entities), author=self._name, note=note, on_conflict=recording.on_conflict)
        if saving.versions:
            _log.debug("%s saved %d versions%s", self._name, len(saving.versions), f", {note}" if note else "")
        return saving


def entities_in(value: object) -> list[Entity]:
    """The warm entities in a value: itself, or inside lists, tuples, sets, dicts and plain models; what is below them is left out.

    Only stored values are looked at: no property is evaluated.
    """
    found: dict[int, Entity] = {}
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Entity):
            if (state := state_of(each)) is None or not state.cold:
                found.setdefault(id(each), each)
        elif isinstance(each, list | tuple | set | frozenset | dict | BaseModel) and id(each) not in seen:
            seen.add(id(each))
            waiting.extend(reversed(_inside(each)))
    return list(found.values())


def _inside(container: list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any] | dict[Any, Any] | BaseModel) -> list[Any]:
    if isinstance(container, BaseModel):
        return list(container.__dict__.values())
    return list(container.values()) if isinstance(container, dict) else list(container)
