"""Everything that can go wrong with a call, through the vendors' SDKs and over a real socket."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from minference.clients.base import Client, TextDelta
from minference.clients.catalog import create_client
from minference.errors import InvalidReply, MissingKey, ProviderError, ProviderRefused, ProviderTimeout, ProviderUnreachable
from minference.testing import (
    EmptyChoices,
    ErrorInside,
    Fault,
    Hang,
    Html,
    Latency,
    ProviderServer,
    Reset,
    Status,
    TruncatedBody,
    TruncatedStream,
)
from tests.clients.conftest import KEY
from tests.clients.threads import asked, conversation

PLENTY = 30.0


async def failure_of(client: Client, *, timeout: float = PLENTY) -> ProviderError:
    """What sending goes wrong with."""
    with pytest.raises(ProviderError) as caught:
        client.from_response((await client.send(client.to_request(asked(client.name)), timeout=timeout)).payload)
    return caught.value


async def stream_failure_of(client: Client, *, timeout: float = PLENTY) -> tuple[str, ProviderError]:
    """The text that came, and what streaming goes wrong with."""
    came = ""
    try:
        async for item in client.stream(client.to_request(asked(client.name)), timeout=timeout):
            came += item.text if isinstance(item, TextDelta) else "<the whole reply>"
    except ProviderError as error:
        return came, error
    pytest.fail(f"the stream ended well, with {came!r}")


async def test_a_reply_comes_back_with_headers_and_the_request_went_out_as_rendered(
    client: Client, provider_server: ProviderServer
) -> None:
    request = client.to_request(conversation(client.name))
    response = await client.send(request, timeout=PLENTY)
    assert client.from_response(response.payload).content == "You said: And 3 + 4?"
    assert response.headers["x-request-id" if client.name == "openai" else "request-id"] == "req_1"
    [recorded] = provider_server.requests
    assert (recorded.body, recorded.answered) == (request, True)
    assert recorded.headers["authorization"] == f"Bearer {KEY}"


async def test_the_api_version_of_a_config_is_sent_as_a_header(provider_server: ProviderServer) -> None:
    client = create_client("anthropic")
    request = client.to_request(asked("anthropic", temperature=0.5, extra={"anthropic_version": "2023-06-01"}))
    await client.send(request, timeout=PLENTY)
    await client.aclose()
    [recorded] = provider_server.requests
    assert recorded.headers["anthropic-version"] == "2023-06-01"
    assert recorded.body == {name: value for name, value in request.items() if name != "anthropic_version"}


@pytest.mark.parametrize(
    ("fault", "facts"),
    [
        (
            Status(429, {"retry-after": "2", "x-request-id": "r1"}),
            {"status": 429, "retryable": True, "retry_after": 2.0, "code": "rate_limit_error", "request_id": "r1"},
        ),
        (
            Status(429, {"retry-after-ms": "50"}, type="insufficient_quota"),
            {"status": 429, "retryable": False, "retry_after": 0.05, "code": "insufficient_quota", "request_id": None},
        ),
        (Status(529), {"status": 529, "retryable": True, "retry_after": None, "code": "overloaded_error", "request_id": None}),
        (Status(503), {"status": 503, "retryable": True, "retry_after": None, "code": "api_error", "request_id": None}),
        (Status(400), {"status": 400, "retryable": False, "retry_after": None, "code": "invalid_request_error", "request_id": None}),
        (Status(401), {"status": 401, "retryable": False, "retry_after": None, "code": "authentication_error", "request_id": None}),
    ],
)
async def test_an_error_status_is_a_refusal_with_its_facts(
    client: Client, provider_server: ProviderServer, fault: Fault, facts: dict[str, Any]
) -> None:
    provider_server.faults = [fault]
    error = await failure_of(client)
    assert isinstance(error, ProviderRefused)
    assert vars(error) == {"client": client.name, "headers": {}, "usage": None, "broke_off": False, **facts}
    assert len(provider_server.requests) == 1, "the SDK must not retry by itself"


@pytest.mark.parametrize(
    ("fault", "kind", "retryable"),
    [
        (Reset(), ProviderUnreachable, True),
        (TruncatedBody(), ProviderUnreachable, True),
        (Html(), InvalidReply, False),
        (ErrorInside(type="server_error"), InvalidReply, True),
        (ErrorInside(type="invalid_request_error"), InvalidReply, False),
        (EmptyChoices(), InvalidReply, False),
    ],
)
async def test_a_broken_answer_is_told_from_a_wrong_one(
    client: Client, provider_server: ProviderServer, fault: Fault, kind: type[ProviderError], retryable: bool
) -> None:
    provider_server.faults = [fault]
    error = await failure_of(client)
    assert (type(error), error.retryable) == (kind, retryable)
    assert [request.answered for request in provider_server.requests] == [False]


async def test_a_server_that_says_nothing_is_a_timeout(client: Client, provider_server: ProviderServer) -> None:
    provider_server.faults = {1: Hang()}
    error = await failure_of(client, timeout=0.2)
    assert (type(error), str(error), error.retryable) == (ProviderTimeout, f"{client.name}: no whole reply within 0.2 s", True)


async def test_a_slow_answer_within_the_timeout_is_an_answer(client: Client, provider_server: ProviderServer) -> None:
    provider_server.faults = {1: Latency(0.01)}
    response = await client.send(client.to_request(asked(client.name)), timeout=PLENTY)
    assert client.from_response(response.payload).content == "You said: Hello?"


async def test_a_server_that_is_not_there_is_unreachable(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{client.name.upper()}_BASE_URL", "http://127.0.0.1:1")
    error = await failure_of(client)
    assert (type(error), error.retryable, error.status) == (ProviderUnreachable, True, None)


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        (TruncatedStream(3), ProviderUnreachable, None),
        (TruncatedStream(3, mid_event=True), ProviderUnreachable, None),
        (TruncatedStream(3, clean=False), ProviderUnreachable, None),
        (TruncatedStream(3, error="overloaded_error"), ProviderRefused, 529),
        (TruncatedStream(3, error="rate_limit_error"), ProviderRefused, 429),
    ],
)
async def test_a_stream_that_breaks_off_is_a_failure_that_can_pass(
    client: Client, provider_server: ProviderServer, fault: Fault, kind: type[ProviderError], status: int | None
) -> None:
    provider_server.faults = [fault]
    came, error = await stream_failure_of(client)
    assert came == ("You said: Hell" if client.name == "openai" else "You sai")
    assert (type(error), error.status, error.retryable) == (kind, status, True)


@pytest.mark.parametrize(("fault", "kind"), [(Status(429), ProviderRefused), (Reset(), ProviderUnreachable), (Hang(), ProviderTimeout)])
async def test_a_stream_that_never_begins_fails_like_a_call(
    client: Client, provider_server: ProviderServer, fault: Fault, kind: type[ProviderError]
) -> None:
    provider_server.faults = [fault]
    came, error = await stream_failure_of(client, timeout=0.3 if isinstance(fault, Hang) else PLENTY)
    assert (came, type(error), error.retryable) == ("", kind, True)


async def test_a_key_is_in_no_error_and_not_behind_one(client: Client, provider_server: ProviderServer) -> None:
    provider_server.faults = [
        Status(401, body={"error": {"message": f"wrong key {KEY}", "type": KEY, "code": KEY}}),
        Reset(),
        Html(),
        Hang(),
    ]
    for timeout in (PLENTY, PLENTY, PLENTY, 0.2):
        error = await failure_of(client, timeout=timeout)
        assert KEY not in "".join(traceback.format_exception(error)) + repr(vars(error))
        assert KEY not in repr(error.__cause__) + repr(error.__context__)


async def test_a_missing_key_fails_before_anything_is_sent(
    client: Client, provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{client.name.upper()}_API_KEY", " ")
    with pytest.raises(MissingKey, match=f"{client.name.upper()}_API_KEY"):
        client.check()
    with pytest.raises(MissingKey):
        await client.send(client.to_request(asked(client.name)), timeout=PLENTY)
    assert provider_server.requests == []
