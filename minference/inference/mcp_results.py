"""What an MCP server says of its tools and returns from them, in our words. Nothing here does I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue
from pydantic_core import to_json

from minference.errors import McpToolFailed
from minference.threads.schemas import check_schema, inlined, schema_validator
from minference.threads.tools import CallableTool

if TYPE_CHECKING:
    from mcp.types import CallToolResult, ContentBlock, Tool


def tool_of(found: Tool, name: str, timeout: float | None) -> CallableTool:
    """The server's tool under our name for it.

    Raises:
        InvalidToolSchema: A schema is not valid, or the arguments are no object.
    """
    hints = found.annotations
    repeatable = hints is not None and bool(hints.idempotent_hint or hints.read_only_hint)
    input_schema = {"properties": {}, **inlined(found.input_schema)}
    check_schema(name, input_schema)
    if found.output_schema is not None:
        schema_validator(name, found.output_schema)
    return CallableTool(
        name=name,
        docstring=found.description or found.title or "",
        input_schema=input_schema,
        output_schema=found.output_schema,
        timeout=timeout,
        idempotent=repeatable,
        strict_schema=False,
    )


def result_of(tool: str, server: str, result: CallToolResult) -> JsonValue:
    """The structured content if there is any, else the content as text. What is neither text nor JSON is described.

    Raises:
        McpToolFailed: The server says that the tool failed.
    """
    text = "\n".join(_shown(block) for block in result.content)
    if result.is_error:
        raise McpToolFailed(tool, server, text or "it gives no reason")
    structured: JsonValue = result.structured_content
    if structured is None:
        return text
    described = [_shown(block) for block in result.content if block.type != "text"]
    return structured if not described else "\n".join([to_json(structured).decode(), *described])


def _shown(block: ContentBlock) -> str:
    """The block as a model can read it."""
    from mcp.types import AudioContent, EmbeddedResource, ImageContent, TextContent, TextResourceContents

    match block:
        case TextContent():
            return block.text
        case ImageContent() | AudioContent():
            return f"[{block.type} ({block.mime_type}, {_size(block.data)} bytes), which cannot be shown here]"
        case EmbeddedResource():
            held = block.resource
            if isinstance(held, TextResourceContents):
                return held.text
            return f"[resource {held.uri} ({held.mime_type or 'unknown type'}, {_size(held.blob)} bytes), which cannot be shown here]"
        case link:
            return f"[resource {link.uri}: {link.title or link.name}]"


def _size(base64: str) -> int:
    """How many bytes the text stands for."""
    return len(base64.rstrip("=")) * 3 // 4
