"""Which fields of an entity class can hold blobs, and which blobs an object holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from minference.ecs.blobs import Blob, BlobsSeen
from minference.ecs.entity import Entity, plan_of
from minference.ecs.plan import arms
from minference.ecs.values import adapter_of
from minference.errors import WrongArgument

_SIMPLE = (str, int, float, bool, bytes, UUID, datetime, type(None))


@cache
def blob_fields(cls: type[Entity]) -> tuple[str, ...]:
    """The plain fields of `cls` whose values can be or contain blobs."""
    plan = plan_of(cls)
    return tuple(name for name in (*plan.values, *plan.mutable) if _may_hold(cls, name))


def blobs_in(cls: type[Entity], values: Mapping[str, Any]) -> Sequence[Blob]:
    """Every blob among the plain values of an entity, in the order of its fields. The same content can come twice."""
    if not (names := blob_fields(cls)):
        return ()
    found: list[Blob] = []
    for name in names:
        value = values[name]
        if isinstance(value, Blob):
            found.append(value)
        elif value is not None:
            seen = BlobsSeen()
            # What the stored form holds is what counts, whatever serialisers a nested model has.
            adapter_of(cls, name).serializer.to_python(value, by_alias=False, round_trip=True, warnings="none", context=seen)
            found.extend(seen)
    return found


def blobs_below(entity: Entity) -> list[Blob]:
    """Every blob of an entity and of everything below it.

    Raises:
        WrongArgument: It is no entity.
    """
    if not isinstance(entity, Entity):
        raise WrongArgument("what holds blobs", entity, "an entity or a Blob")
    return [blob for each in (entity, *entity.get_sub_entities()) for blob in blobs_in(type(each), each.__dict__)]


def blobs_in_data(data: Any) -> list[Blob]:
    """Whatever looks like the stored form of a blob in JSON data of an unknown kind."""
    found: list[Blob] = []
    waiting = [data]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(reversed(part))
        elif isinstance(part, dict):
            if part.keys() == {"sha256", "size"} and Blob.names(part["sha256"], part["size"]):
                found.append(Blob(part["sha256"], part["size"]))
            waiting.extend(reversed(part.values()))
    return found


def _may_hold(cls: type[Entity], name: str) -> bool:
    parts = arms(cls.model_fields[name].annotation)
    if all(any(part is simple for simple in _SIMPLE) for part in parts):
        return False  # without the price of an adapter
    return _mentions_blob(adapter_of(cls, name).core_schema)


def _mentions_blob(schema: Any) -> bool:
    """Whether a core schema, which is made of dicts and lists, has a place for a blob."""
    waiting, seen = [schema], set[int]()
    while waiting:
        part = waiting.pop()
        if part is Blob:
            return True
        if isinstance(part, dict | list | tuple) and id(part) not in seen:
            seen.add(id(part))
            waiting.extend(part.values() if isinstance(part, dict) else part)
    return False
