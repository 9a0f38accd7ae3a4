"""Requests made again from what is stored: a raw output keeps only what its thread version does not hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from minference.clients.base import Client, Request
from minference.clients.catalog import create_client
from minference.clients.embedding import canonical, embed
from minference.clients.transcript import attachments_to_send
from minference.ecs.recording import NothingRecorded
from minference.ecs.registry import current_storage
from minference.errors import ConfigurationError, RequestNotRebuilt
from minference.threads.attachments import ImageLink
from minference.threads.config import LLMConfig
from minference.threads.outputs import RawOutput
from minference.threads.thread import ChatThread

ELSEWHERE = {"messages", "system", "tools"}
"""What the parameters of a raw output leave out of a request."""


async def rebuild_request(raw: RawOutput, clients: Mapping[str, Client]) -> Request:
    """The request behind a raw output, the bytes of attachments and what a stream adds included.

    Which of the thread's configs it was, one of its fallbacks perhaps, the digest says.

    Raises:
        RequestNotRebuilt: No config gives the request that was sent.
        UnknownClient: The client is not known here.
    """
    if raw.erased:
        raise RequestNotRebuilt(raw.ecs_id, raw.thread_version, "the raw output was erased")
    storage = current_storage()
    thread = await storage.get(ChatThread, raw.thread_version)
    client = clients.get(raw.client) or create_client(raw.client)
    for config in thread.llm_config.with_fallbacks():
        request = _rendered(client, thread, config) if config.client == raw.client else None
        if request is not None and hashlib.sha256(canonical(request)).hexdigest() == raw.request_sha256:
            blobs = [each.content for each in attachments_to_send(thread) if not isinstance(each, ImageLink)]
            besides = {name: value for name, value in raw.request_parameters.items() if name not in request and name not in ELSEWHERE}
            return {**(embed(request, await storage.read_blobs(blobs)) if blobs else request), **besides}
    raise RequestNotRebuilt(raw.ecs_id, raw.thread_version, _reason(thread))


def _rendered(client: Client, thread: ChatThread, config: LLMConfig) -> Request | None:
    """The request under one of the thread's configs; `None` if that asks for what cannot be sent."""
    with NothingRecorded():
        try:
            return client.to_request(thread.model_copy(update={"llm_config": config}))
        except ConfigurationError:
            return None


def _reason(thread: ChatThread) -> str:
    if thread.erased or any(message.erased for message in thread.history):
        return "something of the thread was erased since"
    return "the request comes out otherwise now: the profile of the client, or minference, has changed"
