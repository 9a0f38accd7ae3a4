"""Column types, and the same conversions as plain functions for rows that bypass SQLAlchemy.

Databases refuse some text that models and tools do produce: PostgreSQL NUL characters, both drivers lone surrogates,
PostgreSQL's JSON `NaN`. Such a text is stored as the noncharacter U+FDD0 followed by an ASCII escape of it; such a JSON
document as a JSON string of U+FDD0 followed by the document. Whatever itself begins with U+FDD0 is escaped as well,
so that everything reads back as it was. Nothing else is touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, DateTime, Dialect, Float, Integer, LargeBinary, SmallInteger, String, Text, Uuid, types
from sqlalchemy.types import TypeDecorator, TypeEngine

from minference.ecs.values import has_surrogates, parse

DialectName = Literal["sqlite", "postgresql"]
Encoder = Callable[[Any], Any]

MARKER = "\ufdd0"
_JSON_MARKER = f'"{MARKER}'

Id = BigInteger().with_variant(Integer, "sqlite")
"""An integer key: the rowid itself on SQLite."""


class Kind(Enum):
    """What a column can hold."""

    text = "text"
    integer = "integer"
    real = "real"
    boolean = "boolean"
    time = "time"
    uuid = "uuid"
    bytes = "bytes"
    json = "json"


class DamagedCell(ValueError):
    """A column holds what was never written to it."""

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__(f"{value!r:.100} was never written to its column")


def escape_text(value: str) -> str:
    """`value` in a form that every database keeps; almost always `value` itself."""
    if value.isascii():
        return _escaped(value) if "\0" in value else value
    if "\0" in value or value[0] == MARKER or _has_surrogates(value):
        return _escaped(value)
    return value


def _escaped(value: str) -> str:
    return MARKER + value.encode("unicode_escape").decode("ascii")


def unescape_text(stored: str) -> str:
    """The inverse of `escape_text`.

    Raises:
        DamagedCell: Nothing is escaped like this.
    """
    try:
        return stored[1:].encode("ascii").decode("unicode_escape") if stored.startswith(MARKER) else stored
    except (TypeError, ValueError) as error:
        raise DamagedCell(stored) from error


def json_document(value: Any) -> str:
    """A value of dicts, lists, texts and numbers as JSON, in the form of `dump_json`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace").decode()


def escape_json(document: str) -> str:
    """A JSON document as `dump_json` writes it, in a form that every database keeps; almost always itself."""
    if document.startswith(_JSON_MARKER) or _is_refused(document):
        return json.dumps(MARKER + document, ensure_ascii=False)
    return document


def unescape_json(stored: str) -> str:
    """The inverse of `escape_json`.

    Raises:
        DamagedCell: Nothing is escaped like this.
    """
    try:
        return str(json.loads(stored))[1:] if stored.startswith(_JSON_MARKER) else stored
    except (TypeError, ValueError) as error:
        raise DamagedCell(stored) from error


def _is_refused(document: str) -> bool:
    """Whether the document holds `NaN`, an infinity or a surrogate."""
    if has_surrogates(document):
        return True
    if "NaN" not in document and "Infinity" not in document:
        return False
    constants: list[str] = []
    json.loads(document, parse_constant=constants.append)
    return bool(constants)


def encode_time(value: datetime) -> str:
    """ISO 8601 in UTC with microseconds, always equally long: sorts as text."""
    return (value if value.tzinfo is UTC else in_utc(value)).isoformat(timespec="microseconds")


def decode_time(stored: str | datetime) -> datetime:
    """The inverse of `encode_time`, which also reads what other programs wrote in ISO 8601, and what PostgreSQL gives.

    Raises:
        DamagedCell: It is no time.
    """
    if isinstance(stored, datetime):
        # The first and the last moment that there are, asyncpg stores as infinities and gives back without their zone.
        return stored if stored.tzinfo is not None else stored.replace(tzinfo=UTC)
    try:
        return datetime.fromisoformat(stored)
    except (TypeError, ValueError) as error:
        raise DamagedCell(stored) from error


def in_utc(value: datetime) -> datetime:
    """The same moment in UTC.

    Raises:
        ValueError: The datetime has no zone, or lies outside of the years 1 to 9999 in UTC.
    """
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value!r} is outside of the years 1 to 9999 in UTC") from error


class ExactText(TypeDecorator[str]):
    """Text of any length and content, NUL and lone surrogates included."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 (SQLAlchemy's signature)
        return None if value is None else escape_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else unescape_text(value)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment, read back in UTC. On SQLite ISO text with microseconds. `datetime.min` and `max` are infinities on PostgreSQL."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        return encode_time(value) if dialect.name == "sqlite" else in_utc(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else decode_time(value)


class Json(TypeDecorator[Any]):
    """A JSON value in the order in which it was written; `None` is NULL. Never JSONB, which reorders keys."""

    impl = types.JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else types.JSON(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        document = json_document(value)
        stored = escape_json(document)
        if dialect.name == "sqlite":
            return stored
        return value if stored is document else json.loads(stored)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        if dialect.name == "sqlite" and isinstance(value, str):
            value = json.loads(value)
        return parse(value[1:]) if isinstance(value, str) and value.startswith(MARKER) else value


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def kind_of(column_type: TypeEngine[Any]) -> Kind | None:
    """What a column of this type holds, or `None` if entities cannot be stored in it."""
    match column_type:
        case ExactText() | String():
            return Kind.text
        case BigInteger() | Integer():
            return Kind.integer
        case Float():
            return Kind.real
        case Boolean():
            return Kind.boolean
        case UtcDateTime():
            return Kind.time
        case Uuid():
            return Kind.uuid
        case LargeBinary():
            return Kind.bytes
        case Json():
            return Kind.json
        case _:
            return None


def encoder(column_type: TypeEngine[Any], dialect: DialectName) -> Encoder | None:
    """The function from a value of an entity (never `None`) to what the driver takes; `None` if that is the same.

    JSON columns take the text of `escape_json`. The functions raise ValueError for what the column cannot hold.
    """
    match kind_of(column_type):
        case Kind.text:
            return _encode_text
        case Kind.integer:
            return _bounded(_bits(column_type))
        case Kind.real:
            return _encode_real if dialect == "sqlite" else float
        case Kind.time:
            return encode_time if dialect == "sqlite" else in_utc
        case Kind.uuid:
            return _HEX if dialect == "sqlite" else None
        case Kind.boolean | Kind.bytes | Kind.json | None:
            return None


def _encode_text(value: str) -> str:
    if type(value) is str and value.isascii() and "\0" not in value:
        return value
    return escape_text(value.value if isinstance(value, Enum) else value)


def _encode_real(value: float) -> float | str:
    """SQLite turns NaN into NULL and -0.0 into 0.0: both are stored as text, which `float()` reads."""
    if value != value:
        return "NaN"
    return "-0_0" if value == 0 and str(value).startswith("-") else float(value)


_HEX: Encoder = UUID.hex.fget  # type: ignore[attr-defined]


def _bits(column_type: TypeEngine[Any]) -> int:
    if isinstance(column_type, SmallInteger):
        return 16
    return 64 if isinstance(column_type, BigInteger) else 32


def _bounded(bits: int) -> Encoder:
    limit = 1 << (bits - 1)

    def encode(value: Any) -> int:
        number: int = value.value if isinstance(value, Enum) else value
        if not -limit <= number < limit:
            raise ValueError(f"{number} does not fit into {bits} bits")
        return number

    return encode
