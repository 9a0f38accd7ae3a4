"""A client that answers from a script: for tests, and for trying out a run without a model."""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from minference.clients.base import Reply, Request, Response, TextDelta, TokenUsage
from minference.clients.counts import MOST_TOKENS
from minference.clients.departure import request_left
from minference.clients.parsing import Part, read
from minference.clients.transcript import forced_output, merge_extra, messages_to_send, offer_of, system_text
from minference.ecs.recording import NothingRecorded
from minference.errors import ConfigurationError, WrongArgument
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, SystemPrompt, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool

Said = str | ToolCall | Reply | BaseException
"""One entry of a script: text, a tool call, a whole reply, or an error to raise."""
Answering = Callable[[ChatThread], Said | Awaitable[Said]]
"""What answers a thread as the model sees it."""

RENDERED = ("model", "messages", "system", "tools", "forced_tool")
_SHOWN = {"role", "content", "tool_calls", "tool_call_id", "tool_name", "tool_error"}
_SHOWN_OF_ATTACHMENTS = {"name", "media_type", "content", "url", "detail"}


_Count = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


class _Usage(Part):
    prompt: _Count
    completion: _Count
    cached: _Count | None = None
    cache_written: _Count | None = None
    reasoning: _Count | None = None
    audio: _Count | None = None
    accepted_prediction: _Count | None = None
    rejected_prediction: _Count | None = None


class _Payload(Part):
    content: str
    model: str
    finish_reason: FinishReason = Field(strict=False)
    tool_calls: list[dict[str, Any]] = Field(default_factory=list)
    usage: _Usage | None = None
    reasoning: str | None = None
    reasoning_json: str | None = None
    refusal: str | None = None


def echo(thread: ChatThread) -> str:
    """Repeat what the user said last."""
    said = next((message.content for message in reversed(thread.history) if message.role is MessageRole.user), "")
    return f"You said: {said}"


class ScriptedClient:
    """Gives the replies of a script, one per call in the order of the calls; one function answers every call.

    ```python
    client = ScriptedClient(["Hello.", ToolCall(id="1", name="add", arguments_json="{}"), ProviderTimeout(...), lambda thread: "Bye."])
    ```
    """

    def __init__(self, script: Iterable[Said | Answering] | Answering = echo, *, name: str = "scripted") -> None:
        """Answer so.

        Raises:
            WrongArgument: This is one reply that is not in a list, or no script.
        """
        if isinstance(script, str | bytes | BaseModel | Reply) or not (callable(script) or isinstance(script, Iterable)):
            raise WrongArgument("script", script, "replies in a list, also if it is one: ['Hello.'], or a function that answers every call")
        self.name = name
        self.requests: list[Request] = []
        """Every request that was sent, in order."""
        self.closed = False
        self._always = script if callable(script) else None
        self._script = deque[Said | Answering](() if callable(script) else script)

    def check(self) -> None:
        """Return: a script needs no key."""

    def to_request(self, thread: ChatThread) -> Request:
        """The thread as the model sees it, as JSON data; attachments without their bytes. Pure.

        Raises:
            ConfigurationError: The response format needs a tool that the thread does not have.
        """
        config, offer = thread.llm_config, offer_of(thread)
        if config.response_format is ResponseFormat.structured_output:
            forced_output(thread)  # a script has no use for the schema, and every provider has
        messages = [_message(message) for message in messages_to_send(thread)]
        request: Request = {"model": config.model, "max_tokens": config.max_tokens, "system": system_text(thread), "messages": messages}
        if offer.tools:
            request["tools"] = [_tool(tool) for tool in offer.tools]
        if offer.forced:
            request["forced_tool"] = offer.forced.name
        return merge_extra(request, config, self.name, RENDERED)

    def from_response(self, payload: dict[str, Any], request: Request | None = None) -> Reply:  # noqa: ARG002 - a script is asked as a thread is
        """What the answer says. Pure.

        Raises:
            InvalidReply: It is not what `send` gives.
        """
        found = read(self.name, payload, _Payload)
        return Reply(
            content=found.content,
            model=found.model,
            finish_reason=found.finish_reason,
            tool_calls=tuple(ToolCall.model_validate(call) for call in found.tool_calls),
            usage=TokenUsage(**found.usage.model_dump()) if found.usage else None,
            reasoning=found.reasoning,
            reasoning_json=found.reasoning_json,
            refusal=found.refusal,
        )

    async def send(self, request: Request, *, timeout: float) -> Response:  # noqa: ARG002 - a script is never late
        """The next reply of the script.

        Raises:
            ConfigurationError: The script has ended.
            BaseException: The script says so.
        """
        self.requests.append(request)
        request_left()
        entry = self._always or self._next()
        said = entry(_as_thread(request)) if callable(entry) else entry
        said = await said if inspect.isawaitable(said) else said
        if isinstance(said, BaseException):
            raise said
        return Response(_payload(request, said))

    async def stream(self, request: Request, *, timeout: float) -> AsyncGenerator[TextDelta | Response, None]:
        """The next reply of the script, word by word, then whole."""
        response = await self.send(request, timeout=timeout)
        for piece in re.findall(r"\S*\s*", response.payload["content"]):
            if piece:
                yield TextDelta(piece)
        yield response

    async def aclose(self) -> None:
        """Remember in `closed` that the client was closed."""
        self.closed = True

    def _next(self) -> Said | Answering:
        if not self._script:
            raise ConfigurationError(f"the script of client {self.name!r} has ended after {len(self.requests) - 1} replies: add more")
        return self._script.popleft()


