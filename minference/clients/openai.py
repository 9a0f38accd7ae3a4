"""The dialect of OpenAI's Chat Completions, which most servers speak, through OpenAI's SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from minference.clients.base import Reply, Request, Response, TextDelta
from minference.clients.call_ids import CallIds, safe_tool_name
from minference.clients.counts import note_break
from minference.clients.embedding import embed
from minference.clients.openai_parts import user_content, with_shown_results
from minference.clients.openai_replies import CompletionStream, read_completion
from minference.clients.reasoning import own_blocks
from minference.clients.rejoining import JSON_ANSWER, PrefilledText, with_answer, with_prefill, with_written_calls
from minference.clients.schemas import GUIDED, OPENAI, Rules, strict_schema
from minference.clients.transcript import Offer, forced_output, merge_extra, messages_to_send, offer_of, refuse_attachments, system_text
from minference.clients.transport import Caller, Sdk, sdk_http_client, whole_reply
from minference.errors import ProviderError, ProviderUnreachable
from minference.profiles import NO_KEY, Profile
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.formats import Means, means_of, refuse_impossible
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread
from minference.threads.tools import Tool

RENDERED = ("model", "messages", "tools", "stream", "n")
"""What `LLMConfig.extra` cannot replace: it comes from the thread, and a thread holds one reply."""
LONGEST_CALL_ID = 40
"""OpenAI takes no longer ones; other servers make them."""


class OpenAIClient:
    """Any server that speaks Chat Completions; the profile says where it is and how it differs.

    One object can be used from several event loops, one after the other or at once: each gets its own connections.
    """

    def __init__(self, profile: Profile) -> None:
        self.name = profile.name
        self.profile = profile
        self._caller = Caller(profile.name, "openai", self._build, {"security": {"bearer_auth": True}})
        self._rules = OPENAI if profile.decoding == "strict" else GUIDED

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
        """The body of the request for the thread's next reply. Pure.

        Raises:
            ConfigurationError: The config asks for what this provider cannot do.
        """
        config = thread.llm_config
        refuse_impossible(self.profile, config)
        means = means_of(self.profile, config.response_format)
        assert means is not None, "refused above"
        messages = self._messages(thread, means)
        request: Request = {"model": config.model, "messages": messages, self.profile.token_limit: config.max_tokens}
        request |= self._parameters(config) | _tools(offer_of(thread, means), self._rules) | _format(thread, means, self._rules)
        if means is Means.prefill and self.profile.prefill == "continue_final_message":
            request |= {"continue_final_message": True, "add_generation_prompt": False}
        return merge_extra(request, config, self.name, RENDERED)

    def from_response(self, payload: dict[str, Any], request: Request | None = None) -> Reply:
        """What the answer says. Pure.

        Raises:
            InvalidReply: It is not what the dialect promises.
        """
        request = request or {}
        reply = read_completion(self.name, payload)
        offered = _offered(request)
        if self.profile.written_calls:
            reply = with_written_calls(reply, offered, str(payload.get("id")))
        return with_answer(reply) if JSON_ANSWER in offered else with_prefill(reply, _prefill(request))

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
        besides: dict[str, Any] = {"stream": True}
        if self.profile.stream_usage and "stream_options" not in request:
            besides["stream_options"] = {"include_usage": True}
        body = {**embed(request), **besides}
        answer, headers = CompletionStream(self.name), dict[str, str]()
        told = PrefilledText(_prefill(request))
        try:
            async with aclosing(self._caller.events(body, dict(self.profile.headers), timeout)) as events:
                async for chunk, received in events:
                    headers = received
                    if isinstance(chunk, Response):
                        for part in whole_reply(self, request, chunk, besides):
                            yield part
                        return
                    if text := told.add(answer.add(chunk)):
                        yield TextDelta(text)
            if not answer.finished:
                raise ProviderUnreachable(self.name, "the stream ended before the reply did", retryable=True)
        except ProviderError as error:
            if not answer.finished:  # else all that is missing is the count of tokens
                note_break(error, answer.usage, begun=answer.begun)
                raise
        if text := told.rest():
            yield TextDelta(text)
        yield Response(answer.payload(), headers, besides)

    async def open(self) -> None:
        """See `Opens.open`: the SDK is imported, and its object is there."""
        await self._caller.open()

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
        return Sdk(
            client,
            f"{self.profile.url().rstrip('/')}/chat/completions",
            key,
            openai.AsyncStream[object],
            openai.APIError,
            openai.APIStatusError,
        )

    def _messages(self, thread: ChatThread, means: Means) -> list[dict[str, Any]]:
        system, ids = system_text(thread, means), CallIds(longest=LONGEST_CALL_ID)
        messages = [{"role": "system", "content": system}] if system else []
        messages += [self._message(message, ids) for message in with_shown_results(messages_to_send(thread))]
        if means is Means.prefill:
            messages.append({"role": "assistant", "content": thread.prefill})
        return messages

    def _message(self, message: ChatMessage, ids: CallIds) -> dict[str, Any]:
        if message.role is MessageRole.user:
            return {"role": "user", "content": user_content(message, self.profile)}
        refuse_attachments(self.name, message, f"only messages of the user carry attachments, and this one is of the {message.role.value}")
        match message.role:
            case MessageRole.tool:
                content = f"Error: {message.content}" if message.tool_error else message.content
                return {"role": "tool", "tool_call_id": ids.of_result(message.tool_call_id or ""), "content": content}
            case MessageRole.assistant:
                return self._assistant_message(message, ids)
            case role:
                return {"role": role.value, "content": message.content}

    def _assistant_message(self, message: ChatMessage, ids: CallIds) -> dict[str, Any]:
        rendered: dict[str, Any] = {"role": "assistant", "content": message.content or message.refusal or ""}
        if message.tool_calls:
            rendered["content"] = message.content or None
            rendered["tool_calls"] = [
                {
                    "id": ids.of_call(call.id),
                    "type": "function",
                    "function": {"name": safe_tool_name(call.name), "arguments": call.arguments_json},
                }
                for call in message.tool_calls
            ]
        if blocks := self._own_blocks(message):
            rendered[self.profile.reasoning_blocks] = blocks
        return rendered

    def _own_blocks(self, message: ChatMessage) -> list[dict[str, Any]]:
        """The reasoning blocks to be sent back, of the kind that the field takes."""
        match self.profile.reasoning_blocks:
            case "no":
                return []
            case "thinking_blocks":
                return [block for block in own_blocks(self.name, message) if block.get("type") in ("thinking", "redacted_thinking")]
            case "reasoning_details":
                return [block for block in own_blocks(self.name, message) if str(block.get("type")).startswith("reasoning.")]

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
        return {name: value for name, value in parameters.items() if value is not None}


def _format(thread: ChatThread, means: Means, rules: Rules) -> dict[str, Any]:
    match thread.llm_config.response_format:
        case ResponseFormat.json_object if means is Means.native:
            return {"response_format": {"type": "json_object"}}
        case ResponseFormat.structured_output if means is Means.native:
            return {"response_format": {"type": "json_schema", "json_schema": _schema(forced_output(thread), "schema", rules)}}
        case _:
            return {}


def _tools(offer: Offer, rules: Rules) -> dict[str, Any]:
    if not offer.tools:
        return {}
    rendered: dict[str, Any] = {"tools": [{"type": "function", "function": _schema(tool, "parameters", rules)} for tool in offer.tools]}
    if offer.forced is not None:
        rendered["tool_choice"] = {"type": "function", "function": {"name": offer.forced.name}}
    elif offer.must_call:
        rendered["tool_choice"] = "required"
    return rendered


def _offered(request: Request) -> set[str]:
    """The names of the tools that the model could call."""
    tools = request.get("tools", ()) if request.get("tool_choice") != "none" else ()
    return {tool["function"]["name"] for tool in tools}


def _prefill(request: Request) -> str:
    """How the answer was begun for the model."""
    messages = request.get("messages") or [{"role": "user"}]
    last = messages[-1]
    return str(last["content"] or "") if last["role"] == "assistant" and "tool_calls" not in last else ""


def _schema(tool: Tool, field: str, rules: Rules) -> dict[str, Any]:
    """A named schema, strict where the tool wants it and the schema can be; never another schema than the tool's own."""
    strict = strict_schema(tool.input_schema, rules) if tool.strict_schema else None
    described = {"description": tool.description} if tool.description else {}
    flag = {"strict": strict is not None} if rules is OPENAI else {}
    return {"name": tool.name, **described, field: strict or tool.input_schema, **flag}
