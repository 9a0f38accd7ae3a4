"""Which annotations every value survives being stored as, by their nature; of the others each value has to be proved."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from annotated_types import BaseMetadata, GroupedMetadata
from pydantic import AfterValidator, AllowInfNan, AwareDatetime, BeforeValidator, NaiveDatetime, Strict
from pydantic.fields import FieldInfo

from minference.ecs.blobs import Blob

_EXACT: frozenset[Any] = frozenset((str, int, float, bool, bytes, UUID, date, timedelta, Decimal, type(None), Blob))
_WITH_ZONE = (datetime, time, AwareDatetime, NaiveDatetime)
_DOUBTFUL = (int, *_WITH_ZONE)
_MINUTE, _NO_TIME = timedelta(minutes=1), timedelta()
DIGITS = 4300
"""As many an int may have: readers of JSON take no more, pydantic's and, unless it is told otherwise, Python's own."""
_TOO_LARGE = 10**DIGITS
_READ_BACK = (str, int, bool, type(None))
"""What an `Enum` or a `Literal` may stand for: written as it is, and told from others when it is read."""
_HARMLESS = (BaseMetadata, GroupedMetadata, FieldInfo, Strict, AllowInfNan, AfterValidator, BeforeValidator, str)


def is_exact(annotation: Any, metadata: Iterable[object] = ()) -> bool:
    """Whether any value that the annotation takes is read back from what was written of it.

    Not so where one type has to be told from another, where something else decides what is written (a model, a serialiser),
    and where a member of an `Enum` stands for what JSON has no word for. Times and ints are, but for some: see `is_doubtful`.
    """
    if not all(_is_harmless(each) for each in metadata):
        return False
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return is_exact(arguments[0], arguments[1:])
    if origin in (Union, UnionType):
        others = [arm for arm in arguments if arm is not type(None)]
        return len(others) == 1 and is_exact(others[0])
    if origin is Literal:
        return all(type(each) in _READ_BACK for each in arguments)
    if origin in (tuple, frozenset):
        return all(part is Ellipsis or (is_exact(part) and not mentions_doubtful(part)) for part in arguments)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return all(type(each.value) in _READ_BACK for each in annotation)
    return annotation in _EXACT or annotation in _WITH_ZONE


def _is_harmless(mark: object) -> bool:
    """Whether what stands beside a type leaves alone what is written of its values."""
    return isinstance(mark, _HARMLESS) or mark in _WITH_ZONE or type(mark).__module__.startswith("minference.")


def mentions_doubtful(annotation: Any) -> bool:
    """Whether a value, or a part of it, may be an int, a time or a moment."""
    return annotation in _DOUBTFUL or any(mentions_doubtful(part) for part in get_args(annotation))


def is_doubtful(value: object) -> bool:
    """Whether this is one of the few ints and times that are not read back from what is written of them.

    These are ints of more than 4,300 digits; times whose zone is some seconds off a minute, as before there were standard times:
    ISO 8601 cuts those; and times of day in a zone that has no offset without a date.
    """
    if isinstance(value, int):
        return not -_TOO_LARGE < value < _TOO_LARGE
    if not isinstance(value, datetime | time) or value.tzinfo is None or value.tzinfo is UTC:
        return False
    offset = value.utcoffset()
    return offset is None or offset % _MINUTE != _NO_TIME


def same_time(one: datetime | time, other: datetime | time) -> bool:
    """Whether both are written alike: one clock and one offset, or no zone at all. What the zone is called is not written."""
    # Python calls moments of two zones equal that are shown by different clocks, and the two hours of one name in autumn.
    return one.isoformat() == other.isoformat() and (one.tzinfo is None) is (other.tzinfo is None)
