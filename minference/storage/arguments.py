"""What callers pass, refused before anything happens if it cannot be meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, get_args
from uuid import UUID

from minference.ecs.entity import Entity
from minference.ecs.recording import OnConflict
from minference.errors import UnknownChoice, WrongArgument

C = TypeVar("C", bound=type[Entity])

_ON_CONFLICT: tuple[str, ...] = get_args(OnConflict)


def check_save(entities: Iterable[object], author: object, note: object, on_conflict: object) -> None:
    """Make sure that a save can be made as it is wished.

    Raises:
        WrongArgument: Something is no entity, or author or note is no text.
        UnknownChoice: `on_conflict` is none of its values.
    """
    if on_conflict not in _ON_CONFLICT:
        raise UnknownChoice("on_conflict", on_conflict, _ON_CONFLICT)
    for name, text in (("author", author), ("note", note)):
        if text is not None and not isinstance(text, str):
            raise WrongArgument(name, text, "a str or None")
    check_entities(entities)


def check_entities(entities: Iterable[object]) -> None:
    """Make sure that what is to be saved are entities.

    Raises:
        WrongArgument: Something is none.
    """
    for each in entities:
        if not isinstance(each, Entity):
            raise WrongArgument("what is saved", each, "an entity")


def an_id(argument: str, value: UUID) -> UUID:
    """The id that was passed.

    Raises:
        WrongArgument: It is none.
    """
    if not isinstance(value, UUID):
        raise WrongArgument(argument, value, "a UUID (of a text, pass UUID(text))")
    return value


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
