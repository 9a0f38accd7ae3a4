"""What the SDKs send their calls with: one plain exchange, whatever stands between us and the provider."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from minference.clients.anthropic import AnthropicClient
from minference.clients.base import Client, Request, Response, TextDelta
from minference.clients.openai import OpenAIClient
from minference.errors import ProviderError, ProviderUnreachable
from minference.profiles import built_in_profiles
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread

ANSWER = {"id": "1", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hé"}}]}
Answer = Callable[[str], bytes]
"""What is sent back for a request line."""


class Server:
    """Speaks just enough HTTP, and keeps what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, list[tuple[str, str]], Any]] = []

    @asynccontextmanager
    async def serving(self, answer: Answer, *, then_hang_up: bool = False) -> AsyncIterator[None]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                    headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in head[1:] if line)]
                    body = await reader.readexactly(int(dict(headers)["content-length"]))
                    self.asked.append((head[0], headers, json.loads(body)))
                    writer.write(answer(head[0]))
                    await writer.drain()
                    if then_hang_up:
                        return
            except asyncio.IncompleteReadError:
                return
            finally:
                writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def client_of(url: str, name: str = "openai") -> Client:
    profile = built_in_profiles()[name].model_copy(update={"base_url": url, "base_url_env": None, "headers": {"x-team": "a"}})
    return OpenAIClient(profile) if name == "openai" else AnthropicClient(profile)


async def ask(client: Client, **extra: Any) -> Response:
    try:
        return await client.send(request_of(client, **extra), timeout=20)
    finally:
        await client.aclose()


async def ask_streaming(client: Client) -> list[TextDelta | Response]:
    try:
        return [item async for item in client.stream(request_of(client), timeout=20)]
    finally:
        await client.aclose()


def request_of(client: Client, **extra: Any) -> Request:
    thread = ChatThread(llm_config=LLMConfig(client=client.name, model="m", extra=extra), new_message="hello")
    thread.add_user_message()
    return client.to_request(thread)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-2")


@pytest.mark.parametrize(
    ("name", "path", "key"),
    [("openai", "/v1/chat/completions", ("authorization", "Bearer sk-1")), ("anthropic", "/v1/messages", ("authorization", "Bearer sk-2"))],
)
async def test_a_call_is_one_request_with_each_header_once(name: str, path: str, key: tuple[str, str]) -> None:
    server = Server()
    async with server.serving(lambda _: whole(json.dumps(ANSWER).encode())):
        await ask(client_of(f"{server.url}/v1" if name == "openai" else server.url, name))
    [(line, headers, body)] = server.asked
    assert line == f"POST {path} HTTP/1.1"
    assert {key, ("x-team", "a"), ("content-type", "application/json"), ("host", server.url.removeprefix("http://"))} <= set(headers)
    assert len({header for header, _ in headers}) == len(headers)
    assert name in dict(headers)["user-agent"].lower()
    assert body["model"] == "m"


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (whole(b""), "the answer is empty|the stream ended before the reply did"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "the answer is empty|the stream ended before the reply did"),
        (whole(b"", status="202 Accepted"), "the answer is empty|the stream ended before the reply did"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "answered with status 304 instead of a reply"),
        (whole(b"", status="307 Temporary Redirect"), "answered with status 307 instead of a reply"),
        (whole(b"", status="099 X"), "answered with status 99 instead of a reply"),
    ],
)
async def test_no_reply_at_all_is_a_call_that_may_be_tried_again(answer: bytes, told: str, streaming: bool) -> None:
    server = Server()
    async with server.serving(lambda _: answer):
        client = client_of(f"{server.url}/v1")
        with pytest.raises(ProviderError, match=told) as caught:
            await (ask_streaming(client) if streaming else ask(client))
    assert caught.value.retryable


async def test_a_reply_may_have_a_long_header() -> None:
    server = Server()
    async with server.serving(lambda _: whole(json.dumps(ANSWER).encode(), f"content-security-policy: {'a' * 500_000}")):
        assert (await ask(client_of(f"{server.url}/v1"))).payload == ANSWER
    assert len(server.asked) == 1


