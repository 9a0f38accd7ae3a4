"""Times and numbers as they stand in the headers of a reply."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+")
"""`float` takes more for a number than any provider means by one: `1_0`, `infinity`, digits of other scripts."""


def number(text: str | None) -> float | None:
    """A number that is not below 0; `None` if the text is something else."""
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    found = float(text)
    return found if math.isfinite(found) else None


def http_date(text: str | None) -> datetime | None:
    """A date as HTTP writes it, in any of its forms; `None` if the text is something else."""
    try:
        return _aware(parsedate_to_datetime(text or ""))
    except (ValueError, OverflowError):
        return None


def rfc3339(text: str | None) -> datetime | None:
    """A date and time like `2026-11-28T12:00:30Z`; `None` if the text is something else."""
    try:
        return _aware(datetime.fromisoformat(text or ""))
    except ValueError:
        return None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def answered_at(headers: Mapping[str, str], now: datetime | None = None) -> datetime:
    """When the reply was written, by its own clock; `now`, by ours, if it does not tell.

    Other times in its headers are by that clock too, so that a difference is right even if the clock is wrong.
    """
    told = (http_date(each) for each in values(headers.get("date", "")))
    return next(filter(None, told), None) or now or datetime.now(UTC)


def seconds_until(moment: datetime, now: datetime) -> float:
    """How long it is until then; nothing if it is past."""
    return max(0.0, (moment - now).total_seconds())


def values(text: str) -> Iterator[str]:
    """The values of a header that came more than once, which are joined by commas; a date has one after its weekday."""
    weekday = ""
    for part in text.split(","):
        if part.strip().isalpha():
            weekday = f"{part},"
        else:
            yield f"{weekday}{part}".strip()
            weekday = ""
