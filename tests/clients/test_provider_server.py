"""The provider that we ship for tests."""

from __future__ import annotations

import sys

import pytest

from minference.clients.base import Client
from minference.errors import ConfigurationError, MissingExtra, ProviderRefused
from minference.testing import ProviderServer, Status
from minference.threads.config import ResponseFormat
from minference.threads.messages import ChatMessage, MessageRole
from tests.clients.threads import ADD, CITY, asked


async def test_the_default_answer_calls_a_tool_when_told_to_and_then_says_its_result(
    client: Client, provider_server: ProviderServer
) -> None:
    provider_server.call_tools = True
    thread = asked(client.name, ResponseFormat.auto_tools)
    thread.tools = [ADD]
    thread.add_user_message()
    reply = client.from_response((await client.send(client.to_request(thread), timeout=30)).payload)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("add", {"a": 1, "b": 1})]
    [call] = reply.tool_calls
    thread.history += [
        ChatMessage(role=MessageRole.assistant, tool_calls=reply.tool_calls),
        ChatMessage(role=MessageRole.tool, content="2", tool_call_id=call.id, tool_name="add"),
    ]
    reply = client.from_response((await client.send(client.to_request(thread), timeout=30)).payload)
    assert reply.content == "The tools said: 2"


@pytest.mark.parametrize("response_format", [ResponseFormat.structured_output, ResponseFormat.tool])
async def test_the_default_answer_fits_the_schema_that_is_asked_for(
    client: Client, provider_server: ProviderServer, response_format: ResponseFormat
) -> None:
    thread = asked(client.name, response_format)
    thread.forced_output = CITY
    reply = client.from_response((await client.send(client.to_request(thread), timeout=30)).payload)
    if response_format is ResponseFormat.tool:
        assert [(call.name, call.arguments) for call in reply.tool_calls] == [("city", {"name": "Hello?"})]
    else:
        assert reply.content == '{"name":"Hello?"}'


async def test_the_same_request_gets_the_same_answer(client: Client, provider_server: ProviderServer) -> None:
    request = client.to_request(asked(client.name))
    first, second = [(await client.send(request, timeout=30)).payload for _ in range(2)]
    assert first == second


async def test_faults_can_depend_on_the_request(client: Client, provider_server: ProviderServer) -> None:
    provider_server.faults = lambda request: Status(500) if request.number == 2 else None
    statuses: list[int | None] = []
    request = client.to_request(asked(client.name))
    for _ in range(3):
        try:
            await client.send(request, timeout=30)
            statuses.append(200)
        except ProviderRefused as error:
            statuses.append(error.status)
    assert statuses == [200, 500, 200]
    assert [(each.number, each.answered) for each in provider_server.requests] == [(1, True), (2, False), (3, True)]


def test_a_server_that_was_not_started_says_so() -> None:
    with pytest.raises(ConfigurationError, match="use it as `with ProviderServer"):
        _ = ProviderServer().url


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtra, match="ProviderServer needs 'uvicorn', which is not installed: pip install"):
        ProviderServer().__enter__()
