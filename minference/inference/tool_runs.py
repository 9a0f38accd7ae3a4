"""Runs tools: one call in every way that it can end, and the calls of one turn side by side."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from minference.ecs.callables import CallableRegistry
from minference.errors import InvalidToolArguments, RepeatedCall, ToolError, ToolRaised, ToolTimedOut, UnknownTool, UnusableFunction
from minference.inference.tool_results import ToolFailed, ToolOutcome, ToolSucceeded, error_text, succeeded
from minference.inference.tool_threads import Abandoned, Raised, Returned, ToolThreads
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.parameters import Bound
from minference.threads.schemas import schema_errors, schema_validator, validation_errors
from minference.threads.signatures import Signature, is_finite, signature_of
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool, Tool

GRACE = 2.0
"""Seconds that an async tool has for cleaning up after it was cancelled."""

_log = logging.getLogger(__name__)
_process_threads = ToolThreads()


async def run_tool_call(tool: CallableTool, call: ToolCall, *, threads: ToolThreads | None = None) -> ToolOutcome:
    """Run one call. Whatever the tool does ends up in the outcome; only a cancellation of the caller gets out.

    A sync function runs in one of `threads` (default: those of the process) and is left behind there if it does not
    finish in time or the caller is cancelled. An async function runs in a task of its own, and is cancelled.
    """
    try:
        prepared = _prepare(tool)
        arguments = call.arguments
        if prepared.signature is not None and prepared.signature.is_async:
            return await _run_async(prepared, arguments)
        return await _run_in_thread(prepared, arguments, threads or _process_threads)
    except ToolError as error:
        return ToolFailed(error)


async def run_tool_calls(
    thread: ChatThread,
    calls: Iterable[ToolCall],
    *,
    parent_message_uuid: UUID | None = None,
    limit: int = 8,
    threads: ToolThreads | None = None,
) -> AsyncGenerator[tuple[ToolCall, ChatMessage], None]:
    """Run the calls of one turn, at most `limit` at once; yields each with its result message as soon as there is one.

    Every call gets exactly one message, also one of a tool that the thread has not, or whose id another call has
    (which is not run): so the conversation stays valid. Close it early with `contextlib.aclosing`: running calls are
    then cancelled, and have ended when it is closed.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    first, repeated = _by_id(calls)
    waiting = iter(first)
    running: dict[asyncio.Task[ToolOutcome], ToolCall] = {}
    try:
        while True:
            while len(running) < limit and (call := next(waiting, None)) is not None:
                running[asyncio.create_task(_outcome(thread, call, threads))] = call
            if not running:
                break
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in running if task in done]:
                call = running.pop(task)
                yield call, _message(thread, call, task.result(), parent_message_uuid)
        for call in repeated:
            yield call, _message(thread, call, ToolFailed(RepeatedCall(call.name, call.id)), parent_message_uuid)
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


@dataclass(frozen=True, slots=True)
class _Prepared:
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
        if (odd := _not_json(arguments)) is not None:
            raise InvalidToolArguments(name, odd)
        if self.input_schema is not None and (wrong := schema_errors(schema_validator(name, self.input_schema), arguments)):
            raise InvalidToolArguments(name, wrong)
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


def _not_json(arguments: dict[str, JsonValue]) -> str | None:
    """What Python reads as JSON and strict JSON is not: half of a surrogate pair, a number too large for a float."""
    if not is_finite(arguments):
        return "a number is too large"
    try:
        to_json(arguments)
    except ValueError as error:
        return str(error)
    return None


def _prepare(tool: CallableTool) -> _Prepared:
    function = CallableRegistry.get(tool.name)
    try:
        signature = signature_of(function)
    except UnusableFunction:
        return _Prepared(tool, function, None, tool.input_schema, tool.output_schema)
    same_input, same_output = tool.input_schema == signature.input_schema, tool.output_schema == signature.output_schema
    return _Prepared(tool, function, signature, None if same_input else tool.input_schema, None if same_output else tool.output_schema)


async def _run_in_thread(prepared: _Prepared, arguments: dict[str, JsonValue], threads: ToolThreads) -> ToolOutcome:
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


async def _run_async(prepared: _Prepared, arguments: dict[str, JsonValue]) -> ToolOutcome:
    return await _in_own_task(prepared, lambda: prepared.start(arguments))


async def _in_own_task(prepared: _Prepared, start: Callable[[], Any]) -> ToolOutcome:
    """Await what `start` returns, in a task of its own: so a tool that raises CancelledError is not the caller's end."""
    tool = prepared.tool

    async def work() -> Returned | Raised:
        try:
            return Returned(prepared.finish(await start()))
        except (asyncio.CancelledError, Exception, SystemExit) as error:  # noqa: BLE001 - what a tool raises is its outcome
            # KeyboardInterrupt is missing on purpose: in the thread of the event loop it is the user's Ctrl-C.
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
    match task.result():
        case Returned(ToolSucceeded() as outcome):
            return outcome
        case Raised(error):
            return _failed(tool, error)
        case Returned(other):
            raise AssertionError(f"a tool task ends with its outcome, not with {other!r}")


async def _stop(task: asyncio.Task[Any], tool: CallableTool) -> bool:
    """Cancel an async tool and give it a moment to clean up; whether it ended."""
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=GRACE)
    if not done:
        _log.warning("tool %s ignored its cancellation for %g s and was left behind", tool.name, GRACE)
    return bool(done)


def _failed(tool: CallableTool, error: BaseException) -> ToolFailed:
    if isinstance(error, ToolError):
        return ToolFailed(error)
    raised = ToolRaised(tool.name, error)
    raised.__cause__ = error
    return ToolFailed(raised)


async def _outcome(thread: ChatThread, call: ToolCall, threads: ToolThreads | None) -> ToolOutcome:
    match thread.tool_named(call.name):
        case CallableTool() as tool:
            return await run_tool_call(tool, call, threads=threads)
        case StructuredTool() as tool:
            return _structured(tool, call)
        case None:
            offered = [*thread.tools, *([thread.forced_output] if thread.forced_output else [])]
            return ToolFailed(UnknownTool(call.name, [tool.name for tool in offered]))


def _structured(tool: StructuredTool, call: ToolCall) -> ToolOutcome:
    """A structured tool does nothing: its result is whether the object is accepted."""
    try:
        return ToolSucceeded("accepted", tool.validate_object(call.arguments))
    except ToolError as error:
        return ToolFailed(error)


def _by_id(calls: Iterable[ToolCall]) -> tuple[list[ToolCall], list[ToolCall]]:
    """The first call of each id, and those that repeat an id."""
    first: dict[str, ToolCall] = {}
    repeated: list[ToolCall] = []
    for call in calls:
        if call.id in first:
            repeated.append(call)
        else:
            first[call.id] = call
    return list(first.values()), repeated


def _message(thread: ChatThread, call: ToolCall, outcome: ToolOutcome, parent: UUID | None) -> ChatMessage:
    tool: Tool | None = thread.tool_named(call.name)
    return ChatMessage(
        role=MessageRole.tool,
        content=outcome.text if isinstance(outcome, ToolSucceeded) else error_text(outcome.error),
        tool_call_id=call.id,
        tool_name=call.name,
        tool_uuid=tool.lineage_id if tool else None,
        tool_error=isinstance(outcome, ToolFailed),
        parent_message_uuid=parent,
    )
