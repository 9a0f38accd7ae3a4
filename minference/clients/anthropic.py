"""The dialect of Anthropic's Messages, through Anthropic's SDK."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from minference.clients.anthropic_messages import mark_for_caching, rendered_messages
from minference.clients.anthropic_replies import AnswerStream, read_answer
from minference.clients.anthropic_tools import rendered_tools, tools_of_history
from minference.clients.base import Reply, Request, Response, TextDelta
from minference.clients.counts import note_break
from minference.clients.embedding import embed
from minference.clients.rejoining import JSON_ANSWER, PrefilledText, with_answer, with_prefill
from minference.clients.schemas import ANTHROPIC, strict_schema
from minference.clients.transcript import Offer, forced_output, merge_extra, messages_to_send, offer_of, system_text
from minference.clients.transport import Caller, Sdk, sdk_http_client, whole_reply
from minference.errors import ProviderError, ProviderUnreachable
from minference.profiles import NO_KEY, Profile
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.formats import Means, means_of, refuse_impossible
from minference.threads.messages import ChatMessage
from minference.threads.thread import ChatThread

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
        self._caller = Caller(profile.name, "anthropic", self._build)
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

    def server_url(self) -> str:
        """See `HasServer.server_url`."""
        return self.profile.url()

    def to_request(self, thread: ChatThread) -> Request:
        """The body of the request for the thread's next reply, and the API version if the config names one. Pure.

        Raises:
            ConfigurationError: The config asks for what this provider cannot do.
        """
        config = thread.llm_config
        refuse_impossible(self.profile, config)
        means, output = self._means(thread)
        messages = messages_to_send(thread)
        rendered = rendered_messages(self.name, messages)
        request: Request = {"model": config.model, "max_tokens": config.max_tokens, "messages": rendered}
        if means is Means.prefill:
            rendered.append({"role": "assistant", "content": [{"type": "text", "text": thread.prefill.rstrip()}]})
        if system := system_text(thread, means):
            request["system"] = [{"type": "text", "text": system}]
        request |= self._parameters(config) | _tools(thread, offer_of(thread, means), messages) | _output_config(config, output)
        if config.use_cache and "cache_control" not in config.extra:
            mark_for_caching(request)
        return merge_extra(request, config, self.name, RENDERED)

    def from_response(self, payload: dict[str, Any], request: Request | None = None) -> Reply:
        """What the answer says. Pure.

        Raises:
            InvalidReply: It is not what the dialect promises.
        """
        request = request or {}
        reply = read_answer(self.name, payload)
        if any(tool["name"] == JSON_ANSWER for tool in request.get("tools", ())):
            return with_answer(reply)
        return with_prefill(reply, _prefill(request))

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
        told = PrefilledText(_prefill(request))
        try:
            async with aclosing(self._caller.events(body, self._headers(request), timeout)) as events:
                async for event, received in events:
                    headers = received
                    if isinstance(event, Response):
                        for part in whole_reply(self, request, event, {"stream": True}):
                            yield part
                        return
                    if text := told.add(answer.add(event)):
                        yield TextDelta(text)
            if not answer.finished:
                raise ProviderUnreachable(self.name, "the stream ended before the reply did", retryable=True)
        except ProviderError as error:
            if not answer.finished:  # else nothing is missing
                note_break(error, answer.usage, begun=answer.begun)
                raise
        if text := told.rest():
            yield TextDelta(text)
        yield Response(answer.payload(), headers, {"stream": True})

    async def open(self) -> None:
        """See `Opens.open`: the SDK is imported, and its object is there."""
        await self._caller.open()

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
            http_client=sdk_http_client(anthropic.DefaultAioHttpClient, self.profile.url()),
        )
        return Sdk(
            client,
            f"{self.profile.url().rstrip('/')}/v1/messages",
            key,
            anthropic.AsyncStream[object],
            anthropic.APIError,
            anthropic.APIStatusError,
        )

    def _headers(self, request: Request) -> dict[str, str]:
        version = request.get(VERSION_HEADER)
        return {**self.profile.headers, **({"anthropic-version": str(version)} if version else {})}

    def _means(self, thread: ChatThread) -> tuple[Means, dict[str, Any] | None]:
        """How the reply is asked for, and the schema that it is held to natively.

        A structured output whose schema cannot be strict is asked for as a tool call, or in words of a model that reasons.
        """
        config = thread.llm_config
        means = means_of(self.profile, config.response_format)
        assert means is not None, "refused before"
        if config.response_format is not ResponseFormat.structured_output or means is not Means.native:
            return means, None
        if (schema := strict_schema(forced_output(thread).input_schema, ANTHROPIC)) is not None:
            return means, schema
        return (Means.words if config.reasoner else Means.forced), None

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


def _output_config(config: LLMConfig, schema: dict[str, Any] | None) -> dict[str, Any]:
    output: dict[str, Any] = {}
    if config.reasoning_effort not in (None, "none"):
        output["effort"] = config.reasoning_effort
    if schema is not None:
        output["format"] = {"type": "json_schema", "schema": schema}
    return {"output_config": output} if output else {}


def _tools(thread: ChatThread, offer: Offer, messages: Sequence[ChatMessage]) -> dict[str, Any]:
    if not offer.tools:
        return tools_of_history(thread, messages)
    choice: dict[str, Any] = {}
    if offer.forced is not None:
        choice["tool_choice"] = {"type": "tool", "name": offer.forced.name, "disable_parallel_tool_use": True}
    elif offer.must_call:
        choice["tool_choice"] = {"type": "any"}
    return {"tools": rendered_tools(offer.tools), **choice}


def _prefill(request: Request) -> str:
    """How the answer was begun for the model."""
    messages = request.get("messages") or [{"role": "user"}]
    last = messages[-1]
    return str(last["content"][-1].get("text", "")) if last["role"] == "assistant" else ""


def _body(request: Request) -> Request:
    return {name: value for name, value in request.items() if name != VERSION_HEADER}
