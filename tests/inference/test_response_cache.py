"""The response cache: the same request is sent once, what differs is asked, and what is erased is not given again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from minference.clients.base import Reply, TextDelta, TokenUsage
from minference.clients.openai import OpenAIClient
from minference.clients.scripted import ScriptedClient
from minference.ecs.identity import utc_now
from minference.errors import BudgetExceeded, ConfigurationError, MissingKey, NoStructuredOutput, ProviderRefused
from minference.inference.budgets import Budget, Spent
from minference.inference.caching import ResponseCache
from minference.inference.events import Finished
from minference.inference.limits import RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.prices import Price
from minference.inference.progress import ProgressEvent, ThreadStarted, TokensUsed
from minference.inference.retries import RetryPolicy
from minference.inference.spending import UsageOfDay, usage_by_day
from minference.profiles import built_in_profiles
from minference.storage.base import EntityStorage
from minference.storage.open import open_storage
from minference.testing import ProviderServer, Status, TruncatedStream
from minference.threads.attachments import ImageAttachment
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import FinishReason, SystemPrompt
from minference.threads.outputs import RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool, StructuredTool
from tests.inference.helpers import AT_ONCE, add_tool, completed, failed, said, thread
from tests.storage.erasures import files_with, tables_with
from tests.support.nursery import run_program

PNG = b"\x89PNG\r\n\x1a\nrest"
ONCE = RetryPolicy(max_attempts=1)
PROVIDERS = pytest.mark.parametrize("provider", ["openai", "anthropic"])


def asked(provider: str, text: str = "What is 1 + 2?", **fields: Any) -> ChatThread:
    """A thread with everything that a request can hold."""
    config = LLMConfig(
        client=provider,
        model=fields.pop("model", "a-model"),
        temperature=fields.pop("temperature", 0.7),
        max_tokens=fields.pop("max_tokens", 100),
    )
    chat = ChatThread(llm_config=config, system_prompt=SystemPrompt(content="Be brief."), tools=fields.pop("tools", [add_tool()]))
    chat.add_user_message(text, attachments=[ImageAttachment.from_bytes(fields.pop("image", PNG), name="it.png")])
    return chat


async def ran(chats: Sequence[ChatThread], cache: bool | ResponseCache = True, **options: Any) -> list[Any]:
    """The outcomes under an orchestrator of their own on the current storage."""
    about = {name: options.pop(name) for name in ("clients", "prices", "limits", "progress", "retry") if name in options}
    async with InferenceOrchestrator(cache=cache, **about) as orchestrator:
        return list(await orchestrator.run(chats, **options))


@PROVIDERS
async def test_a_second_identical_run_sends_nothing(storage: EntityStorage, provider_server: ProviderServer, provider: str) -> None:
    [first] = await ran([chat := asked(provider)])
    sent = len(provider_server.requests)
    [second] = await ran([again := asked(provider)])
    assert (sent, len(provider_server.requests)) == (2, 2), "a call of the tool, and an answer to its result"
    assert said(again) == said(chat)
    assert (completed(first).from_cache, completed(second).from_cache) == (False, True)
    assert (completed(second).spent, completed(first).spent.tokens > 0) == (Spent(2, 0, 0.0), True)
    stored = await storage.get(ChatThread, again.ecs_id)
    usages = [(message.usage.from_cache, message.usage.cost_usd) for message in stored.history if message.usage]
    assert usages == [(True, 0.0)] * 2
    outputs = [await storage.get(RawOutput, info.ecs_id) for info in await storage.list_by_type(RawOutput)]
    assert sorted(raw.from_cache for raw in outputs) == [False, False, True, True]
    by_digest = {raw.request_sha256: await raw.request() for raw in outputs if not raw.from_cache}
    again_sent = [raw for raw in outputs if raw.from_cache]
    assert [await raw.request() for raw in again_sent] == [by_digest[raw.request_sha256] for raw in again_sent]


@PROVIDERS
async def test_whatever_differs_in_a_request_makes_one(
    storage: EntityStorage, provider_server: ProviderServer, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(a: int) -> int:
        """Another one."""
        return a

    another = CallableTool.from_callable(other, replace=True)
    different: list[dict[str, Any]] = [
        {},
        {"temperature": 0.8} if provider == "openai" else {"max_tokens": 101},  # Anthropic is sent no temperature
        {"model": "another-model"},
        {"text": "What is 1 + 3?"},
        {"tools": [another]},
        {"image": PNG + b"s"},
    ]
    for each in different:
        before = len(provider_server.requests)
        [outcome] = await ran([asked(provider, **each)], until="turn")
        assert (completed(outcome).from_cache, len(provider_server.requests)) == (False, before + 1), each
    with ProviderServer(call_tools=True) as elsewhere:
        url = elsewhere.openai_url if provider == "openai" else elsewhere.url
        monkeypatch.setenv(f"{provider.upper()}_BASE_URL", url)
        [outcome] = await ran([asked(provider)], until="turn")
        assert (completed(outcome).from_cache, len(elsewhere.requests)) == (False, 1)
    assert (await storage.replies().size()).replies == len(different) + 1


async def test_two_names_for_one_place_are_asked_each(memory: EntityStorage, provider_server: ProviderServer) -> None:
    clients = {name: OpenAIClient(built_in_profiles()["openai"]) for name in ("one", "two")}
    for name in clients:
        await ran([thread("Hello.", client=name)], clients=clients)
    assert len(provider_server.requests) == 2
    for client in clients.values():
        await client.aclose()


async def test_two_processes_share_what_was_answered(sqlite_storage_url: str, provider_server: ProviderServer, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, sys\n"
        "from minference import ChatThread, InferenceOrchestrator, LLMConfig, open_storage\n"
        "async def main():\n"
        "    async with open_storage(sys.argv[1]) as storage, InferenceOrchestrator(cache=True) as orchestrator:\n"
        "        config = LLMConfig(client='openai', model='a-model')\n"
        "        [outcome] = await orchestrator.run([ChatThread(llm_config=config, new_message='Hello.')])\n"
        "        print(outcome.from_cache, outcome.content)\n"
        "asyncio.run(main())\n"
    )
    ran_apart = [await asyncio.to_thread(run_program, str(program), sqlite_storage_url, timeout=60) for _ in range(2)]
    told = [each.stdout.split(maxsplit=1) for each in ran_apart]
    assert [each[0] for each in told] == ["False", "True"]
    assert told[0][1] == told[1][1]
    assert len(provider_server.requests) == 1


@PROVIDERS
async def test_what_was_answered_needs_neither_key_nor_server(
    memory: EntityStorage, provider_server: ProviderServer, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever got a database with its replies can run everything again; what is new waits for a key, with its question unsaved."""
    await ran([chat := asked(provider)])
    monkeypatch.delenv(f"{provider.upper()}_API_KEY")
    await ran([again := asked(provider)])
    assert (said(again), len(provider_server.requests)) == (said(chat), 2)
    other = ChatThread(llm_config=asked(provider).llm_config, new_message="And 1 + 3?")
    [new] = await ran([other])
    assert isinstance(failed(new).error, MissingKey)
    assert (other.new_message, len(provider_server.requests)) == ("And 1 + 3?", 2)


