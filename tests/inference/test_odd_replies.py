"""Odd letters and numbers in what a provider says: the reply is kept as it came, on every storage, and the thread goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig
from minference.threads.messages import FinishReason
from minference.threads.outputs import RawOutput
from minference.threads.thread import ChatThread
from tests.clients.test_http import Server, client_of, keys, whole
from tests.inference.helpers import add_tool, completed, failed, thread

__all__ = ["keys"]

BOTH = pytest.mark.parametrize("name", ["openai", "anthropic"])


def reply(name: str, text: str, call: tuple[str, str, dict[str, Any]] | None = None, **top: Any) -> bytes:
    """A reply in a provider's dialect, with a call of a tool (id, name and arguments) if one is wanted."""
    if name == "openai":
        function = {"name": call[1], "arguments": json.dumps(call[2])} if call else {}
        calls = [{"id": call[0], "type": "function", "function": function}] if call else None
        message = {"role": "assistant", "content": text, "tool_calls": calls}
        choices = [{"index": 0, "finish_reason": "tool_calls" if call else "stop", "message": message}]
        return whole(json.dumps({"model": "m", "choices": choices, **top}).encode())
    blocks = [{"type": "tool_use", "id": call[0], "name": call[1], "input": call[2]}] if call else []
    body = {"model": "m", "content": [{"type": "text", "text": text}, *blocks], "stop_reason": "tool_use" if call else "end_turn", **top}
    return whole(json.dumps(body).encode())


@asynccontextmanager
async def provider(
    storage: EntityStorage, name: str, *answers: bytes, cache: bool = False
) -> AsyncIterator[tuple[InferenceOrchestrator, Server]]:
    """An orchestrator whose calls are answered so, one after the other."""
    server, left = Server(), list(answers)
    async with server.serving(lambda _line: left.pop(0)):
        client = client_of(server.url, name)
        async with InferenceOrchestrator(storage, clients={name: client}, cache=cache) as orchestrator:
            yield orchestrator, server
        await client.aclose()


def asking(name: str) -> ChatThread:
    return thread("Hi.", llm_config=LLMConfig(client=name, model="m"), tools=[add_tool()])


@BOTH
@pytest.mark.parametrize("odd", ["m\x00x", "m\ud800x"])
async def test_a_reply_whose_model_has_an_odd_name_is_saved_under_it(storage: EntityStorage, name: str, odd: str) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "input_tokens": 1, "output_tokens": 1}
    async with provider(storage, name, reply(name, "fine", model=odd, usage=usage)) as (orchestrator, _):
        [outcome] = await orchestrator.run([asking(name)])
    stored = await storage.get(ChatThread, completed(outcome).thread.ecs_id)
    assert stored.history[-1].content == "fine"
    assert stored.history[-1].usage is not None
    assert stored.history[-1].usage.model == odd
    [*_, last] = await storage.lineage(stored.lineage_id)
    assert last.commit.note == f"reply of {name}/{odd.encode('unicode_escape').decode()}"


@BOTH
@pytest.mark.parametrize("odd", ["get\x00weather", "get\ud800weather"])
async def test_a_call_of_a_tool_with_an_odd_name_costs_no_turn(storage: EntityStorage, name: str, odd: str) -> None:
    answers = [reply(name, "", ("c1", odd, {})), reply(name, "I made that up.")]
    async with provider(storage, name, *answers) as (orchestrator, _):
        [outcome] = await orchestrator.run([asking(name)])
    assert completed(outcome).content == "I made that up."
    stored = await storage.get(ChatThread, outcome.thread.ecs_id)
    assert [message.role.value for message in stored.history] == ["user", "assistant", "tool", "assistant"]
    assert stored.history[1].tool_calls[0].name == odd


@BOTH
async def test_a_whole_reply_is_saved_whatever_the_reason_for_its_end(storage: EntityStorage, name: str) -> None:
    odd = reply(name, "fine").replace(b'"stop"', b'"hush"').replace(b'"end_turn"', b'"any_turn"')
    async with provider(storage, name, odd) as (orchestrator, _):
        [outcome] = await orchestrator.run([asking(name)])
    stored = await storage.get(ChatThread, completed(outcome).thread.ecs_id)
    assert (stored.history[-1].content, stored.history[-1].finish_reason) == ("fine", FinishReason.other)


@BOTH
async def test_the_error_of_a_provider_can_be_printed_and_kept_whatever_it_quotes(storage: EntityStorage, name: str) -> None:
    body = b'{"error": {"message": "bad input: x\\ud800\\u0000", "code": "\\ud800"}}'
    async with provider(storage, name, whole(body, status="400 Bad Request")) as (orchestrator, _):
        [outcome] = await orchestrator.run([asking(name)], run_id="odd")
    shown = f"{failed(outcome).error} {outcome!r} {' '.join(outcome.attempts)}"
    assert shown.encode().count(rb"bad input: x\ud800\x00") == 3
    assert (await storage.runs().get("odd")).counts == {"failed": 1}


@BOTH
async def test_half_a_letter_in_a_reply_is_kept_and_not_sent_back(storage: EntityStorage, name: str) -> None:
    answers = [reply(name, "half a smile: \ud83d, and \U0001f600"), reply(name, "Better?")]
    async with provider(storage, name, *answers) as (orchestrator, server):
        [first] = await orchestrator.run([asking(name)])
        stored = await storage.get(ChatThread, completed(first).thread.ecs_id)
        assert stored.history[-1].content == "half a smile: \ud83d, and \U0001f600"
        stored.new_message = "Again, please."
        [second] = await orchestrator.run([stored])
    assert completed(second).content == "Better?"
    assert "half a smile: \ufffd, and \U0001f600" in json.dumps(server.asked[1][2], ensure_ascii=False)


@BOTH
async def test_half_a_letter_in_the_id_and_the_arguments_of_a_call_costs_no_turn(storage: EntityStorage, name: str) -> None:
    answers = [reply(name, "", ("c\ud800", "add", {"a": 1, "b": "\ud800"})), reply(name, "I see.")]
    async with provider(storage, name, *answers) as (orchestrator, server):
        [outcome] = await orchestrator.run([asking(name)])
    assert completed(outcome).content == "I see."
    stored = await storage.get(ChatThread, outcome.thread.ecs_id)
    assert (stored.history[1].tool_calls[0].id, stored.history[1].tool_calls[0].arguments) == ("c\ud800", {"a": 1, "b": "\ud800"})
    assert stored.history[2].tool_error
    assert "c_" in json.dumps(server.asked[1][2])


@BOTH
async def test_an_odd_reply_can_be_given_again_from_the_cache(storage: EntityStorage, name: str) -> None:
    odd = reply(name, "half: \ud83d, none: \x00", None, **{"score": float("nan"), "k\x00\ud800": "\x00\ud800"})
    async with provider(storage, name, odd, cache=True) as (orchestrator, server):
        first, second = [(await orchestrator.run([asking(name)]))[0] for _ in range(2)]
        assert len(server.asked) == 1
    for outcome in (first, second):
        stored = await storage.get(ChatThread, completed(outcome).thread.ecs_id)
        assert stored.history[-1].content == "half: \ud83d, none: \x00"
    output = completed(second).output
    assert output is not None
    raw = await storage.get(RawOutput, output.raw_output.ecs_id)
    assert raw.from_cache
    assert str(raw.raw_result["score"]) == "nan"
    assert raw.raw_result["k\x00\ud800"] == "\x00\ud800"
