"""Messages of the user as Chat Completions takes them: text, or text with images and files as content parts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, assert_never

from minference.clients.embedding import Embedded
from minference.errors import UnsupportedAttachment
from minference.profiles import Profile
from minference.threads.attachments import Attached, FileAttachment, ImageAttachment, ImageLink
from minference.threads.media import PDF, is_text
from minference.threads.messages import ChatMessage, MessageRole


def user_content(message: ChatMessage, profile: Profile) -> str | list[dict[str, Any]]:
    """What the user says and shows, what is shown first.

    Raises:
        UnsupportedAttachment: The server does not take such a thing.
    """
    if not message.attachments:
        return message.content
    words = [{"type": "text", "text": message.content}] if message.content else []
    return [*(_part(attached, profile) for attached in message.attachments), *words]


def with_shown_results(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The messages with the attachments of tool results, which can be text alone, in a message of the user after the results of a turn."""
    told: list[ChatMessage] = []
    shown: list[ChatMessage] = []
    for message in messages:
        if message.role is not MessageRole.tool:
            told += shown
            shown = []
        if message.role is not MessageRole.tool or not message.attachments:
            told.append(message)
        else:
            told.append(message.model_copy(update={"attachments": ()}))
            words = f"Attached to the result of {message.tool_name or 'the tool'}: {', '.join(each.name for each in message.attachments)}"
            shown.append(ChatMessage(role=MessageRole.user, content=words, attachments=message.attachments))
    return told + shown


def _part(attached: Attached, profile: Profile) -> dict[str, Any]:
    match attached:
        case ImageAttachment(content=content, media_type=media_type):
            _require(profile.images, profile, attached.name, media_type, "it takes no images: use a client that does")
            return _image(Embedded(content, "base64", f"data:{media_type};base64,"), attached)
        case ImageLink(url=url):
            _require(profile.images, profile, attached.name, "a link to an image", "it takes no images: use a client that does")
            return _image(url, attached)
        case FileAttachment(content=content, media_type=media_type, name=name):
            if is_text(media_type):
                # As OpenAI advises: the part `file` is for PDFs alone, and other servers often have none.
                return {"type": "text", "text": Embedded(content, "text", f'<file name="{escape(name)}">\n', "\n</file>")}
            _require(media_type == PDF, profile, name, media_type, "a file must be a PDF or text: convert it")
            _require(profile.pdfs, profile, name, media_type, "it takes no PDFs: use a client that does, or attach text")
            return {"type": "file", "file": {"filename": name, "file_data": Embedded(content, "base64", f"data:{PDF};base64,")}}
        case unknown:
            assert_never(unknown)


def _image(url: str | Embedded, image: ImageAttachment | ImageLink) -> dict[str, Any]:
    detail = {} if image.detail == "auto" else {"detail": image.detail}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def _require(able: bool, profile: Profile, name: str, media_type: str, reason: str) -> None:
    if not able:
        raise UnsupportedAttachment(profile.name, name, media_type, reason)
