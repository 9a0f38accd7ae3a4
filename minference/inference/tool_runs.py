"""Runs the tool calls of one turn side by side, and each wherever its tool is at home."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from uuid import UUID

from minference.ecs.callables import CallableRegistry
from minference.errors import RepeatedCall, ToolError, UnknownTool
from minference.inference.references import resolve_references
from minference.inference.source_tools import run_source
from minference.inference.tool_functions import prepare, run_prepared
from minference.inference.tool_results import ToolFailed, ToolOutcome, ToolSucceeded, error_text
from minference.inference.workshop import Workshop
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.nulls import without_spare_nulls
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool, Tool
from minference.waiting import ended


async def run_tool_call(tool: CallableTool, call: ToolCall, workshop: Workshop | None = None) -> ToolOutcome:
    """Run one call. Whatever the tool does ends up in the outcome; only a cancellation of the caller gets out.

    A sync function runs in a thread and is left behind there if it does not finish in time or the caller is cancelled. An
    async function runs in a task of its own, and is cancelled. Source text runs where the workshop says, if anywhere.
    """
    workshop = workshop or Workshop()
    try:
        arguments = without_spare_nulls(tool.input_schema, call.arguments)
        if tool.resolve_references:
            arguments = await resolve_references(tool.name, arguments, workshop.storage)
        if tool.source_text is not None:
            return await run_source(tool, tool.source_text, arguments, workshop)
        return await run_prepared(prepare(tool, CallableRegistry.get(tool.name)), arguments, workshop.threads)
    except ToolError as error:
        return ToolFailed(error)


async def run_tool_calls(
    thread: ChatThread,
    calls: Iterable[ToolCall],
    *,
    parent_message_uuid: UUID | None = None,
    limit: int = 8,
    workshop: Workshop | None = None,
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
                running[asyncio.create_task(_outcome(thread, call, workshop))] = call
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
        await ended(running)


async def _outcome(thread: ChatThread, call: ToolCall, workshop: Workshop | None) -> ToolOutcome:
    workshop = workshop or Workshop()
    if workshop.places is None or not isinstance(tool := thread.tool_named(call.name), CallableTool):
        return await _observed(thread, call, workshop)
    async with workshop.places.place(tool.name):
        return await _observed(thread, call, workshop)


async def _observed(thread: ChatThread, call: ToolCall, workshop: Workshop) -> ToolOutcome:
    operation = workshop.telemetry.tool(thread, call)
    try:
        with operation.active():
            outcome = await _run(thread, call, workshop)
    except BaseException as error:
        operation.end(error)
        raise
    operation.finished(outcome)
    return outcome


async def _run(thread: ChatThread, call: ToolCall, workshop: Workshop) -> ToolOutcome:
    match thread.tool_named(call.name):
        case CallableTool() as tool:
            return await run_tool_call(tool, call, workshop)
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
        attachments=outcome.attachments if isinstance(outcome, ToolSucceeded) else (),
        tool_call_id=call.id,
        tool_name=call.name,
        tool_uuid=tool.lineage_id if tool else None,
        tool_error=isinstance(outcome, ToolFailed),
        parent_message_uuid=parent,
    )
