"""What can go wrong with one request at a provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from minference.errors import UnusableValue, WrongArgument


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
    """So many events of a stream, then its end. A reply that is not streamed is left whole."""

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


@dataclass(frozen=True, slots=True)
class SlowStream:
    """An ordinary answer that comes in pieces, with a pause before each: the events of a stream, or two halves of a whole body."""

    seconds: float
    """The length of each pause."""
    at_once: int = 1
    """How many pieces come before the first pause."""


Fault = Status | Latency | Hang | Reset | TruncatedBody | TruncatedStream | SlowStream | Html | ErrorInside | EmptyChoices
_KINDS = get_args(Fault)
_NAMES = ", ".join(kind.__name__ for kind in _KINDS)


def require_faults(faults: object) -> None:
    """Return if these can be the faults of a server.

    Raises:
        WrongArgument: It is none of what is taken, or holds what is no fault.
        UnusableValue: A number is that of no request.
    """
    if isinstance(faults, Mapping):
        for number, fault in faults.items():
            _require_number(number)
            require_fault(f"faults[{number}]", fault)
    elif isinstance(faults, Sequence) and not isinstance(faults, str | bytes):
        for position, fault in enumerate(faults):
            require_fault(f"faults[{position}]", fault)
    elif not callable(faults) or isinstance(faults, type):
        wanted = "a dict by the number of the request ({1: Status(429)}), a list in order of the requests, or a function of a request"
        raise WrongArgument("faults", faults, wanted)


def _require_number(number: object) -> None:
    if not isinstance(number, int) or isinstance(number, bool):
        raise WrongArgument("a key of faults", number, "the number of a request")
    if number < 1:
        raise UnusableValue("a key of faults", number, "requests are counted from 1")


def require_fault(argument: str, fault: object) -> None:
    """Return if it is a fault or `None`.

    Raises:
        WrongArgument: It is something else.
    """
    if fault is None or isinstance(fault, _KINDS):
        return
    raise WrongArgument(argument, fault, f"a fault such as Status(429), or None (there are {_NAMES})")
