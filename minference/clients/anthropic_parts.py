"""Images and documents as blocks of Anthropic's Messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from minference.clients.embedding import Embedded
from minference.errors import UnsupportedAttachment
from minference.threads.attachments import Attached, FileAttachment, ImageAttachment, ImageLink
from minference.threads.media import PDF, is_text


def attachment_blocks(client: str, attachments: Sequence[Attached]) -> list[dict[str, Any]]:
    """A block for each, in their order.

    Raises:
        UnsupportedAttachment: There is no block for such a thing.
    """
    return [_block(client, attached) for attached in attachments]


def _block(client: str, attached: Attached) -> dict[str, Any]:
    match attached:
        case ImageAttachment(content=content, media_type=media_type):
            return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": Embedded(content, "base64")}}
        case ImageLink(url=url):
            return {"type": "image", "source": {"type": "url", "url": url}}
        case FileAttachment(content=content, media_type=media_type, name=name):
            if media_type == PDF:
                source = {"type": "base64", "media_type": PDF, "data": Embedded(content, "base64")}
            elif is_text(media_type):
                source = {"type": "text", "media_type": "text/plain", "data": Embedded(content, "text")}
            else:
                raise UnsupportedAttachment(client, name, media_type, "a file must be a PDF or text: convert it")
            return {"type": "document", "source": source, "title": name}
        case unknown:
            assert_never(unknown)
