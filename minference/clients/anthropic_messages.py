"""A history as Anthropic's Messages has it: blocks, roles in turn, results in the message after their calls. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import to_json

from minference.clients.anthropic_parts import attachment_blocks
from minference.clients.anthropic_replies import THINKING
from minference.clients.call_ids import CallIds, safe_tool_name
from minference.clients.reasoning import own_blocks
from minference.clients.transcript import refuse_attachments
from minference.errors import InvalidToolArguments
from minference.threads.messages import ChatMessage, MessageRole, ToolCall

EMPTY = "(empty)"
"""What the user says with nothing but white space: it is refused."""
BEGINNING = "(The conversation begins.)"
"""What the user says before an assistant that speaks first: the first message must be the user's."""

Block = dict[str, Any]


def rendered_messages(client: str, messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """The messages, neighbours of one role made one, so that all results of a reply stand in the message after it.

    Raises:
        UnsupportedAttachment: A message carries what cannot be sent.
    """
    ids = CallIds(plain=True)
    merged: list[dict[str, Any]] = []
    for role, blocks in (_rendered(client, message, ids) for message in messages):
        if not merged and role == "assistant" and blocks:
            merged.append({"role": "user", "content": _text(BEGINNING)})
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += blocks
        elif blocks:
            merged.append({"role": role, "content": list(blocks)})
    return merged


def _rendered(client: str, message: ChatMessage, ids: CallIds) -> tuple[str, list[Block]]:
    """The role and the blocks of one message; a tool result is something that the user says."""
    match message.role:
        case MessageRole.user:
            return "user", [*attachment_blocks(client, message.attachments), *_text(message.content)] or _text(EMPTY)
        case MessageRole.tool:
            shown = attachment_blocks(client, message.attachments)
            content = [*shown, *_text(message.content)] if shown else message.content
            result = {"type": "tool_result", "tool_use_id": ids.of_result(message.tool_call_id or ""), "content": content}
            return "user", [{**result, "is_error": True} if message.tool_error else result]
        case role:
            refuse_attachments(client, message, f"messages of the {role.value} carry no attachments: put it into one of the user")
            return role.value, _assistant(client, message, ids) if role is MessageRole.assistant else _text(message.content)


def _assistant(client: str, message: ChatMessage, ids: CallIds) -> list[Block]:
    kept = own_blocks(client, message)
    if not all(block.get("type") in THINKING for block in kept) and _says_the_same(kept, message):
        return [
            {**block, "id": ids.of_call(block["id"]), "name": safe_tool_name(block["name"])} if block.get("type") == "tool_use" else block
            for block in kept
        ]
    thoughts = kept if all(block.get("type") in THINKING for block in kept) else []
    said = [*_text(message.content or message.refusal or ""), *(_tool_use(call, ids) for call in message.tool_calls)]
    return [*thoughts, *said] if said else []  # thoughts alone are no turn


def _says_the_same(blocks: list[Block], message: ChatMessage) -> bool:
    """Whether the blocks, thoughts among the words, are ours and still say what the message does: it may have been edited."""
    ours = any(block.get("type") in (*THINKING, "text", "tool_use") for block in blocks)
    text = "".join(block["text"] for block in blocks if block.get("type") == "text")
    calls = [(block["id"], block["name"], to_json(block["input"]).decode()) for block in blocks if block.get("type") == "tool_use"]
    return ours and text == message.content and calls == [(call.id, call.name, call.arguments_json) for call in message.tool_calls]


def _text(text: str) -> list[Block]:
    """Blocks of text that say nothing are refused by the API."""
    return [{"type": "text", "text": text}] if text.strip() else []


def _tool_use(call: ToolCall, ids: CallIds) -> Block:
    """A call in the history. What the model wrote instead of an object goes back to it, so that the error result makes sense."""
    try:
        arguments: dict[str, Any] = call.arguments
    except InvalidToolArguments:
        arguments = {"invalid_arguments": call.arguments_json}
    return {"type": "tool_use", "id": ids.of_call(call.id), "name": safe_tool_name(call.name), "input": arguments}


def mark_for_caching(request: dict[str, Any]) -> None:
    """Mark where the provider's cache pays: after the tools, after the system prompt, and at the end of the history.

    The last mark moves with the history; the one before, where it stood a turn ago, lets a turn of many blocks be found.
    """
    for part in ("tools", "system"):
        if request.get(part):
            _mark(request[part])
    asked = [message["content"] for message in request["messages"] if message["role"] == "user"]
    for content in asked[-2:]:
        _mark(content)


def _mark(blocks: list[Block]) -> None:
    """Mark the last one, as a copy: blocks that were kept from a reply are shared."""
    blocks[-1] = {**blocks[-1], "cache_control": {"type": "ephemeral"}}


def called_names(messages: Iterable[ChatMessage]) -> list[str]:
    """The tools that are called in the messages, each once, as they are named there."""
    return list({safe_tool_name(call.name): None for message in messages for call in message.tool_calls})
