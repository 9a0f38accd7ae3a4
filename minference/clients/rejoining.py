"""Replies as a thread wants them, where the provider had to be asked in another way. Pure."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from minference.clients.base import Reply
from minference.clients.call_ids import made_up_ids
from minference.clients.written_calls import find_written_calls
from minference.threads.messages import FinishReason, ToolCall

JSON_ANSWER = "json_answer"
"""The tool that an answer is asked for with, where a provider has no other way. No tool of a thread may have this name."""


def with_answer(reply: Reply) -> Reply:
    """The reply with the arguments of `json_answer` as its text, as if the provider had been asked for text of that form."""
    answers = [call for call in reply.tool_calls if call.name == JSON_ANSWER]
    if not answers:
        return reply
    calls = tuple(call for call in reply.tool_calls if call.name != JSON_ANSWER)
    done = reply.finish_reason is FinishReason.tool_calls and not calls
    reason = FinishReason.stop if done else reply.finish_reason
    return replace(reply, content=answers[0].arguments_json, tool_calls=calls, finish_reason=reason)


def with_prefill(reply: Reply, prefill: str) -> Reply:
    """The reply with what was begun for the model before it, unless the server has put it there itself."""
    if not prefill or reply.content.startswith(prefill) or reply.refusal is not None:
        return reply
    return replace(reply, content=prefill + reply.content)


class PrefilledText:
    """The pieces of a streamed reply, with what was begun for the model before them, unless the server has put it there itself."""

    def __init__(self, prefill: str) -> None:
        self._prefill = prefill
        self._held = ""

    def add(self, text: str) -> str:
        """What can be told now."""
        if not self._prefill:
            return text
        self._held += text
        if self._prefill.startswith(self._held):
            return ""
        return self.rest()

    def rest(self) -> str:
        """What is left to be told."""
        told = self._held if self._held.startswith(self._prefill) else self._prefill + self._held
        told, self._prefill, self._held = told if self._held else "", "", ""
        return told


def with_written_calls(reply: Reply, offered: Set[str], reply_id: str) -> Reply:
    """The reply with calls that the model wrote as text taken out of it, if tools were offered and it made no call otherwise."""
    if not offered or reply.tool_calls or not reply.content:
        return reply
    text, found = find_written_calls(reply.content, offered)
    if not found:
        return reply
    ids = made_up_ids(reply_id, reply.content)
    calls = tuple(ToolCall(id=next(ids), name=name, arguments_json=written) for name, written in found)
    reason = FinishReason.tool_calls if reply.finish_reason is FinishReason.stop else reply.finish_reason
    return replace(reply, content=text, tool_calls=calls, finish_reason=reason)
