"""Tools as Anthropic's Messages takes them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minference.clients.anthropic_messages import called_names
from minference.clients.schemas import ANTHROPIC, optional_and_unions, strict_schema
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, Tool

STRICT_TOOLS, OPTIONAL, UNIONS = 20, 24, 16
"""Of one request: tools that are strict, and in all of their schemas, properties that can be left out and values of several forms."""


def rendered_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The tools in their order, strict where they want to be and can be: the first of them, up to what one request may have."""
    rendered: list[dict[str, Any]] = []
    left = (STRICT_TOOLS, OPTIONAL, UNIONS)
    for tool in tools:
        strict = strict_schema(tool.input_schema, ANTHROPIC) if tool.strict_schema else None
        cost = (1, *optional_and_unions(strict)) if strict is not None else (0, 0, 0)
        if strict is not None and all(one <= other for one, other in zip(cost, left, strict=True)):
            left = (left[0] - cost[0], left[1] - cost[1], left[2] - cost[2])
        else:
            strict = None
        rendered.append(_tool(tool, strict))
    return rendered


def tools_of_history(thread: ChatThread, messages: Sequence[ChatMessage]) -> dict[str, Any]:
    """Calls in the history need their tools, even where the model may not call any."""
    known = [
        thread.tool_named(name) or CallableTool(name=name, input_schema={"type": "object"}, strict_schema=False)
        for name in called_names(messages)
    ]
    return {"tools": rendered_tools(known), "tool_choice": {"type": "none"}} if known else {}


def _tool(tool: Tool, strict: dict[str, Any] | None) -> dict[str, Any]:
    described = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **described, "input_schema": strict or tool.input_schema, **({"strict": True} if strict else {})}
