"""What can go wrong with one request at a provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Status:
    """An error status, with headers such as `{"retry-after": "2"}`, and the usual error body unless another is given."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    type: str | None = None
    """The error's type; `None` for the one that belongs to the status."""


@dataclass(frozen=True, slots=True)
class Latency:
    """An ordinary answer after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer at all; the connection stays open until the caller or the server gives up."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset before anything was answered."""


@dataclass(frozen=True, slots=True)
class TruncatedBody:
    """Half of the body, then the connection ends."""


@dataclass(frozen=True, slots=True)
class TruncatedStream:
    """So many events of a stream, then its end."""

    events: int = 2
    clean: bool = True
    """Whether the stream ends as if it were whole; if not, the connection is reset."""
    mid_event: bool = False
    """Whether half of the next event is sent as well."""
    error: str | None = None
    """An error of this type as the last event."""


@dataclass(frozen=True, slots=True)
class Html:
    """Status 200 and an HTML page."""


@dataclass(frozen=True, slots=True)
class ErrorInside:
    """Status 200 and an error in the body."""

    type: str = "server_error"
    code: str | int | None = None
    message: str = "an error inside a success"


@dataclass(frozen=True, slots=True)
class EmptyChoices:
    """Status 200 and a reply that holds no choice, or no content."""


Fault = Status | Latency | Hang | Reset | TruncatedBody | TruncatedStream | Html | ErrorInside | EmptyChoices
