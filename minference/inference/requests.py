"""Requests: rendered once from a thread, checked before anything is consumed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from minference.clients.base import Client, Request, account_of
from minference.clients.embedding import canonical
from minference.clients.transcript import attachments_to_send
from minference.ecs.blobs import Blob
from minference.ecs.recording import NothingRecorded
from minference.errors import ConfigurationError, RequestTooLarge, UnsendableText
from minference.inference.limits import RateLimiter
from minference.inference.structured import check_forced_output
from minference.inference.tokens import TokenEstimates, attachment_tokens, estimate_tokens
from minference.threads.attachments import ImageLink
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread


class ClientPool:
    """Clients by name: those that were given, and those of the catalog, made when first asked for."""

    def __init__(self, given: Mapping[str, Client]) -> None:
        self._given = dict(given)
        self._made: dict[str, Client] = {}

    def get(self, name: str) -> Client:
        """The client with this name.

        Raises:
            UnknownClient: There is none.
        """
        if (client := self._given.get(name) or self._made.get(name)) is None:
            from minference.clients.catalog import create_client

            client = self._made[name] = create_client(name)
        return client

    async def aclose(self) -> None:
        """Close the clients that were made here; those that were given belong to whoever gave them."""
        while self._made:
            await self._made.popitem()[1].aclose()


@dataclass(frozen=True, slots=True)
class Prepared:
    """One request, rendered once."""

    client: Client
    config: LLMConfig
    request: Request
    """Without the bytes of attachments."""
    body: bytes
    """The request as canonical JSON, in which attachments stand by their hash: for its digest and its size."""
    blobs: tuple[Blob, ...]
    """The bytes that are put into the request when it is sent."""
    has_attachments: bool
    """Whether there is more to it than its text."""
    input_tokens: int
    """Estimated, with what replies have taught."""
    least_input_tokens: int
    """The same, or the plain estimate if that is smaller: what was learned by mistake must not make a request too large for ever."""
    account: str
    """Names the key with which it is sent, without telling it."""

    @property
    def model(self) -> tuple[str, str]:
        """Who is asked: the names of client and model."""
        return self.config.client, self.config.model


class Renderer:
    """Makes requests, and learns from answers how many tokens they have."""

    def __init__(self, clients: ClientPool, limiter: RateLimiter) -> None:
        self._clients = clients
        self._limiter = limiter
        self._estimates = TokenEstimates()

    def prepare(self, thread: ChatThread) -> Prepared:
        """The request for the thread's next reply, which may not be ready to be sent: see `check`. The thread is not changed.

        Raises:
            ConfigurationError: A client of its config or of a fallback is unknown, the config asks for what its client cannot do,
                or it takes no notice of the output that is to be forced.
            UnsendableText: The thread holds what is no Unicode text.
        """
        check_forced_output(thread)
        for config in thread.llm_config.with_fallbacks():
            self._clients.get(config.client)
        return self._render(thread, thread.llm_config)

    def check(self, prepared: Prepared, thread: ChatThread) -> Prepared:
        """The request if it can be sent, else that of the first fallback which is not too large; all of them could be.

        Raises:
            ConfigurationError: A client of its config or of a fallback is not ready.
            RequestTooLarge: The request exceeds a limit by itself, and so does that of each fallback.
        """
        first, *fallbacks = prepared.config.with_fallbacks()
        for config in (first, *fallbacks):
            self._clients.get(config.client).check()
        try:
            return self.fit(prepared)
        except RequestTooLarge:
            for config in fallbacks:
                with suppress(RequestTooLarge):
                    return self.fit(self.prepare_fallback(thread, config))
            raise

    def prepare_fallback(self, thread: ChatThread, config: LLMConfig) -> Prepared:
        """The request for the thread's next reply under another config. The thread is not changed.

        Raises:
            ConfigurationError: The config asks for what its client cannot do.
        """
        with NothingRecorded():
            asked = thread.model_copy(update={"llm_config": config})
        return self._render(asked, config)

    def learn(self, prepared: Prepared, input_tokens: int) -> None:
        """Remember how many tokens the request had. One with attachments says too little of how text becomes tokens."""
        if not prepared.has_attachments:
            self._estimates.learn(*prepared.model, prepared.body, input_tokens)

    def _render(self, thread: ChatThread, config: LLMConfig) -> Prepared:
        client = self._clients.get(config.client)
        with NothingRecorded():  # messages that are made up for the request are no part of what a block saves
            request, attached = client.to_request(thread), attachments_to_send(thread)
        body = _canonical(request)
        besides = attachment_tokens(attached)
        tokens = self._estimates.estimate(config.client, config.model, body) + besides
        least = min(tokens, estimate_tokens(body) + besides)
        blobs = tuple(each.content for each in attached if not isinstance(each, ImageLink))
        return Prepared(client, config, request, body, blobs, bool(attached), tokens, least, account_of(client))

    def fit(self, prepared: Prepared) -> Prepared:
        """The request.

        Raises:
            RequestTooLarge: It exceeds a limit by itself.
        """
        limits, output_tokens = self._limiter, prepared.config.max_tokens
        limits.check(*prepared.model, input_tokens=prepared.least_input_tokens, output_tokens=output_tokens, account=prepared.account)
        return prepared


def _canonical(request: Request) -> bytes:
    try:
        return canonical(request)
    except UnicodeEncodeError as error:
        raise UnsendableText(error.object[max(0, error.start - 10) : error.end + 10]) from None
    except ValueError:
        raise ConfigurationError("llm_config.extra holds NaN or an infinite number, which JSON does not know: take it out") from None
