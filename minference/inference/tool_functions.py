"""Runs one function as a tool, in every way that it can end."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from minference.errors import InvalidToolArguments, ToolError, ToolRaised, ToolTimedOut, UnusableFunction
from minference.inference.tool_results import ToolFailed, ToolOutcome, ToolSucceeded, succeeded
from minference.inference.tool_threads import Abandoned, Raised, Returned, ToolThreads
from minference.threads.parameters import Bound
from minference.threads.schemas import schema_errors, schema_validator, validation_errors
from minference.threads.signatures import Signature, is_finite, signature_of
from minference.threads.tools import CallableTool
from minference.waiting import ended

GRACE = 2.0
"""Seconds that an async tool has for cleaning up after it was cancelled."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A tool with its function, and what must still be checked against the tool's own schemas."""

    tool: CallableTool
    function: Callable[..., Any]
    signature: Signature | None
    """`None` if the function does not say enough: then the tool's schema alone decides."""
    input_schema: Mapping[str, JsonValue] | None
    """The stored schema, if it is not the one of the function."""
    output_schema: Mapping[str, JsonValue] | None

    def start(self, arguments: dict[str, JsonValue]) -> Any:
        """Call the function with the arguments as it wants them."""
        bound = self._bind(arguments)
        return self.function(*bound.positional, **bound.named)

    def _bind(self, arguments: dict[str, JsonValue]) -> Bound:
        name = self.tool.name
        check_arguments(name, arguments, self.input_schema)
        if self.signature is None:
            return Bound((), dict(arguments))
        try:
            return self.signature.bind(arguments)
        except ValidationError as error:
            raise InvalidToolArguments(name, validation_errors(error)) from error

    def finish(self, result: object) -> ToolSucceeded:
        """The result as JSON data."""
        hint: TypeAdapter[Any] | None = self.signature.result if self.signature else None
        return succeeded(self.tool.name, result, hint, self.output_schema)


def check_arguments(name: str, arguments: dict[str, JsonValue], schema: Mapping[str, JsonValue] | None) -> None:
    """Return if the arguments are strict JSON, and fit the schema if there is one.

    Raises:
        InvalidToolArguments: They do not; says where.
    """
    wrong = _not_json(arguments)
    if wrong is None and schema is not None:
        wrong = schema_errors(schema_validator(name, schema), arguments)
    if wrong is not None:
        raise InvalidToolArguments(name, wrong)


def _not_json(arguments: dict[str, JsonValue]) -> str | None:
    """What Python reads as JSON and strict JSON is not: half of a surrogate pair, a number too large for a float."""
    if not is_finite(arguments):
        return "a number is too large"
    try:
        to_json(arguments)
    except ValueError as error:
        return str(error)
    return None


def prepare(tool: CallableTool, function: Callable[..., Any]) -> Prepared:
    """The function as the tool wants it to be called."""
    try:
        signature = signature_of(function)
    except UnusableFunction:
        return Prepared(tool, function, None, tool.input_schema, tool.output_schema)
    same_input, same_output = tool.input_schema == signature.input_schema, tool.output_schema == signature.output_schema
    return Prepared(tool, function, signature, None if same_input else tool.input_schema, None if same_output else tool.output_schema)


async def run_prepared(prepared: Prepared, arguments: dict[str, JsonValue], threads: ToolThreads) -> ToolOutcome:
    """Call the function. Whatever it does ends up in the outcome; only a cancellation of the caller gets out.

    Raises:
        ToolError: The arguments do not fit.
    """
    if prepared.signature is not None and prepared.signature.is_async:
        return await _in_own_task(prepared, lambda: prepared.start(arguments))
    return await _run_in_thread(prepared, arguments, threads)


async def _run_in_thread(prepared: Prepared, arguments: dict[str, JsonValue], threads: ToolThreads) -> ToolOutcome:
    """All of the user's code runs in the thread: validators, the function, and what writes its result as JSON."""

    def work() -> Any:
        result = prepared.start(arguments)
        return result if inspect.isawaitable(result) else prepared.finish(result)

    tool = prepared.tool
    match await threads.run(work, tool.timeout):
        case Returned(ToolSucceeded() as outcome):
            return outcome
        case Returned(awaitable):
            return await _in_own_task(prepared, lambda: awaitable)
        case Raised(error):
            return _failed(tool, error)
        case Abandoned():
            assert tool.timeout is not None, "without a timeout nothing is abandoned"
            _log.warning("tool %s did not finish in %g s and was left behind in its thread", tool.name, tool.timeout)
            return ToolFailed(ToolTimedOut(tool.name, tool.timeout, still_running=True))


async def _in_own_task(prepared: Prepared, start: Callable[[], Any]) -> ToolOutcome:
    """Await what `start` returns, in a task of its own: so a tool that raises CancelledError is not the caller's end."""
    tool = prepared.tool

    async def work() -> Returned | Raised:
        try:
            return Returned(prepared.finish(await start()))
        except KeyboardInterrupt:
            raise  # in the thread of the event loop it is the user's Ctrl-C
        except BaseException as error:  # noqa: BLE001 - what a tool raises is its outcome; to whoever closes this coroutine that is its end
            return Raised(error)

    task = asyncio.create_task(work())
    try:
        done, _ = await asyncio.wait({task}, timeout=tool.timeout)
    except asyncio.CancelledError:
        await _stop(task, tool)
        raise
    if not done:
        assert tool.timeout is not None, "without a timeout the wait ends with the task"
        stopped = await _stop(task, tool)
        return ToolFailed(ToolTimedOut(tool.name, tool.timeout, still_running=not stopped))
    if task.cancelled():  # by the tool, which then returned
        return _failed(tool, asyncio.CancelledError())
    match task.result():
        case Returned(ToolSucceeded() as outcome):
            return outcome
        case Raised(error):
            return _failed(tool, error)
        case Returned(other):
            raise AssertionError(f"a tool task ends with its outcome, not with {other!r}")


async def _stop(task: asyncio.Task[Any], tool: CallableTool) -> bool:
    """Cancel an async tool and give it a moment to clean up, however often we are cancelled meanwhile; whether it ended."""
    task.cancel()
    await ended([asyncio.create_task(asyncio.wait({task}, timeout=GRACE))], told=[task])
    if not task.done():
        _log.warning("tool %s ignored its cancellation for %g s and was left behind", tool.name, GRACE)
    return task.done()


def _failed(tool: CallableTool, error: BaseException) -> ToolFailed:
    if isinstance(error, ToolError):
        return ToolFailed(error)
    raised = ToolRaised(tool.name, error)
    raised.__cause__ = error
    return ToolFailed(raised)
