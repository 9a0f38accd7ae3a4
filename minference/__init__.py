"""Git for conversations, with a fleet of models attached: the names that a first program needs.

Each name is imported from its module when it is first used, so that `import minference` costs next to nothing.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minference.ecs.entity import Entity
    from minference.ecs.registry import EntityRegistry
    from minference.ecs.severity import TraceSeverity
    from minference.ecs.tracer import entity_tracer
    from minference.errors import MinferenceError
    from minference.inference.limits import RequestLimits
    from minference.inference.mcp import McpServer
    from minference.inference.orchestrator import InferenceOrchestrator
    from minference.inference.outcomes import Completed, Failed
    from minference.inference.tool_places import ToolConcurrency
    from minference.storage.open import open_storage
    from minference.threads.attachments import FileAttachment, ImageAttachment
    from minference.threads.config import LLMConfig, ResponseFormat
    from minference.threads.messages import ChatMessage, MessageRole, SystemPrompt, ToolCall, Usage
    from minference.threads.outputs import GeneratedJsonObject, ProcessedOutput, RawOutput
    from minference.threads.thread import ChatThread
    from minference.threads.tools import CallableTool, StructuredTool
    from minference.threads.turns import next_step

__version__ = "0.1.0"

# Silent until `minference.logs.configure` is called, or the application sets up logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOMES = {
    "ChatMessage": "threads.messages",
    "ChatThread": "threads.thread",
    "CallableTool": "threads.tools",
    "Completed": "inference.outcomes",
    "Entity": "ecs.entity",
    "EntityRegistry": "ecs.registry",
    "Failed": "inference.outcomes",
    "FileAttachment": "threads.attachments",
    "GeneratedJsonObject": "threads.outputs",
    "ImageAttachment": "threads.attachments",
    "InferenceOrchestrator": "inference.orchestrator",
    "LLMConfig": "threads.config",
    "McpServer": "inference.mcp",
    "MessageRole": "threads.messages",
    "MinferenceError": "errors",
    "ProcessedOutput": "threads.outputs",
    "RawOutput": "threads.outputs",
    "RequestLimits": "inference.limits",
    "ToolConcurrency": "inference.tool_places",
    "ResponseFormat": "threads.config",
    "StructuredTool": "threads.tools",
    "SystemPrompt": "threads.messages",
    "ToolCall": "threads.messages",
    "TraceSeverity": "ecs.severity",
    "Usage": "threads.messages",
    "entity_tracer": "ecs.tracer",
    "next_step": "threads.turns",
    "open_storage": "storage.open",
}
"""Where each name of the front door lives."""

__all__ = [
    "CallableTool",
    "ChatMessage",
    "ChatThread",
    "Completed",
    "Entity",
    "EntityRegistry",
    "Failed",
    "FileAttachment",
    "GeneratedJsonObject",
    "ImageAttachment",
    "InferenceOrchestrator",
    "LLMConfig",
    "McpServer",
    "MessageRole",
    "MinferenceError",
    "ProcessedOutput",
    "RawOutput",
    "RequestLimits",
    "ResponseFormat",
    "StructuredTool",
    "SystemPrompt",
    "ToolCall",
    "ToolConcurrency",
    "TraceSeverity",
    "Usage",
    "entity_tracer",
    "next_step",
    "open_storage",
]

if not TYPE_CHECKING:  # a type checker that sees `__getattr__` takes every misspelt name for one that exists

    def __getattr__(name: str) -> Any:
        """Import a name of the front door on its first use (PEP 562)."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'minference' has no {name!r}: the front door has {', '.join(__all__)}")
        value = globals()[name] = getattr(import_module(f"minference.{home}"), name)
        return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
