"""The dialect of OpenAI's Chat Completions, which most servers speak, through OpenAI's SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic_core import from_json

from minference.clients.base import Reply, Request, Response, TextDelta
from minference.clients.embedding import embed
from minference.clients.openai_parts import user_content
from minference.clients.openai_replies import CompletionStream, read_completion
from minference.clients.profiles import NO_KEY, Profile
from minference.clients.schemas import strict_schema
from minference.clients.transcript import Offer, forced_output, merge_extra, messages_to_send, offer_of, refuse_attachments, system_text
from minference.clients.transport import Caller, Sdk, sdk_http_client
from minference.errors import ConfigurationError, ProviderError, ProviderUnreachable
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from minference.threads.tools import Tool

RENDERED = ("model", "messages", "tools", "stream", "n")
"""What `LLMConfig.extra` cannot replace: it comes from the thread, and a thread holds one reply."""


class OpenAIClient:
    """Any server that speaks Chat Completions; the profile says where it is and how it differs.

    One object can be used from several event loops, one after the other or at once: each gets its own connections.
    """

    def __init__(self, profile: Profile) -> None:
        self.name = profile.name
        self.profile = profile
        self._caller = Caller(profile.name, "/chat/completions", self._build)

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
        """The body of the request for the thread's next reply. Pure.

        Raises:
            ConfigurationError: The config asks for what this provider cannot do.
        """
        config = thread.llm_config
        request: Request = {"model": config.model, "messages": self._messages(thread), self.profile.token_limit: config.max_tokens}
        request |= self._parameters(config) | _tools(offer_of(thread)) | self._format(thread)
        if config.response_format is ResponseFormat.json_beg and self.profile.prefill == "continue_final_message":
            request |= {"continue_final_message": True, "add_generation_prompt": False}
        return merge_extra(request, config, self.name, RENDERED)

    def from_response(self, payload: dict[str, Any]) -> Reply:
        """What the answer says. Pure.

        Raises:
            InvalidReply: It is not what the dialect promises.
        """
        return read_completion(self.name, payload)

    async def send(self, request: Request, *, timeout: float) -> Response:
        """Make one attempt at one call; `timeout` in seconds.

        Raises:
            ProviderError: What went wrong, as attributes.
        """
        return await self._caller.send(embed(request), dict(self.profile.headers), timeout)

    async def stream(self, request: Request, *, timeout: float) -> AsyncGenerator[TextDelta | Response, None]:
        """Text as it comes, then the whole answer as `send` would give it.

        Raises:
            ProviderError: What went wrong, as attributes; retryable if the stream broke off.
        """
        body = {**embed(request), "stream": True}
        if self.profile.stream_usage:
            body.setdefault("stream_options", {"include_usage": True})
        answer, headers = CompletionStream(self.name), dict[str, str]()
        try:
            async with aclosing(self._caller.events(body, dict(self.profile.headers), timeout)) as events:
                async for chunk, received in events:
                    headers = received
                    if text := answer.add(chunk):
                        yield TextDelta(text)
        except ProviderError:
            if not answer.finished:  # else all that is missing is the count of tokens
                raise
        if not answer.finished:
            raise ProviderUnreachable(self.name, "the stream ended before the reply did", retryable=True)
        yield Response(answer.payload(), headers)

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await self._caller.aclose()

    def _build(self) -> Sdk:
        import openai

        key = self.profile.key()
        client = openai.AsyncOpenAI(
            api_key=key or NO_KEY,
            base_url=self.profile.url(),
            max_retries=0,
            http_client=sdk_http_client(openai.DefaultAioHttpClient, self.profile.url()),
        )
        return Sdk(client, key, openai.AsyncStream[object], openai.APIError, openai.APIStatusError)

    def _messages(self, thread: ChatThread) -> list[dict[str, Any]]:
        system = system_text(thread)
        messages = [{"role": "system", "content": system}] if system else []
        messages += [self._message(message) for message in messages_to_send(thread)]
        if thread.llm_config.response_format is ResponseFormat.json_beg and self.profile.prefill != "no":
            messages.append({"role": "assistant", "content": thread.prefill})
        return messages

    def _message(self, message: ChatMessage) -> dict[str, Any]:
        if message.role is MessageRole.user:
            return {"role": "user", "content": user_content(message, self.profile)}
        refuse_attachments(self.name, message, f"only messages of the user carry attachments, and this one is of the {message.role.value}")
        match message.role:
            case MessageRole.tool:
                content = f"Error: {message.content}" if message.tool_error else message.content
                return {"role": "tool", "tool_call_id": message.tool_call_id or "", "content": content}
            case MessageRole.assistant:
                return self._assistant_message(message)
            case role:
                return {"role": role.value, "content": message.content}

    def _assistant_message(self, message: ChatMessage) -> dict[str, Any]:
        rendered: dict[str, Any] = {"role": "assistant", "content": message.content or message.refusal or ""}
        if message.tool_calls:
            rendered["content"] = message.content or None
            rendered["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
                for call in message.tool_calls
            ]
        if self.profile.reasoning_details and (details := _own_reasoning(message)):
            rendered["reasoning_details"] = details
        return rendered

    def _parameters(self, config: LLMConfig) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "temperature": config.temperature,
            "top_p": config.top_p,
            "seed": config.seed,
            "stop": list(config.stop) or None,
        }
        match self.profile.reasoning:
            case "reasoning_effort":
                parameters["reasoning_effort"] = config.reasoning_effort
            case "reasoning":
                parameters["reasoning"] = {"effort": config.reasoning_effort} if config.reasoning_effort else None
            case "unsupported" if config.reasoning_effort:
                raise ConfigurationError(f"client {self.name!r} has no reasoning_effort: set llm_config.reasoning_effort to None")
        return {name: value for name, value in parameters.items() if value is not None}

    def _format(self, thread: ChatThread) -> dict[str, Any]:
        match thread.llm_config.response_format:
            case ResponseFormat.json_object:
                if not self.profile.json_object:
                    raise ConfigurationError(f"client {self.name!r} has no JSON mode: use 'structured_output', 'tool' or 'json_beg'")
                return {"response_format": {"type": "json_object"}}
            case ResponseFormat.structured_output:
                tool = forced_output(thread)
                if not self.profile.json_schema:
                    raise ConfigurationError(
                        f"client {self.name!r} cannot hold a reply to a schema: use 'tool', 'json_object' or 'json_beg'"
                    )
                return {"response_format": {"type": "json_schema", "json_schema": _schema(tool, "schema")}}
            case _:
                return {}


def _tools(offer: Offer) -> dict[str, Any]:
    if not offer.tools:
        return {}
    rendered: dict[str, Any] = {"tools": [{"type": "function", "function": _schema(tool, "parameters")} for tool in offer.tools]}
    if offer.forced is not None:
        rendered["tool_choice"] = {"type": "function", "function": {"name": offer.forced.name}}
    return rendered


def _schema(tool: Tool, field: str) -> dict[str, Any]:
    """A named schema, strict where the tool wants it and the schema can be; never another schema than the tool's own."""
    strict = strict_schema(tool.input_schema) if tool.strict_schema else None
    described = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **described, field: strict or tool.input_schema, "strict": strict is not None}


def _own_reasoning(message: ChatMessage) -> list[dict[str, Any]]:
    """The reasoning blocks that came in this dialect; those of another provider mean nothing here."""
    blocks = from_json(message.reasoning_json) if message.reasoning_json else []
    return [block for block in blocks if str(block.get("type", "")).startswith("reasoning.")]
