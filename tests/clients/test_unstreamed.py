"""A server that is asked for a stream and answers otherwise: what it says is understood as without streaming."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minference.clients.base import Response, TextDelta
from minference.errors import InvalidReply, ProviderError, ProviderUnreachable
from minference.threads.config import LLMConfig
from minference.threads.thread import ChatThread
from tests.clients.test_http import ANSWER, Server, client_of, keys, whole

__all__ = ["keys"]

BOTH = pytest.mark.parametrize("name", ["openai", "anthropic"])
MESSAGE = {"model": "m", "stop_reason": "end_turn", "content": [{"type": "text", "text": "hé"}]}
PAGE = b"<!DOCTYPE html><html><body>Log in, please</body></html>"
ERROR = b'{"error": {"type": "invalid_request_error", "message": "no such model"}}'


async def call(name: str, answer: bytes, *, streaming: bool) -> list[TextDelta | Response]:
    """What comes from a server that always answers so; it is asked once."""
    server = Server()
    async with server.serving(lambda _line: answer):
        client = client_of(server.url, name)
        thread = ChatThread(llm_config=LLMConfig(client=name, model="m"), new_message="hello")
        thread.add_user_message()
        request = client.to_request(thread)
        try:
            if streaming:
                return [item async for item in client.stream(request, timeout=20)]
            return [await client.send(request, timeout=20)]
        finally:
            await client.aclose()
            assert len(server.asked) == 1


def understood(name: str, items: list[TextDelta | Response]) -> str:
    """The text of what came last, the whole response."""
    assert isinstance(items[-1], Response)
    return client_of("http://nowhere", name).from_response(items[-1].payload).content


def said(name: str) -> dict[str, Any]:
    return ANSWER if name == "openai" else MESSAGE


@BOTH
async def test_a_whole_reply_in_place_of_a_stream_is_the_reply(name: str) -> None:
    text, response = await call(name, whole(json.dumps(said(name)).encode()), streaming=True)
    assert text == TextDelta("hé")
    assert isinstance(response, Response)
    assert (response.payload, response.sent_besides["stream"]) == (said(name), True)


@BOTH
@pytest.mark.parametrize("body", [PAGE, b"Please log in.", b"null", b'{"choices": []}', b'{"id": "1", "mod'])
async def test_a_page_or_half_an_answer_in_place_of_a_stream_is_told_as_what_it_is(name: str, body: bytes) -> None:
    async def failure(*, streaming: bool) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            understood(name, await call(name, whole(body), streaming=streaming))
        return caught.value

    streamed, plain = await failure(streaming=True), await failure(streaming=False)
    assert (type(streamed), str(streamed), streamed.retryable) == (type(plain), str(plain), plain.retryable)
    assert isinstance(streamed, ProviderUnreachable) == body.endswith(b'"mod')


@BOTH
async def test_an_error_in_place_of_a_stream_is_told_in_the_words_of_the_provider(name: str) -> None:
    with pytest.raises(InvalidReply, match=r"an error inside \(invalid_request_error\): no such model"):
        await call(name, whole(ERROR), streaming=True)


@BOTH
@pytest.mark.parametrize("streaming", [False, True])
async def test_numbers_that_are_none_beside_a_reply_do_not_make_it_worthless(name: str, streaming: bool) -> None:
    body = json.dumps({"score": float("nan"), "best": float("inf"), **said(name)}).encode()
    assert b"NaN" in body
    items = await call(name, whole(body), streaming=streaming)
    assert understood(name, items) == "hé"


async def test_heartbeats_of_a_proxy_do_not_break_a_stream() -> None:
    chunks = [
        {"model": "m", "choices": [{"index": 0, "delta": {"content": "hé"}}]},
        {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    body = "retry: 5\n\n" + "data:\n\n".join([": open\n\n", *events, "data: [DONE]\n\n"])
    items = await call("openai", whole(body.encode()), streaming=True)
    assert (items[0], understood("openai", items)) == (TextDelta("hé"), "hé")
