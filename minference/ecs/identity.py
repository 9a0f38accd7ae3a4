"""Version ids: time-ordered UUIDs (RFC 9562, version 7), strictly increasing within a process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Annotated
from uuid import UUID, SafeUUID

from pydantic import AfterValidator, AwareDatetime


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC; what validates a `Moment`.

    Raises:
        ValueError: It lies outside of the years that Python knows.
    """
    try:
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must be within the years 1 to 9999 in UTC") from error


Moment = Annotated[datetime, AwareDatetime, AfterValidator(in_utc)]
"""A time with a zone, held in UTC whatever zone it is given in: as the columns of databases hold it."""

_COUNTER_BITS = 74
_LOW_BITS = (1 << 62) - 1
_FIXED = (0xF << 76) | (0b11 << 62)
_VERSION_4 = (0x4 << 76) | (0b10 << 62)
_VERSION_7 = (0x7 << 76) | (0b10 << 62)


_SET_NUMBER: Callable[[UUID, int], None] = vars(UUID)["int"].__set__
_SET_SAFETY: Callable[[UUID, SafeUUID], None] = vars(UUID)["is_safe"].__set__
_UNKNOWN = SafeUUID.unknown


def _uuid(number: int) -> UUID:
    """The UUID with this number, at a third of what `UUID` itself takes to look at it."""
    made = object.__new__(UUID)
    _SET_NUMBER(made, number)
    _SET_SAFETY(made, _UNKNOWN)
    return made


class _Clock:
    """Milliseconds and a 74-bit counter that only ever goes up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._milliseconds = 0
        self._counter = 0
        self._bits = _bits()

    def version_7(self) -> UUID:
        """See `uuid7`."""
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._milliseconds:
                self._milliseconds = now
                self._counter = self._bits(72)
            else:
                self._counter += 1 + self._bits(8)
                if self._counter >> _COUNTER_BITS:
                    self._milliseconds += 1
                    self._counter = 0
            return _uuid((self._milliseconds << 80) | ((self._counter >> 62) << 64) | (self._counter & _LOW_BITS) | _VERSION_7)

    def version_4(self) -> UUID:
        """See `random_uuid`."""
        return _uuid(self._bits(128) & ~_FIXED | _VERSION_4)

    def part(self) -> None:
        """Go on in a process that was forked: past every value from before, and apart from what the other process makes."""
        self._lock = threading.Lock()
        self._bits = _bits()
        self._milliseconds += 1
        self._counter = self._bits(72)


def _bits() -> Callable[[int], int]:
    """Random numbers of so many bits, from a source of their own: a program that seeds the module's one wants its numbers for itself."""
    return Random().getrandbits  # noqa: S311 - ids are to be unique, not secret


_clock = _Clock()
os.register_at_fork(after_in_child=_clock.part)

uuid7 = _clock.version_7
"""A UUIDv7 greater than every one made before it in this process (method 2 of RFC 9562, section 6.2)."""

random_uuid = _clock.version_4
"""A random UUID (version 4); not secret."""


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)
