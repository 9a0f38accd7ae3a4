"""What went wrong at a provider, read from status, type and headers: never from the words of a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from minference.clients.allowances import limit_headers
from minference.clients.moments import answered_at, http_date, number, seconds_until, values
from minference.errors import ProviderRefused, a_while

_PASSING = {408, 409, 429}
_PERMANENT = {
    "insufficient_quota",
    "billing_error",
    "billing_hard_limit_reached",
    "contract_spend_limit_reached",
    "enforced_spend_limit_reached",
}
"""Names of errors that come with a status that usually passes, and do not."""
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status that an error of this type has when it comes as one of its own."""
_REQUEST_IDS = ("x-request-id", "request-id", "apim-request-id")
_LONGEST_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class Told:
    """What the body of an error says."""

    message: str
    names: tuple[str, ...]
    """Its code and type, the most exact first."""
    status: int | None
    """The status that the body itself names, or that its type stands for."""


def read_error(body: object) -> Told:
    """What the body of an error says, in whichever of the usual shapes it is."""
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(inner, Mapping):
        return Told(_plain(inner), (), None)
    details = inner.get("details")
    exact = details.get("error_code") if isinstance(details, Mapping) else None
    names = [str(name) for name in (exact, inner.get("code"), inner.get("type")) if isinstance(name, str | int) and name != "error"]
    numbers = [int(name) for name in names if name.isdecimal() and 400 <= int(name) <= 599]
    meant = [*numbers, *(_STATUS_OF_TYPE[name] for name in names if name in _STATUS_OF_TYPE)]
    return Told(_plain(inner.get("message", inner.get("detail"))), tuple(names), meant[0] if meant else None)


def _plain(message: object) -> str:
    if message is None or message == "":
        return "no message"
    text = message if isinstance(message, str) else repr(message)
    if text.lstrip().startswith("<"):
        return "an HTML page"
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "..."


def is_passing(status: int | None, names: tuple[str, ...] = (), headers: Mapping[str, str] | None = None) -> bool:
    """Whether the same request can succeed later."""
    if status is None or _PERMANENT & set(names):
        return False
    match (headers or {}).get("x-should-retry"):
        case "true":
            return True
        case "false":
            return False
        case _:
            return status in _PASSING or status >= 500


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that the provider asked us to wait, the most if it asked twice; `None` if it did not say, or not in a form that anyone uses.

    A date is compared with the reply's own, for the provider's clock may differ from ours, which is `now`.
    """
    milliseconds = [found for each in values(headers.get("retry-after-ms", "")) if (found := number(each)) is not None]
    if milliseconds:
        return max(milliseconds) / 1000
    there = answered_at(headers, now)
    waits: list[float] = []
    for each in values(headers.get("retry-after", "")):
        if (seconds := number(each)) is not None:
            waits.append(seconds)
        elif (then := http_date(each)) is not None:
            waits.append(seconds_until(then, there))
    return max(waits, default=None)


def request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's own number of the request, for its support."""
    return next((headers[name] for name in _REQUEST_IDS if name in headers), None)


def refused(client: str, *, status: int, headers: Mapping[str, str], body: object, key: str | None) -> ProviderRefused:
    """The error for an answer with an error status, or for an error in the middle of a stream (status 200)."""
    told = read_error(body)
    meant = told.status or status if status < 400 else status
    passing = is_passing(meant, told.names, headers)
    if meant < 400:  # the request was taken, so the fault is on the server's side
        passing = is_passing(500, told.names, headers)
    code = told.names[0] if told.names else None
    wait = retry_after(headers)
    pause = f"; it wants to be left alone for {a_while(wait)}" if wait else ""
    what = f"refused with status {meant}" if meant >= 400 else _instead(status)
    return ProviderRefused(
        client,
        without_key(f"{what}{f' ({code})' if code else ''}: {told.message}{pause}", key),
        status=meant,
        retryable=passing,
        retry_after=wait,
        code=without_key(code, key) if code else None,
        request_id=request_id(headers),
        headers=limit_headers(headers),
    )


def _instead(status: int) -> str:
    """What a provider did that neither gave a reply nor refused one."""
    return "broke off its stream with an error" if status == 200 else f"answered with status {status} instead of a reply"


def without_key(text: str, key: str | None) -> str:
    """The text, and where the API key stood in it, that there was one."""
    return text.replace(key, "[API key]") if key else text


def describe(value: Any) -> str:
    """A value found where another was promised, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "..."
