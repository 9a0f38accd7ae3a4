"""Server-sent events, as providers stream them; and what comes in their place from a server that does not stream. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_BLANK = b"\xef\xbb\xbf \t\r\n"
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""A CR at the end of what has come may be half of a CRLF."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event that has data. Those without, as some proxies send them to keep a connection open, say nothing."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class WholeBody:
    """No events, but all in one piece."""

    content: bytes


class EventReader:
    """Finds events in a body that comes in pieces, however it is cut."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._streams: bool | None = None
        """Whether the body is one of events; `None` before enough of it is here."""
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """The events that end in the next piece of the body."""
        self._held.append(piece)
        if self._streams is None:
            self._held = [b"".join(self._held).lstrip(_BLANK)]
            self._streams = _are_events(self._held[0])
        if not self._streams or (b"\n" not in piece and b"\r" not in piece):
            return []
        *lines, rest = _LINE_END.split(b"".join(self._held))
        self._held = [rest]
        return list(self._read(lines))

    def end(self) -> list[ServerEvent | WholeBody]:
        """What is left when nothing more comes: an event that was not ended, or the whole body if there were none."""
        held, self._held = b"".join(self._held), []
        if self._streams:
            return list(self._read([*_LINE_END.split(held.removesuffix(b"\r")), b""]))
        return [WholeBody(held)] if held else []

    def _read(self, lines: list[bytes]) -> Iterator[ServerEvent]:
        for line in lines:
            field, _, value = line.partition(b":")
            if not line:
                name, data, self._name, self._data = self._name, b"\n".join(self._data), "", []
                if data.strip():
                    yield ServerEvent(name, data)
            elif field == b"data":
                self._data.append(value)
            elif field == b"event":
                self._name = value.decode(errors="replace").strip()


def _are_events(beginning: bytes) -> bool | None:
    if beginning.startswith(_FIELDS):
        return True
    return None if any(field.startswith(beginning) for field in _FIELDS) else False