async def test_replies_that_are_too_old_are_asked_for_again(storage: EntityStorage) -> None:
    client = ScriptedClient(["One.", "Two."])
    contents = []
    for cache in (True, ResponseCache(max_age=3600), ResponseCache(max_age=1e-6), True):
        [outcome] = await ran([thread("a")], cache, clients={"scripted": client})
        contents.append((completed(outcome).content, completed(outcome).from_cache))
    assert contents == [("One.", False), ("One.", True), ("Two.", False), ("Two.", True)]


@PROVIDERS
async def test_failures_are_not_cached(memory: EntityStorage, provider_server: ProviderServer, provider: str) -> None:
    provider_server.faults = {1: Status(400), 2: Status(503)}
    for _ in range(2):
        [outcome] = await ran([asked(provider)], retry=ONCE, until="turn")
        assert isinstance(failed(outcome).error, ProviderRefused)
    [outcome] = await ran([asked(provider)], until="turn")
    assert (completed(outcome).from_cache, len(provider_server.requests)) == (False, 3)


async def test_a_reply_that_is_no_valid_object_is_not_cached(storage: EntityStorage) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    tool = StructuredTool.from_json_schema("person", schema)
    config = LLMConfig(client="scripted", model="model", response_format=ResponseFormat.structured_output)
    client = ScriptedClient(["nothing", "nothing", '{"name": "Ann"}'])

    def chat() -> ChatThread:
        return thread("Who?", llm_config=config, forced_output=tool)

    [outcome] = await ran([chat()], clients={"scripted": client})
    assert isinstance(failed(outcome).error, NoStructuredOutput)
    assert (await storage.replies().size()).replies == 0
    objects = [(completed((await ran([chat()], clients={"scripted": client}))[0])).object for _ in range(2)]
    assert (objects, len(client.requests)) == ([{"name": "Ann"}] * 2, 3)


