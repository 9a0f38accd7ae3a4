"""What a provider or a model can do wrong, in both dialects: nothing of it spoils a thread, and each says what happened."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from minference.errors import ConfigurationError, InvalidReply, ProviderUnreachable, UnsendableText
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.outcomes import Failed, Outcome
from minference.inference.retries import RetryPolicy
from minference.storage.base import EntityStorage
from minference.testing import Answer, Called, EmptyChoices, ErrorInside, Fault, Html, ProviderServer, TruncatedBody, TruncatedStream
from minference.testing.answers import default_answer
from minference.threads.config import LLMConfig
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.outputs import RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.clients.cells import find_through_environment, shout
from tests.inference.helpers import completed, failed, said

BOTH = pytest.mark.parametrize("client", ["openai", "anthropic"])
HOW = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
ONCE = RetryPolicy(max_attempts=1, first_pause=0.0)


@pytest.fixture
def strict_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """A provider that takes nothing amiss but broken rules."""
    with ProviderServer(strict=True) as server:
        find_through_environment(server, monkeypatch)
        yield server


def calling(*calls: Called) -> Any:
    """What says a user's message with these calls, and results with words."""

    def answer(body: dict[str, Any]) -> Answer:
        plain = default_answer(body)
        return plain if plain.text.startswith("The tools said") else Answer("Let me see.", calls)

    return answer


def asking(client: str, text: str = "hello") -> ChatThread:
    config = LLMConfig(client=client, model="m")
    return ChatThread(llm_config=config, new_message=text, tools=[CallableTool.from_callable(shout, replace=True)])


async def run(storage: EntityStorage, thread: ChatThread, *, streamed: bool = False) -> Outcome:
    async with InferenceOrchestrator(storage, retry=ONCE) as orchestrator:
        if not streamed:
            return (await orchestrator.run([thread]))[0]
        events = [event async for event in orchestrator.stream(thread)]
    outcome: Outcome = events[-1].outcome  # type: ignore[union-attr]  # the last event is Finished
    return outcome


async def results(storage: EntityStorage, outcome: Outcome) -> Sequence[ChatMessage]:
    """The stored results of tools; the stored thread is the one in memory."""
    stored = await storage.get(ChatThread, outcome.thread.ecs_id)
    assert said(stored) == said(outcome.thread)
    return [message for message in stored.history if message.role is MessageRole.tool]


@BOTH
@HOW
@pytest.mark.parametrize(
    ("call", "told"),
    [
        (Called("shout", '{"text": "a"'), "is not JSON"),
        (Called("shout", '["a"]'), "is not a JSON object"),
        (Called("shout", {"text": "a", "times": "many"}), "times: Input should be a valid integer"),
        (Called("shout", {"txt": "a"}), "text: Field required; txt: Extra inputs are not permitted"),
        (Called("whisper", {"text": "a"}), "there is no tool 'whisper'; the tools are: shout"),
        (Called("no such.tool!", {}), "there is no tool 'no such.tool!'"),
    ],
    ids=["malformed", "no object", "wrong type", "wrong name", "never offered", "no name of a tool"],
)
async def test_a_wrong_call_is_answered_with_what_is_wrong_and_the_conversation_goes_on(
    memory: EntityStorage, strict_server: ProviderServer, client: str, streamed: bool, call: Called, told: str
) -> None:
    strict_server.answer = calling(call, Called("shout", {"text": "b"}))
    outcome = await run(memory, asking(client), streamed=streamed)
    wrong, right = sorted(await results(memory, outcome), key=lambda result: not result.tool_error)
    assert told in wrong.content
    assert (wrong.tool_error, right.tool_error, right.content) == (True, False, "B")
    assert completed(outcome).content.startswith("The tools said")
    assert outcome.thread.history[1].content == "Let me see."


@BOTH
async def test_a_call_where_no_tool_was_offered_is_answered_too(memory: EntityStorage, strict_server: ProviderServer, client: str) -> None:
    strict_server.answer = calling(Called("shout", {"text": "a"}))
    thread = asking(client)
    thread.tools = []
    outcome = await run(memory, thread)
    [wrong] = await results(memory, outcome)
    assert (wrong.tool_error, wrong.content) == (True, "there is no tool 'shout'; the tools are: none")
    assert completed(outcome).content.startswith("The tools said")


