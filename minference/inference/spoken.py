"""What was said, as the JSON that OpenTelemetry's conventions want of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from minference.clients.base import Reply
from minference.threads.attachments import Attached, ImageLink
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.thread import ChatThread


def messages(thread: ChatThread) -> str:
    """The history, without the bytes of attachments."""
    return json.dumps([_message(each) for each in thread.history])


def instructions(thread: ChatThread) -> str | None:
    """The system prompt, if there is one."""
    return json.dumps([{"type": "text", "content": thread.system_prompt.content}]) if thread.system_prompt else None


def reply_message(reply: Reply) -> str:
    """The reply as a list of one message."""
    parts = _said(reply.content or reply.refusal or "", reply.reasoning, reply.tool_calls)
    return json.dumps([{"role": "assistant", "parts": parts, "finish_reason": reply.finish_reason.value}])


def _message(message: ChatMessage) -> dict[str, Any]:
    if message.role is MessageRole.tool:
        parts: list[dict[str, Any]] = [{"type": "tool_call_response", "id": message.tool_call_id, "response": message.content}]
    else:
        parts = _said(message.content or message.refusal or "", message.reasoning, message.tool_calls)
    parts += [_attached(each) for each in message.attachments]
    return {"role": message.role.value, "parts": parts}


def _attached(attached: Attached) -> dict[str, Any]:
    if isinstance(attached, ImageLink):
        return {"type": "uri", "modality": "image", "uri": attached.url}
    return {"type": "attachment", "mime_type": attached.media_type, "name": attached.name}


def _said(text: str, reasoning: str | None, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    thought = [{"type": "reasoning", "content": reasoning}] if reasoning else []
    said = [{"type": "text", "content": text}] if text else []
    return [*thought, *said, *({"type": "tool_call", "id": call.id, "name": call.name, "arguments": _arguments(call)} for call in calls)]


def _arguments(call: ToolCall) -> object:
    """As JSON data, or as the model wrote them if that is none."""
    try:
        return json.loads(call.arguments_json or "{}")
    except (ValueError, RecursionError):
        return call.arguments_json
