"""The dialect of Anthropic's Messages, through Anthropic's SDK."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from pydantic_core import from_json, to_json

from minference.clients.anthropic_parts import attachment_blocks
from minference.clients.anthropic_replies import THINKING, AnswerStream, read_answer
from minference.clients.base import Reply, Request, Response, TextDelta
from minference.clients.embedding import embed
from minference.clients.profiles import NO_KEY, Profile
from minference.clients.schemas import strict_schema
from minference.clients.transcript import Offer, forced_output, merge_extra, messages_to_send, offer_of, refuse_attachments, system_text
from minference.clients.transport import Caller, Sdk, sdk_http_client
from minference.errors import ConfigurationError, InvalidToolArguments, ProviderError, ProviderUnreachable
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool, Tool

log = logging.getLogger(__name__)

RENDERED = ("model", "messages", "system", "tools", "stream")
"""What `LLMConfig.extra` cannot replace: it comes from the thread."""
OLD_VERSION = "2023-06-01"
"""The API version under which older models take sampling parameters."""
VERSION_HEADER = "anthropic_version"
"""In `LLMConfig.extra` and in a request: the API version, which is sent as a header."""


class AnthropicClient:
    """Anthropic, or a server that speaks its Messages.

    Sampling parameters are gone from the current API version: `temperature`, `top_p` and `seed` are left out, with one
    warning per model. `extra={"anthropic_version": "2023-06-01"}` sends the first two, for the older models that take them.

    One object can be used from several event loops, one after the other or at once: each gets its own connections.
    """

    def __init__(self, profile: Profile) -> None:
        self.name = profile.name
        self.profile = profile
        self._caller = Caller(profile.name, "/v1/messages", self._build)
        self._warned: set[tuple[str, str]] = set()

    def check(self) -> None:
        """Return if key and base URL are there.

        Raises:
            MissingKey: The API key is not in the environment.
            ConfigurationError: There is no usable base URL.
        """
        self.profile.key()
        self.profile.url()

    def account(self) -> str:
        """See `HasAccount.account`."""
        return self.profile.account()

    def to_request(self, thread: ChatThread) -> Request:
        """The body of the request for the thread's next reply, and the API version if the config names one. Pure.

        Raises:
            ConfigurationError: The config asks for what this provider cannot do.
        """
        config = thread.llm_config
        self._refuse_impossible(config)
        messages = messages_to_send(thread)
        request: Request = {"model": config.model, "max_tokens": config.max_tokens, "messages": _merged(map(self._message, messages))}
        if system := system_text(thread):
            request["system"] = [{"type": "text", "text": system}]
        request |= self._parameters(config) | self._tools(thread, messages) | _output_config(thread)
        if config.use_cache:
            request["cache_control"] = {"type": "ephemeral"}
        return merge_extra(request, config, self.name, RENDERED)

    def from_response(self, payload: dict[str, Any]) -> Reply:
        """What the answer says. Pure.

        Raises:
            InvalidReply: It is not what the dialect promises.
        """
        return read_answer(self.name, payload)

    async def send(self, request: Request, *, timeout: float) -> Response:
        """Make one attempt at one call; `timeout` in seconds.

        Raises:
            ProviderError: What went wrong, as attributes.
        """
        return await self._caller.send(_body(embed(request)), self._headers(request), timeout)

    async def stream(self, request: Request, *, timeout: float) -> AsyncGenerator[TextDelta | Response, None]:
        """Text as it comes, then the whole answer as `send` would give it.

        Raises:
            ProviderError: What went wrong, as attributes; retryable if the stream broke off.
        """
        answer, headers = AnswerStream(self.name), dict[str, str]()
        body = {**_body(embed(request)), "stream": True}
        try:
            async with aclosing(self._caller.events(body, self._headers(request), timeout)) as events:
                async for event, received in events:
                    headers = received
                    if text := answer.add(event):
                        yield TextDelta(text)
        except ProviderError:
            if not answer.finished:  # else nothing is missing
                raise
        if not answer.finished:
            raise ProviderUnreachable(self.name, "the stream ended before the reply did", retryable=True)
        yield Response(answer.payload(), headers)

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await self._caller.aclose()

    def _build(self) -> Sdk:
        import anthropic

        key = self.profile.key()
        client = anthropic.AsyncAnthropic(
            api_key=key or NO_KEY,
            base_url=self.profile.url(),
            max_retries=0,
            open_telemetry=False,
            http_client=sdk_http_client(anthropic.DefaultAioHttpClient),
        )
        return Sdk(client, key, anthropic.AsyncStream[object], anthropic.APIError, anthropic.APIStatusError)

    def _headers(self, request: Request) -> dict[str, str]:
        version = request.get(VERSION_HEADER)
        return {**self.profile.headers, **({"anthropic-version": str(version)} if version else {})}

    def _refuse_impossible(self, config: LLMConfig) -> None:
        if config.response_format is ResponseFormat.json_object:
            raise ConfigurationError(f"client {self.name!r} has no JSON mode: use 'structured_output', 'tool' or 'json_beg'")
        if config.reasoning_effort == "minimal":
            raise ConfigurationError(
                f"client {self.name!r} has no reasoning_effort 'minimal': use 'none', 'low', 'medium', 'high' or 'max'"
            )
        if config.reasoner and config.response_format in (ResponseFormat.tool, ResponseFormat.workflow):
            raise ConfigurationError(
                f"client {self.name!r} cannot reason before a forced tool: use 'structured_output' or 'auto_tools', or reasoner=False"
            )

    def _message(self, message: ChatMessage) -> tuple[str, list[dict[str, Any]]]:
        """The role and the blocks of one message; a tool result is something that the user says."""
        match message.role:
            case MessageRole.user:
                return "user", [*attachment_blocks(self.name, message.attachments), *_text(message.content)]
            case MessageRole.tool:
                shown = attachment_blocks(self.name, message.attachments)
                content = [*shown, *_text(message.content)] if shown else message.content
                result = {"type": "tool_result", "tool_use_id": _call_id(message.tool_call_id or ""), "content": content}
                return "user", [{**result, "is_error": True} if message.tool_error else result]
            case role:
                refuse_attachments(self.name, message, f"messages of the {role.value} carry no attachments: put it into one of the user")
                return role.value, _assistant_blocks(message) if role is MessageRole.assistant else _text(message.content)

    def _tools(self, thread: ChatThread, messages: Sequence[ChatMessage]) -> dict[str, Any]:
        offer = offer_of(thread)
        if _needs_tool_for_output(thread):
            output = forced_output(thread)
            if not isinstance(output, StructuredTool) or thread.llm_config.reasoner:
                raise ConfigurationError(
                    f"client {self.name!r} cannot hold a reply to the schema of {output.name!r}, which allows free keys, any values or "
                    "tuples: close its objects, or use a StructuredTool and reasoner=False, so that it can be asked for as a tool call"
                )
            # With tools beside it, the model works with them first, and answers by calling this one.
            choice: dict[str, Any] = {"type": "any"} if offer.tools else _must_call(output)
            return {"tools": [*map(_tool, offer.tools), _tool(output)], "tool_choice": choice}
        return _offered(offer) if offer.tools else _tools_of_history(thread, messages)

    def _parameters(self, config: LLMConfig) -> dict[str, Any]:
        parameters: dict[str, Any] = {}
        sampling = {"temperature": config.temperature, "top_p": config.top_p}
        if config.extra.get(VERSION_HEADER):
            parameters |= {name: value for name, value in sampling.items() if value is not None}
            self._warn_of_dropped(config, {"seed": config.seed})
        else:
            self._warn_of_dropped(config, {**sampling, "seed": config.seed})
        if config.stop:
            parameters["stop_sequences"] = list(config.stop)
        if config.reasoning_effort == "none":
            parameters["thinking"] = {"type": "disabled"}
        elif config.reasoner:
            parameters["thinking"] = {"type": "adaptive"}
        return parameters

    def _warn_of_dropped(self, config: LLMConfig, parameters: dict[str, Any]) -> None:
        for name, value in parameters.items():
            if value is not None and (config.model, name) not in self._warned:
                self._warned.add((config.model, name))
                log.warning("%s takes no %s, it is not sent", self.name, name, extra={"client": self.name, "model": config.model})


def _assistant_blocks(message: ChatMessage) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = from_json(message.reasoning_json) if message.reasoning_json else []
    plain = [*_text(message.content or message.refusal or ""), *map(_tool_use, message.tool_calls)]
    if all(block.get("type") in THINKING for block in kept):
        return [*kept, *plain]
    return kept if _says_the_same(kept, message) else plain


def _says_the_same(blocks: list[dict[str, Any]], message: ChatMessage) -> bool:
    """Whether the blocks, thoughts among the words, are ours and still say what the message does: it may have been edited."""
    ours = any(block.get("type") in (*THINKING, "text", "tool_use") for block in blocks)
    text = "".join(block["text"] for block in blocks if block.get("type") == "text")
    calls = [(block["id"], block["name"], to_json(block["input"]).decode()) for block in blocks if block.get("type") == "tool_use"]
    return ours and text == message.content and calls == [(call.id, call.name, call.arguments_json) for call in message.tool_calls]


def _text(text: str) -> list[dict[str, Any]]:
    """Empty text blocks are refused by the API."""
    return [{"type": "text", "text": text}] if text else []


def _tool_use(call: ToolCall) -> dict[str, Any]:
    """A call in the history. What the model wrote instead of an object goes back to it, so that the error result makes sense."""
    try:
        arguments: dict[str, Any] = call.arguments
    except InvalidToolArguments:
        arguments = {"invalid_arguments": call.arguments_json}
    return {"type": "tool_use", "id": _call_id(call.id), "name": call.name, "input": arguments}


def _call_id(id: str) -> str:
    """Ids that other providers gave may hold characters that this one refuses."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", id)


