"""Halves of surrogate pairs: a stream may cut a character in two, and JSON may hold half of one, which no UTF-8 can. Pure."""

from __future__ import annotations

import json
from typing import Any

from minference.ecs.values import has_surrogates


def is_whole(text: str) -> bool:
    """Whether there are no halves in the text."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def joined(text: str) -> str:
    """The text with halves that belong together made one character; others stay."""
    return text if is_whole(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def sendable(text: str) -> str:
    """The text with U+FFFD in place of halves that belong to nothing."""
    return text if is_whole(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def sendable_json(text: str) -> str:
    """JSON text, in which such halves may stand as escapes as well; what is no JSON counts as text."""
    text = sendable(text)
    if not has_surrogates(text):
        return text
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    plain = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if is_whole(plain) else sendable(plain)