@BOTH
@HOW
async def test_two_calls_with_one_id_are_told_apart_and_the_second_is_not_run(
    memory: EntityStorage, strict_server: ProviderServer, client: str, streamed: bool
) -> None:
    strict_server.answer = calling(Called("shout", {"text": "a"}, "x"), Called("shout", {"text": "b"}, "x"))
    thread = asking(client)
    outcome = await run(memory, thread, streamed=streamed)
    first, second = await results(memory, outcome)
    assert (first.content, second.tool_error) == ("A", True)
    assert "'x'" in second.content
    thread.new_message = "Again."
    again = await run(memory, thread)  # and the same id once more in another turn
    assert completed(again).content.startswith("The tools said")
    assert [request.problem for request in strict_server.requests] == [None] * 4


@BOTH
@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (EmptyChoices(), InvalidReply, "answered with (\\[\\] at 'choices'|None at 'content')"),
        (Html(), InvalidReply, "an HTML page instead of JSON"),
        (ErrorInside(code="server_error", message="out of memory"), InvalidReply, "success and an error inside .*: out of memory"),
        (TruncatedBody(), ProviderUnreachable, "broke off|no connection"),
    ],
    ids=["empty", "html", "error inside", "half a body"],
)
async def test_what_is_no_reply_fails_with_what_it_was_and_the_thread_can_be_run_again(
    memory: EntityStorage, strict_server: ProviderServer, client: str, fault: Fault, kind: type[Exception], says: str
) -> None:
    strict_server.faults = {1: fault}
    thread = asking(client)
    outcome = failed(await run(memory, thread))
    assert type(outcome.error) is kind
    with pytest.raises(kind, match=says):
        raise outcome.error
    assert said(await memory.get(ChatThread, thread.ecs_id)) == [("user", "hello")]
    assert completed(await run(memory, thread)).content == "You said: hello"
    assert len(await memory.list_by_type(RawOutput)) == 1


@BOTH
@pytest.mark.parametrize(
    "fault",
    [TruncatedStream(1), TruncatedStream(3), TruncatedStream(3, mid_event=True), TruncatedStream(3, clean=False)],
    ids=["at once", "clean", "in an event", "reset"],
)
async def test_a_stream_cut_short_leaves_what_came_and_the_next_turn_is_accepted(
    memory: EntityStorage, strict_server: ProviderServer, client: str, fault: Fault
) -> None:
    strict_server.faults = {1: fault}
    thread = asking(client)
    outcome = await run(memory, thread, streamed=True)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ProviderUnreachable)
    came = [message for message in thread.history if message.role is MessageRole.assistant]
    assert all("You said: hello".startswith(message.content) and message.is_partial for message in came)
    assert said(await memory.get(ChatThread, thread.ecs_id)) == said(thread)
    assert completed(await run(memory, await memory.get(ChatThread, thread.ecs_id))).content == "You said: hello"
    thread.new_message = "Go on."
    assert completed(await run(memory, thread)).content.endswith("Go on.")
    assert [request.problem for request in strict_server.requests] == [None] * len(strict_server.requests)


LARGE = "Grüße, 世界 🌍 \u2028 e\u0301 " * 40_000


@BOTH
async def test_a_megabyte_of_any_letters_goes_there_and_back(memory: EntityStorage, strict_server: ProviderServer, client: str) -> None:
    assert len(LARGE.encode()) > 1_000_000
    outcome = await run(memory, asking(client, LARGE))
    assert completed(outcome).content == f"You said: {LARGE}"
    stored = await memory.get(ChatThread, outcome.thread.ecs_id)
    assert stored.history[0].content == LARGE


@BOTH
async def test_text_that_is_no_unicode_fails_its_thread_alone_and_is_left_as_it_was(
    memory: EntityStorage, strict_server: ProviderServer, client: str
) -> None:
    wrong, right = asking(client, "half a smile: \ud83d"), asking(client)
    async with InferenceOrchestrator(memory) as orchestrator:
        outcomes = await orchestrator.run_parallel_ai_completion([wrong, right])
    assert type(failed(outcomes[0]).error) is UnsendableText
    assert (wrong.new_message, wrong.history) == ("half a smile: \ud83d", [])
    assert completed(outcomes[1]).content == "You said: hello"


@BOTH
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_a_parameter_that_is_no_json_number_is_refused_before_anything_is_sent(
    memory: EntityStorage, strict_server: ProviderServer, client: str, number: float
) -> None:
    thread = asking(client)
    thread.llm_config = LLMConfig(client=client, model="m", extra={"top_k": [1, {"scale": number}]})
    outcome = await run(memory, thread)
    assert type(failed(outcome).error) is ConfigurationError
    assert "llm_config.extra holds NaN or an infinite number" in str(failed(outcome).error)
    assert (thread.new_message, thread.history) == ("hello", [])
    assert strict_server.requests == []
