"""What a raw output does not keep is rendered again: the request comes out byte for byte as it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from minference.clients.scripted import ScriptedClient
from minference.errors import RequestNotRebuilt, UnknownClient
from minference.inference.orchestrator import InferenceOrchestrator
from minference.storage.base import EntityStorage
from minference.testing import Answer, ProviderServer, Status
from minference.testing.answers import default_answer
from minference.threads.attachments import ImageAttachment
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.outputs import RawOutput
from minference.threads.thread import ChatThread
from tests.clients.cells import cell, find_through_environment
from tests.inference.helpers import AT_ONCE, completed, thread
from tests.inference.wire import rebuilt

PNG = b"\x89PNG\r\n\x1a\nrest"


@pytest.fixture
def strict_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    """A strict provider whose third structured reply is the first good one."""
    replies = iter(["no JSON", '{"name": ""}', '{"name": "Rome", "people": null, "tags": []}'])

    def answer(body: dict[str, Any]) -> Answer:
        plain = default_answer(body, call_tools=True)
        return Answer(next(replies, plain.text)) if "json_schema" in str(body) else plain

    with ProviderServer(answer, strict=True) as server:
        find_through_environment(server, monkeypatch)
        yield server


async def raw_outputs(storage: EntityStorage) -> list[RawOutput]:
    return [await storage.get(RawOutput, version.ecs_id) for version in await storage.list_by_type(RawOutput)]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_with_re_asks_retries_tools_and_attachments_on_every_storage(
    storage: EntityStorage, strict_server: ProviderServer, provider: str
) -> None:
    strict_server.faults = {2: Status(500), 4: Status(429)}
    asked = cell(provider, ResponseFormat.structured_output)
    asked.add_user_message("What is this?", attachments=[ImageAttachment.from_bytes(PNG, name="it.png")])
    async with InferenceOrchestrator(storage, structured_attempts=3, retry=AT_ONCE) as orchestrator:
        [outcome] = await orchestrator.run([asked])
        completed(outcome)
        completed((await orchestrator.run([cell(provider, ResponseFormat.workflow, stop=("END",), extra={"service_tier": "auto"})]))[0])
        async for _ in orchestrator.stream(cell(provider, ResponseFormat.auto_tools)):
            pass
    answered = [request.content for request in strict_server.requests if request.answered]
    assert len(answered) == len(strict_server.requests) - 2 == 7
    assert await rebuilt(storage) == answered


async def test_every_attempt_at_a_structured_output_is_kept_and_counted(memory: EntityStorage, strict_server: ProviderServer) -> None:
    async with InferenceOrchestrator(memory, structured_attempts=3) as orchestrator:
        [outcome] = await orchestrator.run([cell("openai", ResponseFormat.structured_output)])
    done = completed(outcome)
    replies = [message for message in done.thread.history if message.usage is not None]
    assert [message.content for message in replies][:2] == ["no JSON", '{"name": ""}']
    assert len(await raw_outputs(memory)) == len(replies) == done.structured_attempts == 3


async def test_the_request_of_a_fallback_is_told_from_that_of_the_first_config(
    memory: EntityStorage, strict_server: ProviderServer
) -> None:
    strict_server.faults = lambda request: Status(503) if request.body["model"] == "first" else None
    fallbacks = (LLMConfig(client="openai", model="second"), LLMConfig(client="openai", model="third"))
    chat = thread(llm_config=LLMConfig(client="openai", model="first", fallbacks=fallbacks))
    async with InferenceOrchestrator(memory, retry=AT_ONCE) as orchestrator:
        completed((await orchestrator.run([chat]))[0])
    [raw] = await raw_outputs(memory)
    assert (await raw.request())["model"] == "second"


async def test_a_client_of_ones_own_renders_its_own_requests(memory: EntityStorage) -> None:
    mine = ScriptedClient(["Hello."], name="mine")
    async with InferenceOrchestrator(memory, clients={"mine": mine}) as orchestrator:
        completed((await orchestrator.run([thread(client="mine")]))[0])
    [raw] = await raw_outputs(memory)
    assert await raw.request({"mine": mine}) == mine.requests[0]
    with pytest.raises(UnknownClient, match="'mine'"):
        await raw.request()


async def test_what_comes_out_otherwise_is_refused_with_the_reason(
    memory: EntityStorage, strict_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    chat = thread(client="openai")
    async with InferenceOrchestrator(memory) as orchestrator:
        completed((await orchestrator.run([chat]))[0])
    [raw] = await raw_outputs(memory)
    own = tmp_path / "providers.toml"
    own.write_text('[openai]\ntoken_limit = "max_tokens"\n')
    with monkeypatch.context() as changed:
        changed.setenv("MINFERENCE_PROVIDERS", str(own))
        with pytest.raises(RequestNotRebuilt, match="the profile of the client, or minference, has changed"):
            await raw.request()
    assert (await raw.request())["max_completion_tokens"] == 1024
    await memory.erase(chat, reason="asked to")
    with pytest.raises(RequestNotRebuilt, match="erased"):
        await (await raw_outputs(memory))[0].request()
    assert isinstance(chat, ChatThread)
