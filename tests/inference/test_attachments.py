"""Attachments on their way to a model: fetched when they are sent, refused before anything is consumed, kept by nobody."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from minference.clients.base import TextDelta
from minference.clients.catalog import create_client
from minference.clients.embedding import canonical, embed
from minference.clients.scripted import ScriptedClient
from minference.ecs.blob_fields import blobs_below
from minference.ecs.blobs import Blob
from minference.errors import BlobNotFound, RequestTooLarge, UnsupportedAttachment
from minference.inference.events import Finished, Saved
from minference.inference.limits import RequestLimits
from minference.inference.orchestrator import InferenceOrchestrator
from minference.inference.tokens import IMAGE_TOKENS, attachment_tokens
from minference.storage.base import EntityStorage
from minference.storage.memory import MemoryBackend
from minference.storage.versioned import VersionedStorage
from minference.testing import ProviderServer, Reset, Status
from minference.threads.attachments import Attached, FileAttachment, ImageAttachment, ImageLink
from minference.threads.config import LLMConfig, ResponseFormat
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.outputs import RawOutput
from minference.threads.thread import ChatThread
from minference.threads.tools import CallableTool
from tests.inference.helpers import AT_ONCE, completed, failed, said, versions

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 40
BOTH = pytest.mark.parametrize("client", ["openai", "anthropic"])


def showing(client: str, *attachments: Attached, **config: Any) -> ChatThread:
    """A thread whose user shows something."""
    thread = ChatThread(llm_config=LLMConfig(client=client, model="m", **config))
    thread.add_user_message("What is this?", attachments=attachments)
    return thread


def an_image() -> ImageAttachment:
    return ImageAttachment.from_bytes(PNG, "cat.png")


def a_report() -> FileAttachment:
    return FileAttachment.from_bytes(PDF, "report.pdf")


async def light(storage: EntityStorage, thread: ChatThread) -> ChatThread:
    """A stored copy of the thread, without bytes in memory."""
    await storage.register(thread)
    return await storage.get(ChatThread, thread.ecs_id)


@BOTH
@pytest.mark.parametrize("streaming", [False, True], ids=["run", "stream"])
async def test_what_was_stored_is_sent_whole_and_can_be_rebuilt_exactly(
    storage: EntityStorage, provider_server: ProviderServer, client: str, streaming: bool
) -> None:
    thread = await light(storage, showing(client, an_image(), a_report(), FileAttachment.from_bytes(b"words", "w.txt")))
    async with InferenceOrchestrator(storage) as orchestrator:
        if streaming:
            text = "".join([event.text async for event in orchestrator.stream(thread) if isinstance(event, TextDelta)])
        else:
            [outcome] = await orchestrator.run([thread])
            text = completed(outcome).content
    assert text.endswith("What is this?")
    assert not any(blob.is_loaded for blob in blobs_below(thread))
    [sent] = provider_server.requests
    [raw] = [await storage.get(RawOutput, each.ecs_id) for each in await storage.list_by_type(RawOutput)]
    asked = await storage.get(ChatThread, raw.thread_version)
    request = create_client(client).to_request(asked)
    assert hashlib.sha256(canonical(request)).hexdigest() == raw.request_sha256
    await storage.load_blobs(asked)
    assert embed(request)["messages"] == sent.body["messages"]
    assert base64.b64encode(PNG).decode() in str(sent.body)
    assert base64.b64encode(PNG)[:1000].decode() not in raw.model_dump_json()


async def test_a_turn_with_an_image_stores_it_once_and_makes_no_other_version(storage: EntityStorage) -> None:
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient()}) as orchestrator:
        thread = showing("scripted", an_image())
        await orchestrator.run([thread])
        thread.new_message = "And now?"
        await orchestrator.run([thread])
    assert await versions(storage) == {
        "ChatThread": 4, "ChatMessage": 4, "LLMConfig": 1, "Usage": 2, "RawOutput": 2, "ProcessedOutput": 2,
    }  # fmt: skip
    [image] = await storage.list_by_type(ImageAttachment)
    assert len(await storage.lineage(image.lineage_id)) == 1


async def test_a_script_can_look_at_what_is_shown(storage: EntityStorage) -> None:
    async def look(thread: ChatThread) -> str:
        [attached] = thread.history[-1].attachments
        assert isinstance(attached, ImageAttachment)
        return hashlib.sha256(await attached.read()).hexdigest()

    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient(look)}) as orchestrator:
        [outcome] = await orchestrator.run([await light(storage, showing("scripted", an_image()))])
    assert completed(outcome).content == hashlib.sha256(PNG).hexdigest()


@BOTH
async def test_what_a_tool_shows_is_stored_sent_and_can_be_rebuilt(
    storage: EntityStorage, provider_server: ProviderServer, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    monkeypatch.setattr("minference.ecs.callables._FUNCTIONS", {})
    legend = FileAttachment.from_bytes(b"blue: water", "legend.txt")  # one object in several threads

    def draw(city: str) -> list[str | ImageAttachment | FileAttachment]:
        """A map."""
        return [f"A map of {city}.", ImageAttachment.from_bytes(PNG, "map.png"), legend]

    provider_server.strict = True
    tool = CallableTool.from_callable(draw)
    threads = [
        ChatThread(
            llm_config=LLMConfig(client=client, model="m", response_format=ResponseFormat.auto_tools),
            tools=[tool],
            new_message=f"{number}?",
        )
        for number in range(3)
    ]
    async with InferenceOrchestrator(storage) as orchestrator:
        outcomes = [completed(outcome) for outcome in await orchestrator.run(threads)]
    assert [request.problem for request in provider_server.requests] == [None] * 6
    for outcome in outcomes:
        thread = await storage.get(ChatThread, outcome.thread.ecs_id)
        result = thread.history[2]
        assert (result.content.startswith("A map of"), result.tool_error) == (True, False)
        assert [type(each) for each in result.attachments] == [ImageAttachment, FileAttachment]
        assert [await each.read() for each in result.attachments if not isinstance(each, ImageLink)] == [PNG, b"blue: water"]
    assert sum(base64.b64encode(PNG).decode() in str(request.body) for request in provider_server.requests) == 3
    for found in await storage.list_by_type(RawOutput):
        rebuilt = await (await storage.get(RawOutput, found.ecs_id)).request()
        assert rebuilt in [request.body for request in provider_server.requests]


@pytest.mark.parametrize(
    ("client", "attached", "says"),
    [
        ("openai", FileAttachment.from_bytes(b"PK\x03\x04\0", "all.zip"), r"client 'openai' cannot send 'all\.zip' \(application/zip\)"),
        ("vllm", FileAttachment.from_bytes(PDF, "report.pdf"), r"client 'vllm' cannot send 'report\.pdf' \(application/pdf\)"),
        ("anthropic", FileAttachment.from_bytes(b"PK\x03\x04\0", "all.zip"), r"client 'anthropic' cannot send 'all\.zip'"),
    ],
)
async def test_what_a_client_cannot_send_fails_before_anything_is_sent_or_consumed(
    memory: EntityStorage, provider_server: ProviderServer, client: str, attached: Attached, says: str
) -> None:
    thread = showing(client, attached)
    thread.history.append(ChatMessage(role=MessageRole.assistant, content="An archive?"))
    thread.new_message = "Yes."
    async with InferenceOrchestrator(memory) as orchestrator:
        [outcome] = await orchestrator.run([thread])
    error = failed(outcome).error
    assert isinstance(error, UnsupportedAttachment)
    with pytest.raises(UnsupportedAttachment, match=says):
        raise error
    assert (error.client, thread.new_message, provider_server.requests) == (client, "Yes.", [])
    assert await versions(memory) == {}


async def test_bytes_that_are_nowhere_fail_before_anything_is_sent_or_consumed(storage: EntityStorage) -> None:
    client = ScriptedClient()
    thread = showing("scripted", ImageAttachment(name="a.png", media_type="image/png", content=Blob("0" * 64, 5)))
    thread.history.append(ChatMessage(role=MessageRole.assistant, content="A cat."))
    thread.new_message = "What else?"
    async with InferenceOrchestrator(storage, clients={"scripted": client}) as orchestrator:
        [outcome] = await orchestrator.run([thread])
        assert isinstance(failed(outcome).error, BlobNotFound)
        assert (thread.new_message, client.requests) == ("What else?", [])
        assert await versions(storage) == {}
        thread.history[0].attachments = (an_image(),)
        [outcome] = await orchestrator.run([thread])
    assert said(completed(outcome).thread)[2:] == [("user", "What else?"), ("assistant", "You said: What else?")]


async def test_bytes_that_vanish_in_the_last_moment_fail_the_thread_give_back_its_room_and_can_be_tried_again() -> None:
    backend, client = MemoryBackend(), ScriptedClient()
    limits = RequestLimits(max_in_flight=1, input_tokens_per_minute=2 * IMAGE_TOKENS)
    async with VersionedStorage(backend) as storage:
        thread = await light(storage, showing("scripted", an_image()))
        thread.history.append(ChatMessage(role=MessageRole.assistant, content="A cat."))
        thread.new_message = "Sure?"
        async with InferenceOrchestrator(storage, clients={"scripted": client}, limits=limits) as orchestrator:
            kept = dict(backend._blobs)
            events = []
            async for event in orchestrator.stream(thread):
                events.append(event)
                if isinstance(event, Saved):
                    backend._blobs.clear()
            assert [type(event) for event in events] == [Saved, Finished]
            assert isinstance(events[-1], Finished)
            assert isinstance(failed(events[-1].outcome).error, BlobNotFound)
            backend._blobs.update(kept)
            [outcome] = await orchestrator.run([thread])
    assert completed(outcome).content == "You said: Sure?"


async def test_every_attempt_carries_the_bytes(memory: EntityStorage, provider_server: ProviderServer) -> None:
    provider_server.faults = [Status(500), Reset(), None]
    thread = await light(memory, showing("openai", an_image()))
    async with InferenceOrchestrator(memory, retry=AT_ONCE) as orchestrator:
        [outcome] = await orchestrator.run([thread])
    assert len(completed(outcome).attempts) == 2
    assert len({str(request.body) for request in provider_server.requests}) == 1
    assert base64.b64encode(PNG).decode() in str(provider_server.requests[-1].body)


async def test_a_fallback_is_sent_the_attachment_in_its_own_words(memory: EntityStorage, provider_server: ProviderServer) -> None:
    provider_server.faults = lambda request: Status(500) if request.dialect == "openai" else None
    thread = await light(memory, showing("openai", an_image(), fallbacks=(LLMConfig(client="anthropic", model="n"),)))
    async with InferenceOrchestrator(memory, retry=AT_ONCE) as orchestrator:
        [outcome] = await orchestrator.run([thread])
    assert completed(outcome).ok
    [block, _] = provider_server.requests[-1].body["messages"][0]["content"]
    assert block == {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}}


async def test_an_image_counts_as_an_image_and_not_as_its_bytes_and_teaches_nothing_about_text(memory: EntityStorage) -> None:
    large = ImageAttachment.from_bytes(PNG + b"\0" * 5_000_000, "large.png")
    limits = RequestLimits(input_tokens_per_minute=3 * IMAGE_TOKENS)
    client = ScriptedClient(lambda thread: "A cat.")
    async with InferenceOrchestrator(memory, clients={"scripted": client}, limits=limits) as orchestrator:
        [outcome] = await orchestrator.run([showing("scripted", large)])
        assert completed(outcome).ok
        [outcome] = await orchestrator.run([showing("scripted", *[large] * 3)])
    assert isinstance(failed(outcome).error, RequestTooLarge)


@pytest.mark.parametrize(
    ("attached", "tokens"),
    [
        ([], 0),
        ([ImageLink(url="https://example.org/a.png")], IMAGE_TOKENS),
        ([FileAttachment.from_bytes(b"word " * 800, "w.txt")], 1_000),
        ([FileAttachment.from_bytes(PDF, "a.pdf"), FileAttachment.from_bytes(PDF + b"\0" * 10**6, "b.pdf")], 12 * 2_500),
        ([FileAttachment.from_bytes(PDF + b"\0" * 2 * 10**7, "c.pdf")], 100 * 2_500),
    ],
)
def test_attachments_are_counted_by_what_they_are(attached: list[Attached], tokens: int) -> None:
    assert attachment_tokens(attached) == tokens


async def test_an_attachment_that_is_not_sent_is_neither_fetched_nor_counted(storage: EntityStorage) -> None:
    thread = showing("scripted", ImageAttachment.from_bytes(PNG, "a.png"))
    thread.history.append(ChatMessage(role=MessageRole.assistant, content="A cat."))
    thread.new_message, thread.use_history = "What else?", False
    limits = RequestLimits(input_tokens_per_minute=IMAGE_TOKENS)
    async with InferenceOrchestrator(storage, clients={"scripted": ScriptedClient()}, limits=limits) as orchestrator:
        [outcome] = await orchestrator.run([await light(storage, thread)])
    assert completed(outcome).ok
