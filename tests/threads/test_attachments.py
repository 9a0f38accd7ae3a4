"""Attachments are made from bytes and files, are what they say they are, and belong to a message."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from minference.ecs.blobs import Blob
from minference.errors import UnusableAttachment, WrongArgument
from minference.threads.attachments import LARGEST, Attachment, FileAttachment, ImageAttachment, ImageLink
from minference.threads.config import LLMConfig
from minference.threads.media import is_text
from minference.threads.messages import ChatMessage, MessageRole
from minference.threads.thread import ChatThread

PNG, JPEG, GIF = b"\x89PNG\r\n\x1a\n\x00rest", b"\xff\xd8\xff\xe0rest", b"GIF89arest"
WEBP, PDF = b"RIFF\x10\x00\x00\x00WEBPVP8 ", b"%PDF-1.7\n\xe2\xe3rest"


@pytest.mark.parametrize(
    ("data", "media_type"),
    [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (b"GIF87arest", "image/gif"), (WEBP, "image/webp")],
)
@pytest.mark.parametrize("name", ["picture", "picture.png", "picture.txt"])
def test_an_image_is_what_its_bytes_are_whatever_its_name(data: bytes, media_type: str, name: str) -> None:
    image = ImageAttachment.from_bytes(data, name, detail="high")
    assert (image.name, image.media_type, image.data, image.size, image.detail) == (name, media_type, data, len(data), "high")


@pytest.mark.parametrize(
    ("data", "name", "media_type"),
    [
        (PDF, "report", "application/pdf"),
        (b"a,b\n1,2\n", "table.csv", "text/csv"),
        ("Grüße\n".encode(), "notes.md", "text/markdown"),
        (b'{"a": 1}', "data.json", "application/json"),
        (b"a: 1", "data.yaml", "application/yaml"),
        (b"fn main() {}", "main.unheard-of", "text/plain"),
        (b"all: test", "Makefile", "text/plain"),
        (b"PK\x03\x04\0\0", "archive.zip", "application/zip"),
    ],
)
def test_a_file_is_what_its_bytes_are_or_else_what_its_name_says_or_else_text(data: bytes, name: str, media_type: str) -> None:
    assert FileAttachment.from_bytes(data, name).media_type == media_type


def test_a_media_type_that_is_given_is_kept_in_lower_case() -> None:
    assert FileAttachment.from_bytes(b"\0\1", "x", media_type=" Application/X-Own ").media_type == "application/x-own"


Make = type[FileAttachment] | type[ImageAttachment]


@pytest.mark.parametrize(
    ("make", "data", "name", "media_type", "reason"),
    [
        (ImageAttachment, b"", "a.png", None, "it is empty"),
        (FileAttachment, b"", "a.txt", None, "it is empty"),
        (ImageAttachment, b"\0\1\2", "a.png", None, "it is no image/png, but something else"),
        (ImageAttachment, PNG, "a.png", "image/jpeg", "it is no image/jpeg, but image/png"),
        (ImageAttachment, PNG, "a.png", "text/plain", "it is image/png, and not text/plain: leave out media_type"),
        (ImageAttachment, PDF, "a.pdf", None, "it is application/pdf, and an image is PNG, JPEG, GIF or WebP"),
        (ImageAttachment, b"<svg/>", "a.svg", None, r"it is image/svg\+xml, and an image is PNG"),
        (ImageAttachment, b"\0BM", "a.bmp", None, "and an image is PNG, JPEG, GIF or WebP: convert it"),
        (FileAttachment, PNG, "a.png", None, r"it is an image \(image/png\): use ImageAttachment"),
        (FileAttachment, b"no PDF", "a.pdf", None, "it is no application/pdf, but something else"),
        (FileAttachment, b"\xff\xfe", "a.txt", None, "it is said to be text/plain, and is no UTF-8"),
        (FileAttachment, b"\0\1\2", "a.unheard-of", None, "cannot be told from its bytes or its name: pass media_type"),
        (FileAttachment, gzip.compress(b"words", mtime=0), "words.txt.gz", None, "cannot be told from its bytes or its name"),
    ],
)  # fmt: skip
def test_bytes_that_are_not_what_is_asked_for_are_refused_with_the_reason(
    make: Make, data: bytes, name: str, media_type: str | None, reason: str
) -> None:
    with pytest.raises(UnusableAttachment, match=reason) as raised:
        make.from_bytes(data, name, media_type=media_type)
    assert raised.value.name == name


@pytest.mark.parametrize("cls", [FileAttachment, ImageAttachment])
def test_what_is_no_bytes_is_refused_with_what_to_pass(cls: type[FileAttachment | ImageAttachment]) -> None:
    wrong: Any
    for wrong in ("some text", Path("a.png"), None, 5):
        with pytest.raises(WrongArgument, match=r"data must be bytes \(of a text, pass text.encode\(\); of a path, call from_path\)"):
            cls.from_bytes(wrong, "a.txt")
    with pytest.raises(WrongArgument, match="name must be a str"):
        cls.from_bytes(b"text", wrong)
    view: Any = memoryview(b"text")
    assert FileAttachment.from_bytes(view, "a.txt").data == b"text"


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "large.pdf"
    with file.open("wb") as opened:
        opened.truncate(LARGEST + 1)
    with pytest.raises(UnusableAttachment, match="it has 52,428,801 bytes, and at most 52,428,800 are accepted: make it smaller, or raise"):
        FileAttachment.from_path(file)
    file.write_bytes(PDF)
    with pytest.raises(UnusableAttachment, match="at most 3 are accepted"):
        FileAttachment.from_path(file, max_size=3)
    assert FileAttachment.from_path(file, max_size=len(PDF)).size == len(PDF)
    with pytest.raises(UnusableAttachment, match="at most 3 are accepted"):
        ImageAttachment.from_bytes(PNG, "a.png", max_size=3)


def test_files_are_attached_under_their_names(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)
    (tmp_path / "words.txt").write_text("words")
    image, file = ImageAttachment.from_path(tmp_path / "cat.png", detail="low"), FileAttachment.from_path(str(tmp_path / "words.txt"))
    assert (image.name, image.detail, file.name, file.data) == ("cat.png", "low", "words.txt", b"words")
    with pytest.raises(FileNotFoundError):
        ImageAttachment.from_path(tmp_path / "none.png")


@given(st.binary(min_size=1, max_size=50), st.text(min_size=1, max_size=12))
def test_any_bytes_under_any_name_are_attached_whole_or_refused(data: bytes, name: str) -> None:
    for make in (FileAttachment, ImageAttachment):
        try:
            made: Attachment = make.from_bytes(data, name)
        except UnusableAttachment:
            continue
        assert made.data == data
        if is_text(made.media_type):
            data.decode()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "data:image/png;base64,AAAA", "cat.png", "https://", "http:// x"])
def test_a_link_is_an_address_on_the_web(url: str) -> None:
    with pytest.raises(ValidationError):
        ImageLink(url=url)


@pytest.mark.parametrize(
    "attached",
    [
        ImageAttachment.from_bytes(PNG, "a.png"),
        FileAttachment.from_bytes(PDF, "a.pdf"),
        FileAttachment.from_bytes(b"words", "a.txt"),
        ImageLink(url="https://example.org/a.png", detail="low"),
    ],
    ids=lambda attached: type(attached).__name__,
)
def test_a_message_that_was_dumped_validates_to_attachments_of_the_same_class(attached: Any) -> None:
    message = ChatMessage(role=MessageRole.user, attachments=(attached,))
    [again] = ChatMessage.model_validate_json(message.model_dump_json()).attachments
    assert type(again) is type(attached)
    assert again.model_dump() == attached.model_dump()


def test_an_image_is_no_file_and_a_file_no_image() -> None:
    with pytest.raises(ValidationError, match="an image is attached as an ImageAttachment"):
        FileAttachment(name="a.png", media_type="image/png", content=Blob.of(PNG))
    with pytest.raises(ValidationError):
        ImageAttachment.model_validate({"name": "a.pdf", "media_type": "application/pdf", "content": Blob.of(PDF)})


def test_a_user_message_takes_attachments_and_then_needs_no_words() -> None:
    thread = ChatThread(llm_config=LLMConfig(client="scripted", model="m"))
    image, link = ImageAttachment.from_bytes(PNG, "a.png"), ImageLink(url="https://example.org/a.png")
    assert thread.add_user_message("Look.", attachments=[image, link]).attachments == (image, link)
    assert thread.add_user_message(attachments=[image]).content == ""
    thread.new_message = "And this?"
    message = thread.add_user_message(attachments=[link])
    assert (message.content, message.attachments) == ("And this?", (link,))
    with pytest.raises(ValueError, match="pass content or attachments, or set new_message"):
        thread.add_user_message()
