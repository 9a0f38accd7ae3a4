"""What happens to a thread while it runs, as `stream` tells it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from minference.clients.base import TextDelta
from minference.inference.outcomes import Outcome
from minference.threads.messages import ChatMessage, ToolCall

__all__ = ["Event", "Finished", "Saved", "TextDelta", "ToolCalled", "ToolResult"]


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """A tool is about to run."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool has given a result or an error; it is not saved yet."""

    call: ToolCall
    message: ChatMessage


@dataclass(frozen=True, slots=True)
class Saved:
    """The thread stands on a new, durable version that holds this message."""

    version: UUID
    message: ChatMessage


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event: how it ended."""

    outcome: Outcome


Event = TextDelta | ToolCalled | ToolResult | Saved | Finished
"""Text of a reply as it comes; tools; what was saved; the end."""
