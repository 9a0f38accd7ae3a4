"""Version ids: time-ordered UUIDs (RFC 9562, version 7), strictly increasing within a process."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime

Moment = Annotated[datetime, AwareDatetime]
"""A time with a zone."""

_COUNTER_BITS = 74


class _Clock:
    """Milliseconds and a 74-bit counter that only ever goes up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._milliseconds = 0
        self._counter = 0

    def next(self) -> tuple[int, int]:
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._milliseconds:
                self._milliseconds = now
                self._counter = int.from_bytes(os.urandom(9), "big")
            else:
                self._counter += 1 + os.urandom(1)[0]
                if self._counter >> _COUNTER_BITS:
                    self._milliseconds += 1
                    self._counter = 0
            return self._milliseconds, self._counter

    def part(self) -> None:
        """Go on in a process that was forked: past every value from before, and apart from what the other process makes."""
        self._lock = threading.Lock()
        self._milliseconds += 1
        self._counter = int.from_bytes(os.urandom(9), "big")


_clock = _Clock()
os.register_at_fork(after_in_child=_clock.part)


def uuid7() -> UUID:
    """A UUIDv7 greater than every one made before it in this process (method 2 of RFC 9562, section 6.2)."""
    milliseconds, counter = _clock.next()
    high, low = counter >> 62, counter & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)