def _merged(messages: Iterable[tuple[str, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Messages with neighbours of one role made one, so that all results of a reply stand in the message after it."""
    merged: list[dict[str, Any]] = []
    for role, blocks in messages:
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += blocks
        elif blocks:
            merged.append({"role": role, "content": list(blocks)})
    return merged


def _offered(offer: Offer) -> dict[str, Any]:
    choice = {"tool_choice": _must_call(offer.forced)} if offer.forced is not None else {}
    return {"tools": list(map(_tool, offer.tools)), **choice}


def _must_call(tool: Tool) -> dict[str, Any]:
    return {"type": "tool", "name": tool.name, "disable_parallel_tool_use": True}


def _tools_of_history(thread: ChatThread, messages: Sequence[ChatMessage]) -> dict[str, Any]:
    """Calls in the history need their tools, even where the model may not call any."""
    called = {call.name: None for message in messages for call in message.tool_calls}
    known = [thread.tool_named(name) or CallableTool(name=name, input_schema={"type": "object"}, strict_schema=False) for name in called]
    return {"tools": list(map(_tool, known)), "tool_choice": {"type": "none"}} if known else {}


def _tool(tool: Tool) -> dict[str, Any]:
    rendered: dict[str, Any] = {"name": tool.name, **({"description": tool.description} if tool.description else {})}
    strict = _transformed(tool.input_schema) if tool.strict_schema else None
    return {**rendered, "input_schema": strict or tool.input_schema, **({"strict": True} if strict else {})}


def _output_config(thread: ChatThread) -> dict[str, Any]:
    config = thread.llm_config
    output: dict[str, Any] = {}
    if config.reasoning_effort not in (None, "none"):
        output["effort"] = config.reasoning_effort
    if config.response_format is ResponseFormat.structured_output and (schema := _transformed(forced_output(thread).input_schema)):
        output["format"] = {"type": "json_schema", "schema": schema}
    return {"output_config": output} if output else {}


def _needs_tool_for_output(thread: ChatThread) -> bool:
    """Whether a structured output is asked for whose schema cannot be strict: it is asked for as a tool call then."""
    wanted = thread.llm_config.response_format is ResponseFormat.structured_output
    return wanted and _transformed(forced_output(thread).input_schema) is None


def _transformed(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema as strict decoding wants it; `None` if that would change what it allows."""
    if strict_schema(schema) is None:
        return None
    import anthropic

    try:
        return anthropic.transform_schema(schema)
    except ValueError:
        return None


def _body(request: Request) -> Request:
    return {name: value for name, value in request.items() if name != VERSION_HEADER}
