"""All that a reply holds arrives in the thread: through the SDKs, over a socket, whole or streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minference.errors import InvalidReply, NoStructuredOutput
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Outcome
from minference.storage.base import EntityStorage
from minference.testing import Answer, Called, ProviderServer
from minference.testing.answers import default_answer
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import FinishReason, MessageRole
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.clients.cells import cell, find_through_environment, shout
from tests.inference.helpers import completed, failed, said, thread

BOTH = pytest.mark.parametrize("client", ["openai", "anthropic"])
HOW = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
Body = dict[str, Any]


@pytest.fixture
def strict_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """A strict provider for all clients."""
    with ProviderServer(strict=True) as server:
        find_through_environment(server, monkeypatch)
        yield server


async def run(storage: EntityStorage, chat: ChatThread, *, streamed: bool) -> Outcome:
    async with InferenceOrchestrator(storage) as orchestrator:
        if streamed:
            async for event in orchestrator.stream(chat):
                last = event
            outcome: Outcome = last.outcome  # type: ignore[union-attr]  # the last event is Finished
            return outcome
        return (await orchestrator.run([chat]))[0]


@BOTH
@HOW
async def test_text_thoughts_and_several_calls_are_all_there_in_order(
    memory: EntityStorage, strict_server: ProviderServer, client: str, streamed: bool
) -> None:
    calls = tuple(Called("shout", {"text": text}) for text in "abc")

    def answer(body: Body) -> Answer:
        plain = default_answer(body)
        return plain if plain.text.startswith("The tools") else Answer("Let me see.", calls, reasoning="Three of them.")

    strict_server.answer = answer
    chat = thread(client=client, tools=[CallableTool.from_callable(shout, replace=True)])
    completed(await run(memory, chat, streamed=streamed))
    reply = (await memory.get(ChatThread, chat.ecs_id)).history[1]
    assert (reply.content, reply.reasoning, reply.finish_reason) == ("Let me see.", "Three of them.", FinishReason.tool_calls)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("shout", {"text": text}) for text in "abc"]
    assert sorted(text for role, text in said(chat) if role == "tool") == ["A", "B", "C"]


USAGES: dict[str, Body] = {
    "openai": {
        "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8, "audio_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 1},
    },
    "anthropic": {
        "input_tokens": 28, "output_tokens": 20, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 8,
        "output_tokens_details": {"thinking_tokens": 5},
    },
}  # fmt: skip


@BOTH
@HOW
async def test_every_kind_of_token_is_counted_alike(
    memory: EntityStorage, strict_server: ProviderServer, client: str, streamed: bool
) -> None:
    strict_server.answer = lambda _: Answer("Hello.", fields={"usage": USAGES[client]})
    done = completed(await run(memory, thread(client=client), streamed=streamed))
    used = done.reply.usage
    assert used is not None
    assert (used.prompt_tokens, used.completion_tokens, used.total_tokens) == (100, 20, 120)
    assert (used.cached_tokens, used.cache_read_input_tokens, used.cache_creation_input_tokens, used.reasoning_tokens) == (64, 64, 8, 5)
    assert used.audio_tokens == (3 if client == "openai" else None)


def openai_refusal(body: Body) -> Answer:
    message = {"role": "assistant", "content": None, "refusal": "I will not."}
    return Answer(fields={"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


REFUSALS: dict[str, Callable[[Body], Answer]] = {
    "openai": openai_refusal,
    "anthropic": lambda _: Answer("I will not.", finish="refusal"),
}


@BOTH
async def test_a_refusal_is_no_text(memory: EntityStorage, strict_server: ProviderServer, client: str) -> None:
    strict_server.answer = REFUSALS[client]
    done = completed(await run(memory, chat := thread(client=client), streamed=False))
    assert (done.finish_reason, done.content, done.reply.refusal) == (FinishReason.refusal, "", "I will not.")
    strict_server.answer, chat.new_message = None, "Please."
    assert completed(await run(memory, chat, streamed=False)).content == "You said: Please."  # and it may stand in a history


@BOTH
async def test_a_refused_structured_output_fails_with_the_models_words(
    memory: EntityStorage, strict_server: ProviderServer, client: str
) -> None:
    strict_server.answer = REFUSALS[client]
    outcome = failed(await run(memory, cell(client, ResponseFormat.structured_output), streamed=False))
    assert isinstance(outcome.error, NoStructuredOutput)
    assert "the model refused: I will not." in str(outcome.error)
    assert len(strict_server.requests) == 1


@BOTH
@HOW
@pytest.mark.parametrize(
    ("openai", "anthropic", "reason"),
    [
        ("length", "max_tokens", FinishReason.length),
        ("content_filter", "refusal", None),
        ("stop", "stop_sequence", FinishReason.stop),
    ],
)
async def test_why_a_reply_ended_is_told_by_its_type(
    memory: EntityStorage,
    strict_server: ProviderServer,
    client: str,
    streamed: bool,
    openai: str,
    anthropic: str,
    reason: FinishReason | None,
) -> None:
    strict_server.answer = lambda _: Answer("Half a", finish=openai if client == "openai" else anthropic)
    done = completed(await run(memory, thread(client=client), streamed=streamed))
    withheld = FinishReason.content_filter if client == "openai" else FinishReason.refusal
    assert done.finish_reason is (reason or withheld)
    assert done.content == ("" if done.finish_reason is FinishReason.refusal else "Half a")


@BOTH
async def test_text_that_happens_to_be_json_stays_text_even_with_tools(
    memory: EntityStorage, strict_server: ProviderServer, client: str
) -> None:
    strict_server.answer = lambda _: '{"name": "shout", "arguments": {"text": "a"}}'
    config = LLMConfig(client=client, model="m")
    done = completed(await run(memory, thread(llm_config=config, tools=[CallableTool.from_callable(shout, replace=True)]), streamed=False))
    assert (done.content, done.reply.tool_calls, done.object) == ('{"name": "shout", "arguments": {"text": "a"}}', (), None)


@HOW
async def test_open_models_calls_in_words_are_run_and_answered(
    memory: EntityStorage, strict_server: ProviderServer, streamed: bool
) -> None:
    def answer(body: Body) -> str:
        results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
        return f"It is {results[0]}" if results else 'Wait. <tool_call>{"name": "shout", "arguments": {"text": "a"}}</tool_call>'

    strict_server.answer = answer
    chat = thread(client="vllm", tools=[CallableTool.from_callable(shout, replace=True)])
    assert completed(await run(memory, chat, streamed=streamed)).content == "It is A"
    assert [message.role for message in chat.history] == [MessageRole.user, MessageRole.assistant, MessageRole.tool, MessageRole.assistant]
    assert chat.history[1].content == "Wait."


async def test_a_provider_behind_openrouter_that_broke_off_is_an_error_with_its_words(
    memory: EntityStorage, strict_server: ProviderServer
) -> None:
    choice = {
        "index": 0, "finish_reason": "error", "message": {"role": "assistant", "content": "Half"},
        "error": {"code": 502, "message": "upstream is gone"},
    }  # fmt: skip
    answers = iter([Answer(fields={"choices": [choice]})])
    strict_server.answer = lambda body: next(answers, None) or default_answer(body)
    chat = thread(client="openrouter")
    done = completed(await run(memory, chat, streamed=False))
    assert done.content == "You said: Hello."
    assert "upstream is gone" in done.attempts[0]
    assert InvalidReply.__name__ in done.attempts[0] or "502" in done.attempts[0]
