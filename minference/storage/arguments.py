"""What callers pass, refused before anything happens if it cannot be meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from minference.ecs.blobs import Blob
from minference.ecs.choices import a_choice
from minference.ecs.entity import Entity
from minference.ecs.recording import OnConflict
from minference.errors import TimeWithoutZone, UnusableText, WrongArgument

_PASSWORD = re.compile(r"(//[^:/@]*):.*@")
C = TypeVar("C", bound=type[Entity])
E = TypeVar("E", bound=Entity)


def check_save(entities: Iterable[object], author: object, note: object, on_conflict: object = "branch") -> None:
    """Make sure that a save can be made as it is wished.

    Raises:
        WrongArgument: Something is no entity, or author or note is no text.
        UnusableText: Author or note holds a NUL or half of a surrogate pair.
        UnknownChoice: `on_conflict` is none of its values.
    """
    a_choice("on_conflict", on_conflict, OnConflict)
    for name, text in (("author", author), ("note", note)):
        if text is not None:
            a_plain_text(name, text, "a str or None")
    check_entities(entities)


def a_plain_text(argument: str, value: object, wanted: str = "a str") -> str:
    """The text that was passed, which every database can keep as it is.

    Raises:
        WrongArgument: It is none.
        UnusableText: It holds a NUL or half of a surrogate pair.
    """
    text = a_text(argument, value, wanted)
    if (what := unkept(text)) is not None:
        raise UnusableText(argument, text, what)
    return text


def a_text(argument: str, value: object, wanted: str = "a str") -> str:
    """The text that was passed.

    Raises:
        WrongArgument: It is none.
    """
    if not isinstance(value, str):
        raise WrongArgument(argument, value, wanted)
    return value


def a_row_count(argument: str, value: object) -> int:
    """The number that was passed: how many rows.

    Raises:
        WrongArgument: It is none that a database could count to.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise WrongArgument(argument, value, "an int from 0 to 2**63 - 1")
    return value


def a_time(argument: str, value: datetime) -> datetime:
    """The time that was passed.

    Raises:
        WrongArgument: It is none.
        TimeWithoutZone: It could be any of many.
    """
    if not isinstance(value, datetime):
        raise WrongArgument(argument, value, "a datetime with a time zone (of a text, pass datetime.fromisoformat(text))")
    if value.utcoffset() is None:
        raise TimeWithoutZone(value)
    return value


def without_password(url: str) -> str:
    """A URL as errors may quote it."""
    return _PASSWORD.sub(r"\1:***@", url)


def unkept(text: str) -> str | None:
    """What of a text not every database keeps; `None`: each keeps all of it."""
    if "\0" in text:
        return "a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair"
    return None


def check_entities(entities: Iterable[object]) -> None:
    """Make sure that what is to be saved are entities.

    Raises:
        WrongArgument: Something is none.
    """
    for each in entities:
        if not isinstance(each, Entity):
            raise WrongArgument("what is saved", each, "an entity")


def an_entity(argument: str, value: E) -> E:
    """The entity that was passed.

    Raises:
        WrongArgument: It is none.
    """
    if not isinstance(value, Entity):
        raise WrongArgument(argument, value, "an entity")
    return value


def blobs_in(blobs: Iterable[Blob]) -> list[Blob]:
    """The blobs that were passed.

    Raises:
        WrongArgument: They are not in a list or the like, or one of them is none.
    """
    if not isinstance(blobs, Iterable):
        raise WrongArgument("blobs", blobs, "Blobs in a list, also if it is one: [attachment.content]")
    found = list(blobs)
    for each in found:
        if not isinstance(each, Blob):
            raise WrongArgument("each of the blobs", each, "a Blob")
    return found


def an_id(argument: str, value: UUID) -> UUID:
    """The id that was passed.

    Raises:
        WrongArgument: It is none.
    """
    if not isinstance(value, UUID):
        raise WrongArgument(argument, value, "a UUID (of a text, pass UUID(text))")
    return value


def ids(argument: str, values: object) -> list[UUID]:
    """The ids that were passed, each once.

    Raises:
        WrongArgument: They are not in a list or the like, or one of them is none.
    """
    if isinstance(values, str | Entity) or not isinstance(values, Iterable):
        raise WrongArgument(argument, values, "UUIDs in a list, also if it is one: [thread.lineage_id]")
    return list(dict.fromkeys(an_id(argument, each) for each in values))


def a_class(value: C) -> C:
    """The class of entities that was passed.

    Raises:
        WrongArgument: It is none.
    """
    if not (isinstance(value, type) and issubclass(value, Entity)):
        raise WrongArgument("cls", value, "a class of entities")
    return value


def lineage_of(what: Entity | UUID) -> UUID:
    """The lineage of an entity, or that is named.

    Raises:
        WrongArgument: It is neither an entity nor an id.
    """
    return what.lineage_id if isinstance(what, Entity) else _neither_or_id("lineage", what)


def version_of(version: Entity | UUID) -> UUID:
    """The id of the version that an object stands on, or that is given.

    Raises:
        WrongArgument: It is neither an entity nor an id.
    """
    return version.ecs_id if isinstance(version, Entity) else _neither_or_id("version", version)


def _neither_or_id(argument: str, value: UUID) -> UUID:
    if not isinstance(value, UUID):
        raise WrongArgument(argument, value, "an entity or a UUID (of a text, pass UUID(text))")
    return value
