"""A client that answers from a script."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from minference.clients.base import Reply, Response, TextDelta
from minference.clients.catalog import create_client
from minference.clients.scripted import FunctionClient, ScriptedClient
from minference.errors import ConfigurationError, ProviderTimeout, WrongArgument
from minference.threads.config import ResponseFormat
from minference.threads.messages import FinishReason, ToolCall
from minference.threads.thread import ChatThread
from tests.clients.threads import CITY, asked, conversation


async def reply_of(client: ScriptedClient, thread: ChatThread) -> Reply:
    response = await client.send(client.to_request(thread), timeout=1)
    return client.from_response(response.payload)


async def test_by_name_it_repeats_what_the_user_said() -> None:
    client = create_client("scripted")
    client.check()
    response = await client.send(client.to_request(asked("scripted")), timeout=1)
    assert client.from_response(response.payload).content == "You said: Hello?"


async def test_a_script_is_followed_in_order_and_its_end_is_an_error() -> None:
    call = ToolCall(id="1", name="add", arguments_json='{"a": 1}')
    whole = Reply(content="Done.", model="m", finish_reason=FinishReason.length, reasoning="Hm.")
    late = ProviderTimeout("scripted", "too late", retryable=True)
    client = ScriptedClient(["First.", call, whole, late, lambda thread: thread.history[-1].content.upper()])
    thread = asked("scripted")
    first, second, third = [await reply_of(client, thread) for _ in range(3)]
    assert (first.content, first.finish_reason) == ("First.", FinishReason.stop)
    assert (second.tool_calls, second.finish_reason) == ((call,), FinishReason.tool_calls)
    assert (third.content, third.finish_reason, third.reasoning) == ("Done.", FinishReason.length, "Hm.")
    with pytest.raises(ProviderTimeout) as caught:
        await reply_of(client, thread)
    assert caught.value is late
    assert (await reply_of(client, thread)).content == "HELLO?"
    with pytest.raises(ConfigurationError, match="has ended after 5 replies"):
        await reply_of(client, thread)
    assert client.requests == [client.to_request(thread)] * 6


@pytest.mark.parametrize(
    "script", ["Hello", b"Hello", 5, None, ToolCall(id="1", name="add"), Reply("x", "m", FinishReason.stop), ProviderTimeout("s", "late")]
)
def test_a_reply_that_is_not_in_a_list_is_no_script(script: Any) -> None:
    with pytest.raises(WrongArgument, match=r"script must be replies in a list, also if it is one: \['Hello.'\]"):
        ScriptedClient(script)
    with pytest.raises(WrongArgument, match=r"function must be a function .*ScriptedClient\(replies\)"):
        FunctionClient(script)


@pytest.mark.parametrize("client", [ScriptedClient(["{}"]), FunctionClient(lambda _: "{}"), ScriptedClient()])
@pytest.mark.parametrize("wanted", [ResponseFormat.structured_output, ResponseFormat.tool])
def test_a_form_without_its_schema_is_refused_as_by_every_provider(client: ScriptedClient, wanted: ResponseFormat) -> None:
    with pytest.raises(ConfigurationError) as refused:
        client.to_request(asked("scripted", wanted))
    with pytest.raises(ConfigurationError, match=r"needs thread\.forced_output: set it") as by_provider:
        create_client("openai").to_request(asked("openai", wanted))
    assert str(refused.value) == str(by_provider.value)


async def test_a_function_sees_the_thread_as_the_model_does_and_cannot_change_it() -> None:
    seen: list[ChatThread] = []
    thread = conversation("scripted", ResponseFormat.tool)
    thread.forced_output = CITY
    before = thread.model_dump_json()

    def answer(shown: ChatThread) -> str:
        seen.append(shown)
        shown.history.clear()
        return "."

    client = ScriptedClient(answer)
    await reply_of(client, thread)
    [shown] = seen
    assert shown.system_prompt is not None
    assert (shown.system_prompt.content, [tool.name for tool in shown.tools]) == ("Be brief.", ["add", "city"])
    assert shown.forced_output is not None
    assert (shown.forced_output.name, thread.model_dump_json()) == ("city", before)


async def test_a_function_may_wait() -> None:
    go = asyncio.Event()

    async def answer(thread: ChatThread) -> str:
        await go.wait()
        return "Now."

    client = ScriptedClient(answer)
    waiting = asyncio.create_task(reply_of(client, asked("scripted")))
    go.set()
    assert (await waiting).content == "Now."


async def test_a_stream_is_the_reply_word_by_word() -> None:
    client = ScriptedClient(["One two\nthree", ""])
    request = client.to_request(asked("scripted"))
    *words, last = [item async for item in client.stream(request, timeout=1)]
    assert words == [TextDelta("One "), TextDelta("two\n"), TextDelta("three")]
    assert isinstance(last, Response)
    assert client.from_response(last.payload).content == "One two\nthree"
    assert len([item async for item in client.stream(request, timeout=1)]) == 1


async def test_what_is_no_reply_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a script holds text, tool calls, replies"):
        await reply_of(ScriptedClient([5]), asked("scripted"))  # type: ignore[list-item]  # on purpose
