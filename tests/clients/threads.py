"""Threads that the tests of several clients use."""

from __future__ import annotations

from typing import Any

from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, SystemPrompt, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool

ADD = CallableTool(
    name="add",
    docstring="Add two numbers.",
    input_schema={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 1}},
        "required": ["a"],
    },
)
ADD_STRICT = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "description": "(default: 1)"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
CITY = StructuredTool(
    name="city",
    description="A city.",
    json_schema={"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
)
CITY_STRICT = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}
SCORES = StructuredTool(
    name="scores",
    json_schema={
        "type": "object",
        "properties": {"of": {"type": "object", "additionalProperties": {"type": "number"}}},
        "required": ["of"],
    },
)


def user(text: str) -> ChatMessage:
    return ChatMessage(role=MessageRole.user, content=text)


def config(client: str = "openai", response_format: ResponseFormat = ResponseFormat.text, **fields: Any) -> LLMConfig:
    return LLMConfig(client=client, model="some-model", max_tokens=100, response_format=response_format, **fields)


def conversation(client: str, response_format: ResponseFormat = ResponseFormat.auto_tools, **fields: Any) -> ChatThread:
    """Everything that a history can hold: two calls in one reply, an error result, a plain answer and a new question."""
    calls = (
        ToolCall(id="call_1", name="add", arguments_json='{"a": 1, "b": 2}'),
        ToolCall(id="call_2", name="add", arguments_json='{"a": "x"}'),
    )
    return ChatThread(
        llm_config=config(client, response_format, **fields),
        system_prompt=SystemPrompt(content="Be brief."),
        history=[
            user("What is 1 + 2, and x + 1?"),
            ChatMessage(role=MessageRole.assistant, content="Let me see.", tool_calls=calls, finish_reason=FinishReason.tool_calls),
            ChatMessage(role=MessageRole.tool, content="3", tool_call_id="call_1", tool_name="add"),
            ChatMessage(role=MessageRole.tool, content="a is no number", tool_call_id="call_2", tool_name="add", tool_error=True),
            ChatMessage(role=MessageRole.assistant, content="3, and there is no x.", finish_reason=FinishReason.stop),
        ],
        new_message="And 3 + 4?",
        tools=[ADD],
    )


def asked(client: str, response_format: ResponseFormat = ResponseFormat.text, **fields: Any) -> ChatThread:
    """One question."""
    return ChatThread(llm_config=config(client, response_format, **fields), new_message="Hello?")