class FunctionClient(ScriptedClient):
    """Lets one function, sync or async, answer every call: it is given the thread as the model sees it.

    ```python
    client = FunctionClient(lambda thread: thread.history[-1].content.upper())
    ```
    """

    def __init__(self, function: Answering, *, name: str = "scripted") -> None:
        """Answer so.

        Raises:
            WrongArgument: This is no function.
        """
        if not callable(function):
            raise WrongArgument("function", function, "a function that takes a thread (a list of replies: ScriptedClient(replies))")
        super().__init__(function, name=name)


def _message(message: ChatMessage) -> dict[str, Any]:
    shown = message.model_dump(mode="json", include=_SHOWN)
    if message.attachments:
        shown["attachments"] = [each.model_dump(mode="json", include=_SHOWN_OF_ATTACHMENTS) for each in message.attachments]
    return shown


def _tool(tool: CallableTool | StructuredTool) -> dict[str, Any]:
    kind: Literal["callable", "structured"] = "callable" if isinstance(tool, CallableTool) else "structured"
    return {"kind": kind, "name": tool.name, "description": tool.description, "input_schema": tool.input_schema}


def _as_thread(request: Request) -> ChatThread:
    """A thread of its own that holds what the request tells the model; no block that records what is constructed saves it."""
    with NothingRecorded():
        return _thread_of(request)


def _thread_of(request: Request) -> ChatThread:
    tools: list[CallableTool | StructuredTool] = [
        CallableTool(name=tool["name"], docstring=tool["description"], input_schema=tool["input_schema"])
        if tool["kind"] == "callable"
        else StructuredTool(name=tool["name"], description=tool["description"], json_schema=tool["input_schema"])
        for tool in request.get("tools", ())
    ]
    return ChatThread(
        system_prompt=SystemPrompt(content=request["system"]) if request["system"] else None,
        llm_config=LLMConfig(client="scripted", model=request["model"], max_tokens=request["max_tokens"]),
        history=[ChatMessage.model_validate(message) for message in request["messages"]],
        tools=tools,
        forced_output=next((tool for tool in tools if tool.name == request.get("forced_tool")), None),
    )


def _payload(request: Request, said: Said) -> dict[str, Any]:
    match said:
        case str():
            said = Reply(content=said, model=request["model"], finish_reason=FinishReason.stop)
        case ToolCall():
            said = Reply(content="", model=request["model"], finish_reason=FinishReason.tool_calls, tool_calls=(said,))
        case Reply():
            pass
        case _:
            raise ConfigurationError(f"a script holds text, tool calls, replies, errors and functions that return them, not {said!r}")
    usage = said.usage or TokenUsage(prompt=_tokens(request), completion=max(1, len(said.content) // 4))
    return {
        "content": said.content,
        "model": said.model,
        "finish_reason": said.finish_reason.value,
        "tool_calls": [call.model_dump() for call in said.tool_calls],
        "usage": asdict(usage),
        "reasoning": said.reasoning,
        "reasoning_json": said.reasoning_json,
        "refusal": said.refusal,
    }


def _tokens(request: Request) -> int:
    """About as many tokens as a model would count."""
    return max(1, sum(len(message["content"]) for message in request["messages"]) // 4)
