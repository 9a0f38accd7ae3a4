"""Images and files in the words of each provider. Whole messages."""

from __future__ import annotations

import base64
import json

import pytest

from minference.clients.anthropic import AnthropicClient
from minference.clients.base import Client, Request
from minference.clients.catalog import create_client
from minference.clients.embedding import Embedded, canonical, embed
from minference.clients.openai import OpenAIClient
from minference.clients.scripted import ScriptedClient
from minference.ecs.blobs import Blob
from minference.errors import BlobNotLoaded, UnsupportedAttachment
from minference.profiles import Profile, load_profiles
from minference.testing import ProviderServer
from minference.testing.rules import openai_problem
from minference.threads.attachments import Attached, FileAttachment, ImageAttachment, ImageLink
from minference.threads.config import ResponseFormat
from minference.threads.messages import ChatMessage, MessageRole, ToolCall
from minference.threads.thread import ChatThread
from tests.clients.threads import asked, config

PNG, PDF = b"\x89PNG\r\n\x1a\nrest", b"%PDF-1.7\nrest"
PNG64, PDF64 = base64.b64encode(PNG).decode(), base64.b64encode(PDF).decode()
IMAGE = ImageAttachment.from_bytes(PNG, "cat.png", detail="high")
PLAIN_IMAGE = ImageAttachment.from_bytes(PNG, "cat.png")
REPORT = FileAttachment.from_bytes(PDF, "report.pdf")
NOTES = FileAttachment.from_bytes("Grüße".encode(), 'my "notes".txt')
LINK = ImageLink(url="https://example.org/cat.png", detail="low")
ARCHIVE = FileAttachment.from_bytes(b"PK\x03\x04\0", "all.zip")


def showing(client: str, *attachments: Attached, text: str = "What is this?", role: MessageRole = MessageRole.user) -> ChatThread:
    """A thread whose last message carries these."""
    return ChatThread(llm_config=config(client), history=[ChatMessage(role=role, content=text, attachments=attachments)])


def openai(name: str = "openai") -> OpenAIClient:
    return OpenAIClient(load_profiles()[name])


def anthropic() -> AnthropicClient:
    return AnthropicClient(load_profiles()["anthropic"])


def test_chat_completions_gets_content_parts_with_data_uris() -> None:
    request = openai().to_request(showing("openai", IMAGE, PLAIN_IMAGE, LINK, REPORT, NOTES))
    assert embed(request) == {
        "model": "some-model",
        "max_completion_tokens": 100,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG64}", "detail": "high"}},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG64}"}},
                    {"type": "image_url", "image_url": {"url": "https://example.org/cat.png", "detail": "low"}},
                    {"type": "file", "file": {"filename": "report.pdf", "file_data": f"data:application/pdf;base64,{PDF64}"}},
                    {"type": "text", "text": '<file name="my &quot;notes&quot;.txt">\nGrüße\n</file>'},
                    {"type": "text", "text": "What is this?"},
                ],
            }
        ],
    }


def test_anthropic_gets_image_and_document_blocks() -> None:
    request = anthropic().to_request(showing("anthropic", IMAGE, LINK, REPORT, NOTES))
    assert embed(request)["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG64}},
                {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}},
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": PDF64},
                    "title": "report.pdf",
                },
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}, "title": 'my "notes".txt'},
                {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
            ],
        }
    ]


def looked(client: str) -> ChatThread:
    """A thread in which one of two tools has shown something."""
    calls = (ToolCall(id="c1", name="look"), ToolCall(id="c2", name="listen"))
    return ChatThread(
        llm_config=config(client, use_cache=False),
        history=[
            ChatMessage(role=MessageRole.user, content="Look."),
            ChatMessage(role=MessageRole.assistant, tool_calls=calls),
            ChatMessage(role=MessageRole.tool, content="a cat", tool_call_id="c1", tool_name="look", attachments=(PLAIN_IMAGE, NOTES)),
            ChatMessage(role=MessageRole.tool, content="nothing", tool_call_id="c2", tool_name="listen"),
        ],
    )


