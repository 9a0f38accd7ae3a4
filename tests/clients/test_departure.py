"""A client says when its request leaves, whatever it takes until it can and however long the answer takes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from minference.clients.base import Client, Response
from minference.clients.departure import request_left, told_of_departure
from minference.clients.scripted import ScriptedClient
from minference.errors import ProviderUnreachable
from tests.clients.test_http import ANSWER, Server, ask, ask_streaming, client_of, keys, request_of, whole

__all__ = ["keys"]

CHUNK = {**ANSWER, "choices": [{"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": "hé"}}]}
EVENTS = f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n".encode()


async def told_by(client: Client, happened: list[str], *, streaming: bool) -> Any:
    with told_of_departure(lambda: happened.append("left")):
        return await (ask_streaming(client) if streaming else ask(client))


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_request_leaves_before_the_provider_has_it(streaming: bool) -> None:
    server, happened = Server(), list[str]()

    def answer(_line: str) -> bytes:
        happened.append("arrived")
        if streaming:
            return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(EVENTS) + EVENTS
        return whole(json.dumps(ANSWER).encode())

    async with server.serving(answer):
        await told_by(client_of(f"{server.url}/v1"), happened, streaming=streaming)
    assert happened == ["left", "arrived"]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_request_that_finds_nobody_never_leaves(streaming: bool) -> None:
    server, happened = Server(), list[str]()
    async with server.serving(lambda _: b""):
        pass
    with pytest.raises(ProviderUnreachable):
        await told_by(client_of(f"{server.url}/v1"), happened, streaming=streaming)
    assert not happened


async def test_a_request_that_is_sent_on_leaves_again() -> None:
    server, happened = Server(), list[str]()

    def answer(line: str) -> bytes:
        happened.append(line.split()[1])
        if line.startswith("POST /v1"):
            return whole(b"", f"location: {server.url}/v2/chat/completions", status="307 Temporary Redirect")
        return whole(json.dumps(ANSWER).encode())

    async with server.serving(answer):
        await told_by(client_of(f"{server.url}/v1"), happened, streaming=False)
    assert happened == ["left", "/v1/chat/completions", "left", "/v2/chat/completions"]


async def test_a_script_is_asked_at_once_and_nobody_has_to_listen() -> None:
    client, happened = ScriptedClient(["Yes.", "No."]), list[str]()
    with told_of_departure(lambda: happened.append("left")):
        assert isinstance(await client.send(request_of(client), timeout=20), Response)
    await client.send(request_of(client), timeout=20)
    assert happened == ["left"]


async def test_a_client_may_send_from_a_thread() -> None:
    loop, happened = asyncio.get_running_loop(), list[asyncio.AbstractEventLoop]()
    with told_of_departure(lambda: happened.append(asyncio.get_running_loop())):
        await asyncio.to_thread(request_left)
        await asyncio.sleep(0)
        request_left()
    assert happened == [loop, loop]
