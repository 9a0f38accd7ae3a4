"""Ids and names of tool calls, as a provider takes them. What one gave another may refuse: too long, odd letters, or there twice."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterator
from itertools import count

from minference.clients.halves import is_whole

_REFUSED = re.compile(r"[^a-zA-Z0-9_-]")


def safe_tool_name(name: str) -> str:
    """The name of a tool that a model called, if it can be one; a model may call what was never offered."""
    return _REFUSED.sub("_", name)[:64]


def made_up_ids(reply_id: str, said: str) -> Iterator[str]:
    """Ids for the calls of one reply that came without; the same for the same reply, and others for another."""
    digest = hashlib.sha256(f"{reply_id}\n{said}".encode(errors="surrogatepass")).hexdigest()[:16]
    for number in count():
        yield f"call_{digest}_{number}"


class CallIds:
    """The ids of one request, asked for in the order in which calls and results stand in it. Those that will do stay."""

    def __init__(self, *, longest: int = 64, plain: bool = False) -> None:
        self._longest = longest
        self._plain = plain
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._waiting: dict[str, deque[str]] = {}

    def of_call(self, id: str) -> str:
        """The id of the next call, which no other call of the request has."""
        free = wanted = self._safe(id)
        while free in self._taken:
            self._numbers[wanted] = number = self._numbers.get(wanted, 1) + 1
            free = self._safe(f"{wanted}_{number}")
        self._taken.add(free)
        self._waiting.setdefault(id, deque()).append(free)
        return free

    def of_result(self, id: str) -> str:
        """The id of the first call with this id that has no result yet."""
        waiting = self._waiting.get(id)
        return waiting.popleft() if waiting else self._safe(id)

    def _safe(self, id: str) -> str:
        """The same for the same id."""
        safe = _REFUSED.sub("_", id) if self._plain or not is_whole(id) else id
        if safe and len(safe) <= self._longest:
            return safe
        digest = hashlib.sha256(id.encode(errors="surrogatepass")).hexdigest()
        return f"call_{digest[:24]}"