def test_anthropic_takes_what_a_tool_shows() -> None:
    assert embed(anthropic().to_request(looked("anthropic")))["messages"][-1]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "c1",
            "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG64}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}, "title": 'my "notes".txt'},
                {"type": "text", "text": "a cat"},
            ],
        },
        {"type": "tool_result", "tool_use_id": "c2", "content": "nothing"},
    ]


def test_openai_is_shown_what_a_tool_shows_by_the_user_after_all_results() -> None:
    thread = looked("openai")
    shown = [
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        {"role": "tool", "tool_call_id": "c2", "content": "nothing"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG64}"}},
                {"type": "text", "text": '<file name="my &quot;notes&quot;.txt">\nGrüße\n</file>'},
                {"type": "text", "text": 'Attached to the result of look: cat.png, my "notes".txt'},
            ],
        },
    ]
    request = openai().to_request(thread)
    assert embed(request)["messages"][2:] == shown
    assert openai_problem(request, set()) is None
    thread.history.append(ChatMessage(role=MessageRole.assistant, content="A cat."))
    thread.add_user_message("And now?")
    assert embed(openai().to_request(thread))["messages"][2:] == [
        *shown,
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "And now?"},
    ]
    assert [len(message.attachments) for message in thread.history] == [0, 0, 2, 0, 0, 0]


@pytest.mark.parametrize("client", [openai(), anthropic()], ids=["openai", "anthropic"])
def test_a_message_of_an_image_alone_has_no_empty_text(client: Client) -> None:
    [message] = embed(client.to_request(showing(client.name, PLAIN_IMAGE, text="")))["messages"]
    assert len(message["content"]) == 1


@pytest.mark.parametrize("client", [openai(), anthropic()], ids=["openai", "anthropic"])
def test_what_asks_for_json_leaves_the_attachments_where_they_are(client: Client) -> None:
    thread = showing(client.name, PLAIN_IMAGE)
    thread.llm_config.response_format = ResponseFormat.json_beg
    content = embed(client.to_request(thread))["messages"][0]["content"]
    assert [part["type"] for part in content] == [content[0]["type"], "text"]
    assert content[1]["text"] == "What is this?" + thread.postfill


REFUSED: list[tuple[Client, Attached, MessageRole, str]] = [
    (openai(), ARCHIVE, MessageRole.user, r"client 'openai' cannot send 'all\.zip' \(application/zip\): a file must be a PDF or text"),
    (anthropic(), ARCHIVE, MessageRole.user, r"client 'anthropic' cannot send 'all\.zip' \(application/zip\): a file must be a PDF or"),
    (openai("vllm"), REPORT, MessageRole.user, r"client 'vllm' cannot send 'report\.pdf' \(application/pdf\): it takes no PDFs"),
    (create_client("local"), PLAIN_IMAGE, MessageRole.user, r"client 'local' cannot send 'cat\.png' \(image/png\): the model on this"),
    (create_client("local"), LINK, MessageRole.user, r"client 'local' cannot send 'image' \(a link to an image\)"),
    (openai(), PLAIN_IMAGE, MessageRole.assistant, "only messages of the user carry attachments, and this one is of the assistant"),
    (anthropic(), PLAIN_IMAGE, MessageRole.assistant, "messages of the assistant carry no attachments: put it into one of the user"),
    (anthropic(), LINK, MessageRole.system, "messages of the system carry no attachments"),
]


@pytest.mark.parametrize(("client", "attached", "role", "says"), REFUSED, ids=[f"{each[0].name}-{each[1].name}" for each in REFUSED])
def test_what_a_client_cannot_send_is_refused_with_its_name_and_media_type(
    client: Client, attached: Attached, role: MessageRole, says: str
) -> None:
    thread = showing(client.name, attached, role=role)
    thread.llm_config.model = "local"
    with pytest.raises(UnsupportedAttachment, match=says):
        client.to_request(thread)