async def test_part_of_a_stream_is_not_cached_and_a_whole_one_is_given_in_one_piece(
    storage: EntityStorage, provider_server: ProviderServer
) -> None:
    async def streamed() -> list[str]:
        async with InferenceOrchestrator(cache=True, retry=ONCE) as orchestrator:
            events = [event async for event in orchestrator.stream(thread("Tell me a story.", client="openai"))]
        assert isinstance(events[-1], Finished)
        return [str(events[-1].outcome.ok), *(event.text for event in events if isinstance(event, TextDelta))]

    provider_server.faults = {1: TruncatedStream()}
    broken, whole, again = await streamed(), await streamed(), await streamed()
    assert (broken[0], whole[0], again[0]) == ("False", "True", "True")
    assert (len(whole) > 2, again[1:]) == (True, ["".join(whole[1:])])
    [outcome] = await ran([thread("Tell me a story.", client="openai")])
    assert (completed(outcome).from_cache, len(provider_server.requests)) == (True, 2)


async def test_a_reply_from_the_cache_needs_no_room_and_costs_nothing(storage: EntityStorage) -> None:
    usage = TokenUsage(prompt=1000, completion=100, cached=400)
    client = ScriptedClient([Reply(content="Yes.", model="model", finish_reason=FinishReason.stop, usage=usage)])
    about: dict[str, Any] = {"clients": {"scripted": client}, "prices": {"scripted": Price(input=1.0, output=10.0)}}
    told: list[ProgressEvent] = []
    await ran([thread("a")], **about)
    nothing_left = Budget(max_tokens=0, max_cost=0.0)
    limits = {"scripted": RequestLimits(requests_per_minute=1)}
    outcomes = await ran([thread("a") for _ in range(20)], budget=nothing_left, limits=limits, progress=told.append, **about)
    assert {(outcome.from_cache, outcome.spent) for outcome in map(completed, outcomes)} == {(True, Spent(1, 0, 0.0))}
    assert (nothing_left.tokens, nothing_left.cost) == (0, 0.0)
    assert [event.usage.from_cache for event in told if isinstance(event, TokensUsed)] == [True] * 20
    [row] = await usage_by_day(storage)
    assert row == UsageOfDay(utc_now().date(), "model", 21, 1000, 100, 400, 0.002, 0, 20)
    [outcome] = await ran([thread("b")], budget=nothing_left, **about)
    assert isinstance(failed(outcome).error, BudgetExceeded)


async def test_threads_that_ask_the_same_at_once_share_one_call(storage: EntityStorage) -> None:
    client = ScriptedClient()
    outcomes = await ran([thread("a") for _ in range(50)], concurrency=8, clients={"scripted": client})
    assert len(client.requests) == 1
    assert sorted(completed(outcome).from_cache for outcome in outcomes) == [False] + [True] * 49
    assert {completed(outcome).content for outcome in outcomes} == {"You said: a"}


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_when_whoever_asks_for_all_has_no_reply_the_others_ask(memory: EntityStorage, how: str) -> None:
    began, gate = asyncio.Event(), asyncio.Event()

    async def answer(_asked: ChatThread) -> Any:
        if len(client.requests) == 1:
            began.set()
            await gate.wait()
            return ProviderRefused("scripted", "no", status=400)
        return "Yes."

    def waiting(event: ProgressEvent) -> None:
        started.append(event) if isinstance(event, ThreadStarted) else None
        if len(started) == 4:
            gate.set() if how == "fails" else first.cancel()

    client, started = ScriptedClient(answer), list[ProgressEvent]()
    async with InferenceOrchestrator(cache=True, clients={"scripted": client}, drain_seconds=0.0, progress=waiting) as orchestrator:
        first = asyncio.create_task(orchestrator.run([thread("a")]))
        await began.wait()
        others = await orchestrator.run([thread("a") for _ in range(3)])
        await asyncio.wait((first,))
    assert [completed(outcome).content for outcome in others] == ["Yes."] * 3
    assert first.cancelled() if how == "is cancelled" else isinstance(failed(first.result()[0]).error, ProviderRefused)


async def test_a_call_can_do_without_the_cache(memory: EntityStorage) -> None:
    client = ScriptedClient(["One.", "Two.", "Three."])
    contents = []
    for options in ({}, {"cache": False}, {}):
        async with InferenceOrchestrator(cache=True, clients={"scripted": client}) as orchestrator:
            [outcome] = await orchestrator.run([thread("a")], **options)  # type: ignore[arg-type]  # mypy cannot infer a union of dicts
        contents.append(completed(outcome).content)
    [outcome] = await ran([thread("a")], cache=False, clients={"scripted": client})
    assert ([*contents, completed(outcome).content], client.requests[1:] != []) == (["One.", "Two.", "One.", "Three."], True)