async def test_a_compressed_answer_is_read_as_it_was_meant() -> None:
    server = Server()
    async with server.serving(lambda _: whole(gzip.compress(json.dumps(ANSWER).encode()), "content-encoding: gzip")):
        assert (await ask(client_of(f"{server.url}/v1"))).payload == ANSWER


@pytest.mark.parametrize("where", ["http://127.0.0.1:99999/x", "http://u:secret@{host}/x", "http://a..b/", f"http://{'a' * 300}.com/"])
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_redirect_to_nowhere_is_a_call_that_failed(where: str, streaming: bool) -> None:
    server = Server()

    def there() -> str:
        return where.format(host=server.url.removeprefix("http://"))

    async with server.serving(lambda _: whole(b"", f"location: {there()}", status="307 Temporary Redirect")):
        client = client_of(f"{server.url}/v1")
        with pytest.raises(ProviderUnreachable) as caught:
            await (ask_streaming(client) if streaming else ask(client))
    told = there().replace("u:secret@", "")
    assert str(caught.value).startswith(f"openai: it redirects to {told}, where nothing can be: ")
    assert caught.value.retryable


async def test_a_header_that_is_none_is_a_call_that_failed() -> None:
    server = Server()
    async with server.serving(lambda _: whole(json.dumps(ANSWER).encode())):
        client = client_of(server.url, "anthropic")
        with pytest.raises(ProviderUnreachable, match=r"anthropic: the request cannot be sent: .*header"):
            await ask(client, anthropic_version="2023\n06")


async def test_a_redirect_is_followed() -> None:
    server = Server()

    def answer(line: str) -> bytes:
        moved = whole(b"", "location: /v2/chat/completions", status="307 Temporary Redirect")
        return whole(json.dumps(ANSWER).encode()) if " /v2/" in line else moved

    async with server.serving(answer):
        assert (await ask(client_of(f"{server.url}/v1"))).payload == ANSWER
    assert [line for line, _, _ in server.asked] == [f"POST /{version}/chat/completions HTTP/1.1" for version in ("v1", "v2")]
    assert server.asked[1][2] == server.asked[0][2]


@pytest.mark.parametrize(("name", "secret"), [("openai", "sk-1"), ("anthropic", "sk-2")])
async def test_a_redirect_to_another_server_takes_no_key_along(name: str, secret: str) -> None:
    first, other = Server(), Server()
    async with other.serving(lambda _: whole(json.dumps(ANSWER).encode())):
        there = f"location: {other.url}/elsewhere"
        async with first.serving(lambda _: whole(b"", there, status="307 Temporary Redirect")):
            assert (await ask(client_of(first.url, name))).payload == ANSWER
    assert [secret in str(headers) for _, headers, _ in first.asked] == [True]
    [(line, headers, _)] = other.asked
    assert line == "POST /elsewhere HTTP/1.1"
    assert dict(headers)["host"] == other.url.removeprefix("http://")
    assert secret not in str(headers)


async def test_an_answer_that_breaks_off_is_worth_another_try() -> None:
    server = Server()
    async with server.serving(lambda _: whole(json.dumps(ANSWER).encode())[:-20], then_hang_up=True):
        with pytest.raises(ProviderUnreachable) as caught:
            await ask(client_of(f"{server.url}/v1"))
    assert caught.value.retryable


async def test_a_refusal_keeps_its_status_and_headers() -> None:
    server = Server()
    refusal = json.dumps({"error": {"message": "slow down", "type": "rate_limit_error"}}).encode()
    async with server.serving(lambda _: whole(refusal, "retry-after: 7", status="429 Too Many Requests")):
        with pytest.raises(ProviderError) as caught:
            await ask(client_of(f"{server.url}/v1"))
    assert (caught.value.status, caught.value.retry_after, caught.value.retryable) == (429, 7.0, True)


async def test_the_proxy_of_the_environment_is_asked_for_what_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Server()
    async with proxy.serving(lambda _: whole(json.dumps(ANSWER).encode())):
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert (await ask(client_of("http://provider.invalid/v1"))).payload == ANSWER
    assert [line for line, _, _ in proxy.asked] == ["POST http://provider.invalid/v1/chat/completions HTTP/1.1"]