@pytest.mark.parametrize("attached", [PLAIN_IMAGE, LINK], ids=["image", "link"])
def test_a_profile_without_images_refuses_them_and_takes_text(attached: Attached) -> None:
    mine = OpenAIClient(Profile(name="mine", dialect="openai", base_url="http://127.0.0.1:1/v1", images=False))
    with pytest.raises(UnsupportedAttachment, match=r"client 'mine' cannot send .*: it takes no images"):
        mine.to_request(showing("mine", attached))
    assert embed(mine.to_request(showing("mine", NOTES)))["messages"][0]["content"][0]["type"] == "text"


def test_a_script_sees_what_a_message_carries_without_the_bytes() -> None:
    client = ScriptedClient()
    [message] = client.to_request(showing("scripted", IMAGE, LINK))["messages"]
    assert message["attachments"] == [
        {"name": "cat.png", "media_type": "image/png", "content": {"sha256": IMAGE.sha256, "size": len(PNG)}, "detail": "high"},
        {"name": "image", "url": "https://example.org/cat.png", "detail": "low"},
    ]
    assert "attachments" not in client.to_request(asked("scripted"))["messages"][0]


async def test_a_function_of_a_script_is_given_the_attachments() -> None:
    client = ScriptedClient(lambda thread: ", ".join(type(each).__name__ for each in thread.history[0].attachments))
    response = await client.send(client.to_request(showing("scripted", IMAGE, REPORT, LINK)), timeout=1)
    assert response.payload["content"] == "ImageAttachment, FileAttachment, ImageLink"


@pytest.mark.parametrize("client", [openai(), anthropic()], ids=["openai", "anthropic"])
def test_rendering_needs_no_bytes_and_the_digest_is_the_same_with_and_without_them(client: Client) -> None:
    light = ImageAttachment(name="cat.png", media_type="image/png", content=Blob(PLAIN_IMAGE.sha256, len(PNG)))
    with_bytes, without = client.to_request(showing(client.name, PLAIN_IMAGE)), client.to_request(showing(client.name, light))
    assert canonical(with_bytes) == canonical(without)
    assert PNG64.encode() not in canonical(with_bytes)
    assert light.sha256.encode() in canonical(without)
    with pytest.raises(BlobNotLoaded):
        embed(without)
    assert embed(without, {light.sha256: PNG}) == embed(with_bytes)


def test_embedding_changes_no_request_and_copies_none_that_has_nothing_to_embed() -> None:
    request = openai().to_request(showing("openai", PLAIN_IMAGE))
    before = canonical(request)
    embed(request)
    assert canonical(request) == before
    plain = openai().to_request(asked("openai"))
    assert embed(plain) is plain
    filled = embed(request)
    assert embed(filled) is filled
    own: Request = {"prompt": "a client of somebody's own"}
    assert embed(own) is own


def test_the_canonical_form_refuses_what_is_no_json() -> None:
    with pytest.raises(TypeError, match="a request holds JSON data, not object"):
        canonical({"messages": [object()]})
    assert json.loads(canonical({"a": Embedded(PLAIN_IMAGE.content, "base64", "x")})) == {
        "a": {"sha256": PLAIN_IMAGE.sha256, "form": "base64", "before": "x", "after": ""}
    }


@pytest.mark.parametrize("streaming", [False, True], ids=["send", "stream"])
async def test_the_sdks_carry_the_bytes(client: Client, provider_server: ProviderServer, streaming: bool) -> None:
    request = client.to_request(showing(client.name, IMAGE, REPORT, NOTES, LINK))
    if streaming:
        async for _ in client.stream(request, timeout=30):
            pass
    else:
        await client.send(request, timeout=30)
    [recorded] = provider_server.requests
    assert recorded.body["messages"] == embed(request)["messages"]