async def test_the_reply_of_a_fallback_is_found_when_the_first_cannot_answer(memory: EntityStorage) -> None:
    config = LLMConfig(client="first", model="m", fallbacks=(LLMConfig(client="second", model="m"),))
    gone = ProviderRefused("first", "no quota", status=402)
    clients = {"first": ScriptedClient(lambda _: gone, name="first"), "second": ScriptedClient(name="second")}
    for _ in range(2):
        [outcome] = await ran([thread("a", llm_config=config)], clients=clients, retry=AT_ONCE)
    assert (completed(outcome).from_cache, len(outcome.attempts)) == (True, 1)
    assert [len(client.requests) for client in clients.values()] == [2, 1]


async def test_what_is_cleared_is_asked_for_again(storage: EntityStorage) -> None:
    client = ScriptedClient()
    await ran([thread("a"), thread("b")], clients={"scripted": client})
    assert [await ResponseCache().clear(older_than=3600), await ResponseCache().clear(storage), await ResponseCache().clear()] == [0, 2, 0]
    await ran([thread("a")], clients={"scripted": client})
    assert len(client.requests) == 3


@pytest.mark.parametrize("whose", ["asked", "given"])
@pytest.mark.parametrize("what", ["thread", "message"])
async def test_erasing_whoever_holds_a_reply_takes_it_from_the_cache(storage: EntityStorage, whose: str, what: str) -> None:
    client = ScriptedClient(lambda _: "It is Wintermute.")
    chats = [thread("Who is it?") for _ in range(2)]
    for each in chats:
        await ran([each], clients={"scripted": client})
    other = thread("Who else?")
    await ran([other], clients={"scripted": client})
    erased = chats[whose == "given"]
    await storage.erase(erased if what == "thread" else erased.history[-1], reason="asked to")
    assert (await storage.replies().size()).replies == 1
    [outcome] = await ran([thread("Who is it?")], clients={"scripted": client})
    assert (completed(outcome).from_cache, len(client.requests)) == (False, 3)


async def test_what_is_erased_is_in_no_table_and_no_file(sql_url: str) -> None:
    async with open_storage(sql_url) as storage:
        chats = [thread("Who is it?") for _ in range(2)]
        for each in chats:
            await ran([each], clients={"scripted": ScriptedClient(lambda _: "It is Wintermute.")})
        assert "cached_reply" in await tables_with(sql_url, "Wintermute")
        for each in chats:
            assert (await storage.erase(each, reason="asked to")).remains == ()
        assert await tables_with(sql_url, "Wintermute") == []
        assert files_with(sql_url, "Wintermute") == []
        assert await storage.check() == []


async def test_a_cache_that_cannot_be_written_is_no_failure(sqlite_storage_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with closing(sqlite3.connect(sqlite_storage_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON cached_reply BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
    async with open_storage(sqlite_storage_url):
        outcomes = await ran([thread("a"), thread("a")], clients={"scripted": (client := ScriptedClient())})
    assert ([completed(outcome).from_cache for outcome in outcomes], len(client.requests)) == ([False, False], 2)
    assert "a reply could not be cached" in caplog.text
    assert "the disk is full" in caplog.text


async def test_what_the_cache_of_another_minference_holds_is_asked_for_if_it_cannot_be_read(storage: EntityStorage) -> None:
    client = ScriptedClient()
    await ran([thread("a")], clients={"scripted": client})

    class Newer(ScriptedClient):
        def from_response(self, payload: dict[str, Any], request: Any = None) -> Reply:
            return super().from_response({**payload, "finish_reason": payload.get("why")}, request)

        async def send(self, request: Any, *, timeout: float) -> Any:
            response = await super().send(request, timeout=timeout)
            response.payload["why"] = "stop"
            return response

    newer = Newer()
    outcomes = [(await ran([thread("a")], clients={"scripted": newer}))[0] for _ in range(2)]
    assert ([completed(outcome).from_cache for outcome in outcomes], len(newer.requests)) == ([False, True], 1)


@pytest.mark.parametrize("age", [0, -1, float("nan")])
def test_an_age_that_nothing_could_have_is_refused(age: float) -> None:
    with pytest.raises(ValueError, match="max_age is"):
        ResponseCache(max_age=age)


async def test_a_storage_that_keeps_no_replies_is_refused(memory: EntityStorage) -> None:
    class Plain:
        def submit(self, *_: Any, **__: Any) -> Any: ...

    with pytest.raises(ConfigurationError, match="a response cache needs a storage that keeps replies, and Plain does not"):
        async with InferenceOrchestrator(Plain(), cache=True):  # type: ignore[arg-type]  # the mistake under test
            pass
