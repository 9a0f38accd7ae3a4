"""What a thread waits for: a pure function of its messages, so that resuming after a crash is just running."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from minference.threads.config import ResponseFormat
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool


@dataclass(frozen=True, slots=True)
class CallModel:
    """The model is to speak."""


@dataclass(frozen=True, slots=True)
class RunTools:
    """Tools are to run, whose calls have no result yet."""

    reply: ChatMessage
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """The user is to speak: nothing was said yet."""


@dataclass(frozen=True, slots=True)
class Done:
    """The model has answered."""

    reply: ChatMessage


Step = CallModel | RunTools | Ask | Done


def next_step(thread: ChatThread) -> Step:
    """What the thread waits for. Reads the messages only, so a reloaded thread resumes by itself.

    An assistant message without a finish reason, which somebody wrote by hand, is an answer; a reply that broke off is none.
    """
    if thread.new_message is not None:
        return CallModel()
    reply = next((message for message in reversed(thread.history) if message.role is MessageRole.assistant), None)
    last = thread.last_message
    if last is None:
        return Ask()
    match last.role:
        case MessageRole.system:
            return Ask()
        case MessageRole.user:
            return CallModel()
        case MessageRole.assistant if last.is_partial:
            return CallModel()
        case MessageRole.assistant:
            missing = _calls_to_run(thread, last)
            if missing:
                return RunTools(last, missing)
            return CallModel() if last.tool_calls and _workflow_goes_on(thread) else Done(last)
        case MessageRole.tool:
            if reply is None:
                return CallModel()
            missing = _calls_to_run(thread, reply)
            if missing:
                return RunTools(reply, missing)
            return Done(reply) if _called_as_forced(thread, reply) else CallModel()
        case unknown:
            assert_never(unknown)


def _workflow_goes_on(thread: ChatThread) -> bool:
    """Whether there is another step, which the model is to be forced to take."""
    return thread.llm_config.response_format is ResponseFormat.workflow and (thread.workflow_step or 0) < len(thread.tools)


def _called_as_forced(thread: ChatThread, reply: ChatMessage) -> bool:
    """Whether the model was to call tools rather than to speak about their results, and has. A forced call that failed is repeated."""
    match thread.llm_config.response_format:
        case ResponseFormat.tool if isinstance(thread.forced_output, CallableTool):
            results = thread.history[thread.history.index(reply) + 1 :]
            return any(result.tool_name == thread.forced_output.name and not result.tool_error for result in results)
        case ResponseFormat.workflow:
            return not _workflow_goes_on(thread)
        case _:
            return False


def _calls_to_run(thread: ChatThread, reply: ChatMessage) -> tuple[ToolCall, ...]:
    """Calls of a structured tool are the answer itself: they wait for nothing. The arguments of erased ones are gone."""
    if reply.erased:
        return ()
    return tuple(
        call for call in thread.unanswered_calls(reply) if (tool := thread.tool_named(call.name)) is None or isinstance(tool, CallableTool)
    )
