"""What the embedded model answers, from its child process: few tokens each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from minference.clients.base import Reply, TextDelta
from minference.clients.local import LocalClient
from minference.errors import ProviderRefused
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import ChatMessage, FinishReason, MessageRole, SystemPrompt
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool

pytestmark = pytest.mark.local_model

BRIEF = SystemPrompt(name="brief", content="Answer in one short sentence.")
CITY = StructuredTool(
    name="city",
    json_schema={
        "type": "object",
        "properties": {"name": {"type": "string"}, "country": {"type": "string"}},
        "required": ["name", "country"],
        "additionalProperties": False,
    },
)
MULTIPLY = CallableTool(
    name="multiply",
    docstring="Multiply two numbers.",
    input_schema={"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
)
TIMEOUT = 120.0


def config(response_format: ResponseFormat = ResponseFormat.text, max_tokens: int = 24) -> LLMConfig:
    return LLMConfig(client="local", model="local", max_tokens=max_tokens, temperature=0, seed=7, response_format=response_format)


def question(text: str = "What is the capital of France?", max_tokens: int = 24) -> ChatThread:
    return ChatThread(system_prompt=BRIEF, llm_config=config(max_tokens=max_tokens), new_message=text)


async def ask(client: LocalClient, thread: ChatThread) -> Reply:
    response = await client.send(client.to_request(thread), timeout=TIMEOUT)
    return client.from_response(response.payload)


@pytest.fixture
async def client(local_child: None) -> AsyncIterator[LocalClient]:
    joining = LocalClient()
    yield joining
    await joining.aclose()


async def test_it_answers_in_text_and_counts_tokens(client: LocalClient) -> None:
    reply = await ask(client, question())
    assert "Paris" in reply.content
    assert reply.finish_reason is FinishReason.stop
    assert reply.usage is not None
    assert (reply.usage.prompt, reply.usage.completion > 1) == (27, True)
    assert Path(reply.model).name == reply.model


async def test_a_reply_that_is_too_long_says_so(client: LocalClient) -> None:
    reply = await ask(client, question("Tell me a story.", max_tokens=3))
    assert reply.finish_reason is FinishReason.length
    assert reply.usage is not None
    assert reply.usage.completion == 3


async def test_a_stream_gives_the_text_in_pieces_and_then_the_whole_answer(client: LocalClient) -> None:
    parts = [part async for part in client.stream(client.to_request(question()), timeout=TIMEOUT)]
    texts = [part.text for part in parts if isinstance(part, TextDelta)]
    last = parts[-1]
    assert not isinstance(last, TextDelta)
    reply = client.from_response(last.payload)
    assert len(texts) > 1
    assert "".join(texts) == reply.content
    assert reply.finish_reason is FinishReason.stop
    assert reply.usage is not None


async def test_structured_output_fits_its_schema(client: LocalClient) -> None:
    thread = ChatThread(
        llm_config=config(ResponseFormat.structured_output), forced_output=CITY, new_message="I spent a week in Lisbon, Portugal."
    )
    reply = await ask(client, thread)
    assert CITY.validate_object(json.loads(reply.content))["name"] == "Lisbon"


async def test_a_tool_is_called_with_valid_arguments_and_its_result_is_used(client: LocalClient) -> None:
    thread = ChatThread(system_prompt=BRIEF, llm_config=config(ResponseFormat.auto_tools), tools=[MULTIPLY])
    thread.add_user_message("What is 127 times 48?")
    called = await ask(client, thread)
    [call] = called.tool_calls
    assert (call.name, call.arguments, called.finish_reason) == ("multiply", {"a": 127, "b": 48}, FinishReason.tool_calls)
    thread.history.append(ChatMessage(role=MessageRole.assistant, tool_calls=called.tool_calls))
    thread.history.append(ChatMessage(role=MessageRole.tool, content="6096", tool_call_id=call.id, tool_name="multiply"))
    answered = await ask(client, thread)
    assert answered.tool_calls == ()
    assert "6096" in answered.content


async def test_a_forced_call_is_not_streamed_as_text(client: LocalClient) -> None:
    thread = ChatThread(llm_config=config(ResponseFormat.tool), forced_output=CITY, new_message="I spent a week in Lisbon, Portugal.")
    [response] = [part async for part in client.stream(client.to_request(thread), timeout=TIMEOUT)]
    assert not isinstance(response, TextDelta)
    [call] = client.from_response(response.payload).tool_calls
    assert set(call.arguments) == {"name", "country"}


async def test_calls_of_different_replies_have_different_ids(client: LocalClient) -> None:
    thread = ChatThread(llm_config=config(ResponseFormat.auto_tools), tools=[MULTIPLY], new_message="What is 2 times 3?")
    replies = await asyncio.gather(ask(client, thread), ask(client, thread))
    assert len({call.id for reply in replies for call in reply.tool_calls}) == 2


async def test_a_prompt_that_does_not_fit_is_refused_for_good(client: LocalClient) -> None:
    with pytest.raises(ProviderRefused, match="exceed") as caught:
        await ask(client, question("word " * 9000))
    assert (caught.value.status, caught.value.retryable) == (400, False)


async def test_a_proxy_in_the_environment_is_not_asked(client: LocalClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert (await ask(client, question(max_tokens=1))).finish_reason is FinishReason.length
