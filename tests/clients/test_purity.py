"""Rendering a request changes nothing, however often it is done."""

from __future__ import annotations

import pytest

from minference.clients.catalog import create_client
from minference.threads.config import ResponseFormat
from minference.threads.thread import ChatThread
from tests.clients.threads import ADD, CITY, conversation

CLIENTS = ("openai", "anthropic", "vllm", "openrouter", "scripted")


def state(thread: ChatThread) -> tuple[str, list[int]]:
    return thread.model_dump_json(), [id(message) for message in thread.history]


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("response_format", ResponseFormat)
def test_a_request_is_the_same_twice_and_the_thread_is_as_it_was(name: str, response_format: ResponseFormat) -> None:
    if name == "anthropic" and response_format is ResponseFormat.json_object:
        response_format = ResponseFormat.text  # it has no JSON mode, and says so: see test_anthropic_requests
    thread = conversation(name, response_format, stop=("END",))
    thread.tools, thread.forced_output, thread.use_schema_instruction = [ADD, CITY], CITY, True
    client, before = create_client(name), state(thread)
    first = client.to_request(thread)
    assert client.to_request(thread) == first
    assert state(thread) == before
    first["messages"].clear()
    for tool in first.get("tools", ()):
        tool.clear()
    assert state(thread) == before
