"""The bytes of attachments in requests.

A request is rendered without them: in their places stand `Embedded` objects, so that rendering is pure, and a request
that waits for its turn is small. They are put in right before it is sent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from minference.clients.base import Request
from minference.ecs.blobs import Blob


@dataclass(frozen=True, slots=True)
class Embedded:
    """Stands for a string in a request: the bytes of a blob in some form, between two texts."""

    blob: Blob
    form: Literal["base64", "text"]
    before: str = ""
    after: str = ""

    def fill(self, content: bytes) -> str:
        """The string."""
        # What is no UTF-8 was refused when the attachment was made with from_bytes; here it is too late for that.
        text = base64.b64encode(content).decode() if self.form == "base64" else content.decode(errors="replace")
        return f"{self.before}{text}{self.after}"


def embed(request: Request, contents: Mapping[str, bytes] | None = None) -> Request:
    """The request with the bytes in it; itself if it has no place for any. It is not changed.

    Args:
        contents: Bytes by SHA-256; without them, blobs must have theirs in memory.

    Raises:
        BlobNotLoaded: Bytes are missing.
    """
    messages = request.get("messages")
    if not isinstance(messages, list):
        return request
    filled = [_filled_message(message, contents) for message in messages]
    if all(one is other for one, other in zip(filled, messages, strict=True)):
        return request
    return {**request, "messages": filled}


def canonical(request: Request) -> bytes:
    """The request as JSON that is the same for equal requests, with the hashes of blobs in place of their bytes.

    Raises:
        UnicodeEncodeError: A text in it is no Unicode text.
        ValueError: A number in it is NaN or infinite.
    """
    return json.dumps(request, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_reference).encode()


def _reference(value: object) -> dict[str, Any]:
    if not isinstance(value, Embedded):
        raise TypeError(f"a request holds JSON data, not {type(value).__name__}")
    return {"sha256": value.blob.sha256, "form": value.form, "before": value.before, "after": value.after}


def _filled_message(message: Any, contents: Mapping[str, bytes] | None) -> Any:
    """Most contents are a string, or one block of text: those cost no more than a look."""
    if not isinstance(message, dict) or not isinstance(content := message.get("content"), list):
        return message
    filled = [_filled(part, contents) for part in content]
    return message if all(one is other for one, other in zip(filled, content, strict=True)) else {**message, "content": filled}


def _filled(value: Any, contents: Mapping[str, bytes] | None) -> Any:
    match value:
        case Embedded(blob=blob):
            return value.fill(blob.data if contents is None else contents[blob.sha256])
        case dict():
            pairs = {key: _filled(each, contents) for key, each in value.items()}
            return value if all(pairs[key] is each for key, each in value.items()) else pairs
        case list():
            items = [_filled(each, contents) for each in value]
            return value if all(one is other for one, other in zip(items, value, strict=True)) else items
        case _:
            return value
