"""What goes wrong with one thread stays with it, and nothing that was answered or not yet asked is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from minference.clients.base import Reply, Request, Response, TokenUsage
from minference.clients.scripted import ScriptedClient
from minference.errors import (
    AlreadyOpen,
    ConfigurationError,
    InvalidReply,
    MissingKey,
    NothingToAnswer,
    OrchestratorClosed,
    ProviderRefused,
    ProviderUnreachable,
    RequestTooLarge,
    ThreadBusy,
    TurnsExhausted,
    UnknownClient,
    WrongArgument,
)
from minference.inference.budgets import Budget
from minference.inference.events import Finished
from minference.inference.limits import RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.progress import ProgressEvent, ThreadStarted
from minference.inference.retries import RetryPolicy
from minference.storage.base import EntityStorage
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import FinishReason, ToolCall
from minference.threads.outputs import ProcessedOutput
from minference.threads.thread import ChatThread
from tests.inference.helpers import AT_ONCE, Keyless, add_tool, completed, failed, said, thread, versions

OVERLOADED = ProviderRefused("scripted", "overloaded", status=503, retryable=True)
NOT_ALLOWED = ProviderRefused("scripted", "no such model", status=404)


async def test_a_thread_that_fails_disturbs_no_other(memory: EntityStorage) -> None:
    clients = {"good": ScriptedClient(), "bad": ScriptedClient([NOT_ALLOWED], name="bad")}
    threads = [thread("a", client="good"), thread("b", client="bad"), thread("c", client="good")]
    async with InferenceOrchestrator(memory, clients=clients) as orchestrator:
        first, second, third = await orchestrator.run(threads)
    assert (completed(first).content, completed(third).content) == ("You said: a", "You said: c")
    assert failed(second).error is NOT_ALLOWED
    assert said(threads[1]) == [("user", "b")]


class Confused(ScriptedClient):
    """A client whose translation of answers raises what it likes, or counts what nobody can have used."""

    def from_response(self, payload: dict[str, Any], request: Request | None = None) -> Reply:
        if "odd" in payload["content"]:
            raise KeyError("choices")
        reply = super().from_response(payload, request)
        return replace(reply, usage=TokenUsage(1, 1, audio=-1)) if "negative" in reply.content else reply


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("said_last", "cause"), [("odd", KeyError), ("negative", ValidationError)])
async def test_an_answer_that_a_client_cannot_understand_fails_its_thread_alone(
    memory: EntityStorage, said_last: str, cause: type[Exception], streaming: bool
) -> None:
    async with InferenceOrchestrator(memory, clients={"scripted": Confused()}, retry=AT_ONCE) as orchestrator:
        if streaming:
            events = [event async for event in orchestrator.stream(thread(said_last))]
            assert isinstance(events[-1], Finished)
            wrong, right = events[-1].outcome, (await orchestrator.run([thread("plain")]))[0]
        else:
            wrong, right = await orchestrator.run([thread(said_last), thread("plain")])
    error = failed(wrong).error
    assert isinstance(error, InvalidReply)
    assert isinstance(error.__cause__, cause)
    assert cause.__name__ in str(error)
    assert completed(right).content == "You said: plain"


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (lambda: thread("Hi.", client="keyless"), MissingKey),
        (lambda: thread("Hi.", client="nobody"), UnknownClient),
        (
            lambda: thread("Hi.", llm_config=LLMConfig(client="scripted", model="m", response_format=ResponseFormat.tool)),
            ConfigurationError,
        ),
        (lambda: thread("Hi." * 3000), RequestTooLarge),
        (
            lambda: thread("Hi.", llm_config=LLMConfig(client="scripted", model="m", fallbacks=(LLMConfig(client="keyless", model="m"),))),
            MissingKey,
        ),
    ],
    ids=["missing key", "unknown client", "impossible format", "too large", "missing key of a fallback"],
)
async def test_what_cannot_be_sent_consumes_no_message(
    memory: EntityStorage, asked: Callable[[], ChatThread], error: type[Exception]
) -> None:
    chat, neighbour = asked(), thread("Me too.")
    question = chat.new_message
    clients = {"scripted": ScriptedClient(), "keyless": Keyless()}
    async with InferenceOrchestrator(memory, clients=clients, limits=RequestLimits(tokens_per_minute=2000)) as orchestrator:
        outcome, other = await orchestrator.run([chat, neighbour])
    assert isinstance(failed(outcome).error, error)
    assert (chat.new_message, chat.history, await memory.has_entity(chat.ecs_id)) == (question, [], False)
    assert completed(other).content == "You said: Me too."


async def test_running_again_after_a_failure_sends_the_same_question_once(memory: EntityStorage) -> None:
    chat = thread("Hi.")
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient([NOT_ALLOWED, "Hello."])}) as orchestrator:
        failed((await orchestrator.run([chat]))[0])
        [outcome] = await orchestrator.run([chat])
    assert completed(outcome).content == "Hello."
    assert said(chat) == [("user", "Hi."), ("assistant", "Hello.")]


async def test_every_failed_attempt_is_kept_with_the_reply(memory: EntityStorage) -> None:
    reset = ProviderUnreachable("scripted", "connection reset", retryable=True)
    client = ScriptedClient([OVERLOADED, reset, "At last."])
    async with InferenceOrchestrator(memory, clients={"scripted": client}, retry=AT_ONCE) as orchestrator:
        [outcome] = await orchestrator.run([thread()])
    done = completed(outcome)
    assert done.output is not None
    lines = [line.partition(": ")[2] for line in done.attempts]
    assert lines == ["scripted: overloaded", "scripted: connection reset"]
    assert done.output.raw_output.attempts == done.attempts
    assert len(client.requests) == 3


async def test_attempts_are_bounded_and_told(memory: EntityStorage) -> None:
    client = ScriptedClient(lambda asked: OVERLOADED)
    async with InferenceOrchestrator(
        memory, clients={"scripted": client}, retry=RetryPolicy(max_attempts=4, first_pause=0.0)
    ) as orchestrator:
        [outcome] = await orchestrator.run([thread()])
    assert (failed(outcome).error, len(failed(outcome).attempts), len(client.requests)) == (OVERLOADED, 4, 4)
    assert repr(outcome).endswith("ProviderRefused: scripted: overloaded, 4 failed attempts)")


def with_fallback() -> LLMConfig:
    return LLMConfig(client="first", model="a", fallbacks=(LLMConfig(client="second", model="b"), LLMConfig(client="third", model="c")))


async def test_fallbacks_are_tried_in_order_and_the_thread_keeps_its_config(memory: EntityStorage) -> None:
    clients = {
        "first": ScriptedClient(lambda asked: OVERLOADED, name="first"),
        "second": ScriptedClient(lambda asked: OVERLOADED, name="second"),
        "third": ScriptedClient(name="third"),
    }
    chat = thread("Hi.", llm_config=with_fallback())
    async with InferenceOrchestrator(memory, clients=clients, retry=RetryPolicy(max_attempts=2, first_pause=0.0)) as orchestrator:
        [outcome] = await orchestrator.run([chat])
    done = completed(outcome)
    assert done.output is not None
    raw = done.output.raw_output
    assert (done.content, raw.client, raw.request_parameters["model"], len(raw.attempts)) == ("You said: Hi.", "third", "c", 4)
    assert (await memory.get(ChatThread, chat.ecs_id)).llm_config.client == "first"
    assert await versions(memory) == {
        "ChatThread": 2, "ChatMessage": 2, "LLMConfig": 3, "Usage": 1, "RawOutput": 1, "ProcessedOutput": 1,
    }  # fmt: skip


async def test_a_request_that_is_wrong_tries_no_fallback(memory: EntityStorage) -> None:
    wrong = ProviderRefused("first", "no such parameter", status=400)
    clients = {name: ScriptedClient([wrong], name=name) for name in ("first", "second", "third")}
    async with InferenceOrchestrator(memory, clients=clients) as orchestrator:
        [outcome] = await orchestrator.run([thread(llm_config=with_fallback())])
    assert failed(outcome).error is wrong
    assert [len(client.requests) for client in clients.values()] == [1, 0, 0]


@pytest.mark.parametrize(
    ("status", "code"), [(401, None), (404, None), (429, "insufficient_quota"), (413, None), (400, "context_length_exceeded")]
)
async def test_a_key_a_model_a_quota_or_room_that_is_not_there_is_not_tried_again_but_has_fallbacks(
    memory: EntityStorage, status: int, code: str | None
) -> None:
    gone = ProviderRefused("first", "not here", status=status, code=code)
    clients = {
        "first": ScriptedClient([gone], name="first"),
        "second": ScriptedClient(name="second"),
        "third": ScriptedClient(name="third"),
    }
    async with InferenceOrchestrator(memory, clients=clients) as orchestrator:
        [outcome] = await orchestrator.run([thread("Hi.", llm_config=with_fallback())])
    assert completed(outcome).output is not None
    assert [len(client.requests) for client in clients.values()] == [1, 1, 0]
    assert len(completed(outcome).attempts) == 1


SMALL, LARGE = RequestLimits(output_tokens_per_minute=10), RequestLimits(output_tokens_per_minute=100_000)


async def test_a_request_that_is_too_large_for_a_limit_goes_to_the_first_fallback_that_takes_it(memory: EntityStorage) -> None:
    clients = {name: ScriptedClient(name=name) for name in ("first", "second", "third")}
    limits = {"first": SMALL, "second": SMALL, "third": LARGE}
    async with InferenceOrchestrator(memory, clients=clients, limits=limits) as orchestrator:
        [outcome] = await orchestrator.run([thread("Hi.", llm_config=with_fallback())])
        events = [event async for event in orchestrator.stream(thread("Hi.", llm_config=with_fallback()))]
    assert completed(outcome).content == "You said: Hi."
    assert isinstance(events[-1], Finished)
    assert events[-1].outcome.ok
    assert [len(client.requests) for client in clients.values()] == [0, 0, 2]


async def test_a_request_that_is_too_large_for_all_limits_is_not_begun(memory: EntityStorage) -> None:
    clients, chat = {name: ScriptedClient(name=name) for name in ("first", "second", "third")}, thread("Hi.", llm_config=with_fallback())
    async with InferenceOrchestrator(memory, clients=clients, limits=SMALL) as orchestrator:
        [outcome] = await orchestrator.run([chat])
    assert isinstance(failed(outcome).error, RequestTooLarge)
    assert (chat.history, chat.new_message) == ([], "Hi.")


async def test_a_budget_is_held_against_who_is_asked_first(memory: EntityStorage) -> None:
    large = LLMConfig(client="first", model="a", max_tokens=5000, fallbacks=(LLMConfig(client="second", model="b", max_tokens=50),))
    clients = {name: ScriptedClient(name=name) for name in ("first", "second")}
    async with InferenceOrchestrator(memory, clients=clients, limits={"first": SMALL}) as orchestrator:
        [outcome] = await orchestrator.run([thread("Hi.", llm_config=large)], budget=Budget(max_tokens=1000))
    assert completed(outcome).content == "You said: Hi."


async def test_a_thread_that_never_ends_is_stopped_after_its_turns(memory: EntityStorage) -> None:
    chat = thread("Go on.", tools=[add_tool()])
    calls = iter(range(100))
    client = ScriptedClient(lambda asked: ToolCall.from_arguments(f"call-{next(calls)}", "add", {"a": 1, "b": 1}))
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([chat], max_turns=3)
        assert isinstance(failed(outcome).error, TurnsExhausted)
        assert (len(client.requests), len(chat.history)) == (3, 1 + 3 * 2)
        await orchestrator.run([chat], max_turns=1)
    assert (len(client.requests), len(chat.history)) == (4, 1 + 4 * 2)


async def test_a_thread_with_nothing_to_answer_says_so(memory: EntityStorage) -> None:
    client = ScriptedClient()
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        [empty] = await orchestrator.run([thread(None)])
        chat = thread("Hi.")
        await orchestrator.run([chat])
        [answered] = await orchestrator.run_parallel_ai_completion([chat])
    assert [type(failed(outcome).error) for outcome in (empty, answered)] == [NothingToAnswer, NothingToAnswer]
    assert len(client.requests) == 1


async def test_running_a_thread_that_is_done_calls_nobody(memory: EntityStorage) -> None:
    client = ScriptedClient()
    chat = thread("Hi.")
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        await orchestrator.run([chat])
        before = await versions(memory)
        [again] = await orchestrator.run([await memory.get(ChatThread, chat.ecs_id)])
    assert (completed(again).content, completed(again).output, len(client.requests)) == ("You said: Hi.", None, 1)
    assert await versions(memory) == before


async def test_a_callback_that_cancels_the_work_it_is_told_of_ends_the_call_with_what_was_wrong(memory: EntityStorage) -> None:
    def cancel(event: ProgressEvent) -> None:
        if isinstance(event, ThreadStarted):
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient()}, progress=cancel) as orchestrator:
        with pytest.raises(RuntimeError, match="work was cancelled by something that it called"):
            await orchestrator.run([thread("Hi.")])


async def test_one_object_cannot_be_run_twice_at_once(memory: EntityStorage) -> None:
    began, gate = asyncio.Event(), asyncio.Event()
    client = ScriptedClient(waiting(began, gate))
    chat, other = thread("Hi."), thread("Me too.")
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        with pytest.raises(ThreadBusy, match=str(other.ecs_id)):
            await orchestrator.run([chat, other, other])
        assert (chat.history, client.requests) == ([], [])
        running = asyncio.create_task(orchestrator.run([chat]))
        await began.wait()
        with pytest.raises(ThreadBusy):
            await orchestrator.run([other, chat])
        gate.set()
        completed((await running)[0])
        completed((await orchestrator.run([other]))[0])


async def test_one_object_cannot_be_run_by_two_orchestrators_at_once(memory: EntityStorage) -> None:
    began, gate = asyncio.Event(), asyncio.Event()
    chat, clients = thread("Hi."), {"scripted": ScriptedClient(waiting(began, gate))}
    async with InferenceOrchestrator(memory, clients=clients) as one, InferenceOrchestrator(memory, clients=clients) as another:
        running = asyncio.create_task(one.run([chat]))
        await began.wait()
        with pytest.raises(ThreadBusy):
            await another.run([chat])
        with pytest.raises(ThreadBusy):
            await anext(another.stream(chat))
        [busy] = [outcome async for outcome in another.as_completed([chat])]
        assert isinstance(failed(busy).error, ThreadBusy)
        gate.set()
        completed((await running)[0])
        chat.new_message = "And now?"
        completed((await another.run([chat]))[0])
    assert len(chat.history) == 4


async def test_two_copies_of_one_version_become_two_branches(memory: EntityStorage) -> None:
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient()}) as orchestrator:
        chat = thread("Hi.")
        await orchestrator.run([chat])
        copies = [await memory.get(ChatThread, chat.ecs_id) for _ in range(2)]
        copies[0].new_message, copies[1].new_message = "Left?", "Right?"
        outcomes = await orchestrator.run(copies)
    assert [completed(outcome).content for outcome in outcomes] == ["You said: Left?", "You said: Right?"]
    assert {head.ecs_id for head in await memory.heads(chat.lineage_id)} == {copy.ecs_id for copy in copies}


def waiting(began: asyncio.Event, gate: asyncio.Event) -> Callable[[ChatThread], Awaitable[str]]:
    async def answer(asked: ChatThread) -> str:
        began.set()
        await gate.wait()
        return "Here I am."

    return answer


async def test_a_cancelled_run_saves_the_replies_that_are_on_their_way(memory: EntityStorage) -> None:
    began, gate = asyncio.Event(), asyncio.Event()
    chat, queued = thread("Are you there?"), thread("And you?")
    limits = RequestLimits(max_in_flight=1)
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient(waiting(began, gate))}, limits=limits) as orchestrator:
        running = asyncio.create_task(orchestrator.run([chat, queued]))
        await began.wait()
        running.cancel()
        await asyncio.sleep(0)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await running
    stored = await memory.get(ChatThread, chat.ecs_id)
    assert said(stored) == [("user", "Are you there?"), ("assistant", "Here I am.")]
    [output] = await memory.list_by_type(ProcessedOutput)
    assert (await memory.get(ProcessedOutput, output.ecs_id)).content == "Here I am."
    assert said(await memory.get(ChatThread, queued.ecs_id)) == [("user", "And you?")]


async def test_a_reply_that_does_not_come_within_the_grace_is_given_up(memory: EntityStorage) -> None:
    began = asyncio.Event()
    chat = thread("Are you there?")
    client = ScriptedClient(waiting(began, asyncio.Event()))
    async with InferenceOrchestrator(memory, clients={"scripted": client}, drain_seconds=0.0) as orchestrator:
        running = asyncio.create_task(orchestrator.run([chat]))
        await began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert said(chat) == [("user", "Are you there?")]


async def test_a_bug_ends_the_run_after_replies_on_their_way_are_saved(memory: EntityStorage) -> None:
    began, gate = asyncio.Event(), asyncio.Event()

    async def buggy(asked: ChatThread) -> str:
        await began.wait()
        asyncio.get_running_loop().call_soon(gate.set)
        raise ZeroDivisionError("a bug")

    clients = {"slow": ScriptedClient(waiting(began, gate), name="slow"), "buggy": ScriptedClient(buggy, name="buggy")}
    chat = thread("Are you there?", client="slow")
    async with InferenceOrchestrator(memory, clients=clients) as orchestrator:
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await orchestrator.run([chat, thread("Crash.", client="buggy")])
    assert said(await memory.get(ChatThread, chat.ecs_id)) == [("user", "Are you there?"), ("assistant", "Here I am.")]


async def test_no_more_calls_are_under_way_than_the_limits_allow(memory: EntityStorage) -> None:
    now, most = 0, 0

    async def answer(asked: ChatThread) -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return "Yes."

    limits = RequestLimits(max_in_flight=3)
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient(answer)}, limits=limits) as orchestrator:
        outcomes = await orchestrator.run([thread(str(number)) for number in range(20)])
    assert ([completed(outcome).content for outcome in outcomes], most) == (["Yes."] * 20, 3)


async def test_an_orchestrator_works_only_while_it_is_open(memory: EntityStorage) -> None:
    orchestrator = InferenceOrchestrator(memory)
    with pytest.raises(OrchestratorClosed):
        await orchestrator.run([thread()])
    async with orchestrator:
        assert await orchestrator.run([]) == []
    with pytest.raises(OrchestratorClosed):
        await orchestrator.run_parallel_ai_completion([thread()])


async def test_an_open_orchestrator_is_not_entered_again_and_stays_open(memory: EntityStorage) -> None:
    orchestrator = InferenceOrchestrator(memory)
    for _ in range(2):
        async with orchestrator:
            with pytest.raises(AlreadyOpen, match="the orchestrator is open already"):
                async with orchestrator:
                    pytest.fail("it was entered twice")
            [outcome] = await orchestrator.run([thread()])
            assert outcome.ok


async def test_clients_that_were_given_stay_open_and_the_current_storage_is_the_default(memory: EntityStorage) -> None:
    client = ScriptedClient()
    async with InferenceOrchestrator(clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([thread()])
    assert (await memory.has_entity(completed(outcome).thread.ecs_id), client.closed) == (True, False)


async def test_a_reply_that_was_cut_off_or_refused_says_so(memory: EntityStorage) -> None:
    replies = [Reply(content="Well", model="m", finish_reason=reason) for reason in (FinishReason.length, FinishReason.content_filter)]
    async with InferenceOrchestrator(memory, clients={"scripted": ScriptedClient(replies)}) as orchestrator:
        outcomes = [await orchestrator.run([thread()]) for _ in replies]
    assert [completed(outcome).reply.finish_reason for [outcome] in outcomes] == [FinishReason.length, FinishReason.content_filter]


class Cancelling(ScriptedClient):
    """A client whose first call is cancelled somewhere inside."""

    async def send(self, request: Request, *, timeout: float) -> Response:
        response = await super().send(request, timeout=timeout)
        if len(self.requests) == 1:
            raise asyncio.CancelledError
        return response


async def test_a_call_that_a_client_cancels_by_itself_is_tried_again(memory: EntityStorage) -> None:
    client = Cancelling(["Lost.", "Here I am."])
    async with InferenceOrchestrator(memory, clients={"scripted": client}, retry=AT_ONCE) as orchestrator:
        [outcome] = await orchestrator.run([thread()])
    assert completed(outcome).content == "Here I am."
    assert "cancelled the call by itself" in outcome.attempts[0]


@pytest.mark.parametrize(
    "wrong", ["abc", [None], ChatThread(llm_config=LLMConfig(client="scripted", model="m"))], ids=["text", "none", "one"]
)
async def test_what_is_no_thread_is_named_before_anything_is_sent(memory: EntityStorage, wrong: Any) -> None:
    client = ScriptedClient()
    async with InferenceOrchestrator(memory, clients={"scripted": client}) as orchestrator:
        with pytest.raises(WrongArgument, match=r"must be (a ChatThread|ChatThreads in a list)"):
            await orchestrator.run(wrong)
        with pytest.raises(WrongArgument, match=r"must be (a ChatThread|ChatThreads in a list)"):
            await orchestrator.run_parallel_ai_completion([thread(), *wrong])
        with pytest.raises(WrongArgument, match=r"must be (a ChatThread|ChatThreads in a list)"):
            async for _ in orchestrator.as_completed(list(wrong), run_id="nightly"):
                pass
    assert client.requests == []
    assert await versions(memory) == {}


@pytest.mark.parametrize("extra", [{"api_key": "k"}, {"extra_headers": {"Authorization": "Bearer k"}}])
def test_a_config_takes_no_key(extra: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="is an API key, and configs are stored"):
        LLMConfig(client="openai", model="m", extra=extra)
