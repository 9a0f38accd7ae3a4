"""What a provider tells in its headers of what it still allows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from minference.clients.moments import answered_at, number, rfc3339, seconds_until

Measured = Literal["requests", "input tokens", "output tokens", "tokens"]
"""What is counted; `tokens` are those of request and reply together."""

_KINDS: dict[str, Measured] = {
    "requests": "requests",
    "tokens": "tokens",
    "input-tokens": "input tokens",
    "output-tokens": "output tokens",
}
_PARTS = ("limit", "remaining", "reset")
_MOST = 10**12
"""What no limit is larger than: Redis counts in floating point numbers, and writes larger ones otherwise."""
_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[dhms])")


@dataclass(frozen=True, slots=True)
class Allowance:
    """One of a provider's limits, as it stood when it answered."""

    what: Measured
    limit: int | None
    remaining: int | None
    reset: float | None
    """Seconds until nothing of it is used any more."""


def allowances(headers: Mapping[str, str], now: datetime | None = None) -> list[Allowance]:
    """What the headers (lower-case names) tell, in the words of OpenAI and of Anthropic; what makes no sense is left out.

    Times are compared with the reply's own, for the provider's clock may differ from ours, which is `now`.
    """
    if not any("ratelimit" in name for name in headers):
        return []
    moment = answered_at(headers, now)
    return [*_of_openai(headers, moment), *_of_anthropic(headers, moment)]


def limit_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of the headers that `allowances` reads."""
    found = {name: value for name, value in headers.items() if "ratelimit" in name}
    return {**found, "date": headers["date"]} if found and "date" in headers else found


def _of_openai(headers: Mapping[str, str], now: datetime) -> Iterator[Allowance]:
    for name in ("requests", "tokens"):
        limit, remaining, reset = (headers.get(f"x-ratelimit-{part}-{name}") for part in _PARTS)
        yield from _allowance(_KINDS[name], limit, remaining, reset, now)


def _of_anthropic(headers: Mapping[str, str], now: datetime) -> Iterator[Allowance]:
    for name, what in _KINDS.items():
        limit, remaining, reset = (headers.get(f"anthropic-ratelimit-{name}-{part}") for part in _PARTS)
        yield from _allowance(what, limit, remaining, reset, now)


def _allowance(what: Measured, limit: str | None, remaining: str | None, reset: str | None, now: datetime) -> Iterator[Allowance]:
    found = Allowance(what, _count(limit), _count(remaining), _seconds(reset, now))
    if found.limit is not None or found.remaining is not None:
        yield found


def _count(text: str | None) -> int | None:
    found = number(text)
    return int(found) if found is not None and found <= _MOST else None


def _seconds(text: str | None, now: datetime) -> float | None:
    """`6ms`, `1m2s`, plain seconds, or a time as RFC 3339 writes it."""
    if not text:
        return None
    if parts := _DURATION.findall(text):
        return sum(float(count) * _UNITS[unit] for count, unit in parts) if _DURATION.sub("", text) == "" else _until(text, now)
    seconds = number(text)
    return seconds if seconds is not None else _until(text, now)


def _until(text: str, now: datetime) -> float | None:
    return None if (then := rfc3339(text)) is None else seconds_until(then, now)
