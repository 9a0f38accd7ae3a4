"""Objects from records: a stored tree becomes live entities that know the version they stand on."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

from minference.ecs.cold import freeze
from minference.ecs.entity import Entity, plan_of
from minference.ecs.partial import PartialDict, PartialList
from minference.ecs.plan import CollectionField, EntityPlan
from minference.ecs.state import Ledger, State
from minference.ecs.values import dump_json
from minference.errors import WrongEntityType
from minference.storage.base import Record

E = TypeVar("E", bound=Entity)

_LIVE_IDS = TypeAdapter(list[UUID])
# The slots of pydantic's objects and ours, without the assignment checks.
_SET_DICT = vars(BaseModel)["__dict__"].__set__
_SET_FIELDS_SET = vars(BaseModel)["__pydantic_fields_set__"].__set__
_SET_EXTRA = vars(BaseModel)["__pydantic_extra__"].__set__
_SET_PRIVATE = vars(BaseModel)["__pydantic_private__"].__set__
_SET_STATE = vars(Entity)["__ecs_state__"].__set__


def build(records: dict[int, Record], cls: type[E], ledger: Ledger, *, cold: bool) -> E:
    """Live objects for all records; returns the first, on which the others hang.

    Raises:
        WrongEntityType: The first record is of another class.
    """
    first = next(iter(records.values()))
    if not issubclass(first.cls, cls):
        raise WrongEntityType(first.version.ecs_id, cls.__name__, first.cls.__name__)
    root = build_all(records, ledger, cold=cold)[next(iter(records))]
    assert isinstance(root, cls), "checked above"
    return root


def build_all(records: dict[int, Record], ledger: Ledger, *, cold: bool) -> dict[int, Entity]:
    """Live objects for all records, by key. The records give up their values; partial ones are for cold objects only."""
    with no_garbage_collection():
        objects = _bare_objects(records)
        for key, record in records.items():
            _fill(objects[key], record, objects, cold=cold)
        for entity in objects.values():
            if type(entity).__pydantic_post_init__:
                entity.model_post_init(None)
        for key, record in records.items():
            entity = objects[key]
            state = State(ledger, record.version, entity.__dict__, cold=True) if cold else _state(entity, record, records, objects, ledger)
            _SET_STATE(entity, state)
    return objects


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Thousands of new objects that all stay alive would make the collector search them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _bare_objects(records: dict[int, Record]) -> dict[int, Entity]:
    """Objects with identity and plain values. Made without validation: the values were validated when they were read."""
    random = os.urandom(16 * len(records))
    live_ids = _LIVE_IDS.validate_python([_version_4(random[i : i + 16]) for i in range(0, len(random), 16)])
    objects: dict[int, Entity] = {}
    for (key, record), live_id in zip(records.items(), live_ids, strict=True):
        cls, version = record.cls, record.version
        entity = objects[key] = cls.__new__(cls)
        data = record.values
        data["ecs_id"] = version.ecs_id
        data["lineage_id"] = version.lineage_id
        data["parent_id"] = record.parent_id
        data["created_at"] = version.created_at
        data["live_id"] = live_id
        _SET_DICT(entity, data)
        _SET_FIELDS_SET(entity, _all_fields(cls))
        _SET_EXTRA(entity, None)
        _SET_PRIVATE(entity, None)
    return objects


@cache
def _all_fields(cls: type[Entity]) -> set[str]:
    """One set for all objects of a class: it holds every field already, so nothing is ever added to it."""
    return set(cls.model_fields)


def _version_4(octets: bytes) -> bytes:
    return octets[:6] + bytes([octets[6] & 0x0F | 0x40]) + octets[7:8] + bytes([octets[8] & 0x3F | 0x80]) + octets[9:]


def _fill(entity: Entity, record: Record, objects: dict[int, Entity], *, cold: bool) -> None:
    plan, data = plan_of(type(entity)), entity.__dict__
    for name, _ in plan.back_references:
        data.setdefault(name, None)
    for name in plan.references:
        key = record.references.get(name)
        data[name] = None if key is None else objects[key]
        if key is not None and plan_of(type(objects[key])).back_references:
            _answer(entity, name, [objects[key]])
    for field in plan.collections:
        members = [objects[key] for key in record.members[field.name]]
        _answer(entity, field.name, members)
        if field.name in record.partial:
            data[field.name] = _partial(record, field, members)
        else:
            value = field.build(members, list(record.keys.get(field.name, ())))
            data[field.name] = freeze(value) if cold else value
    if cold:
        for name in plan.mutable:
            data[name] = freeze(data[name])


def _partial(record: Record, field: CollectionField, members: list[Entity]) -> PartialList | PartialDict:
    loaded = dict(zip(record.partial[field.name], members, strict=True))
    label = f"{record.cls.__name__} {record.version.ecs_id}"
    if field.shape is not dict:
        return PartialList(record.version.places[field.name].length, loaded, label)
    keys = record.keys[field.name]
    return PartialDict(keys, {keys[place]: member for place, member in loaded.items()}, label)


def _answer(owner: Entity, field: str, children: list[Entity]) -> None:
    """Fill the weak inverse of `field` in those children that have one."""
    for cls in {type(child) for child in children}:
        for name, inverse in plan_of(cls).back_references:
            if inverse == field and isinstance(owner, plan_of(cls).types[name]):
                for child in children:
                    if type(child) is cls:
                        child.__dict__[name] = owner


def _state(entity: Entity, record: Record, records: dict[int, Record], objects: dict[int, Entity], ledger: Ledger) -> State:
    plan: EntityPlan = plan_of(type(entity))
    state = State(ledger, record.version, entity.__dict__)
    if plan.mutable:
        state.json = {name: dump_json(type(entity), name, entity.__dict__[name]) for name in plan.mutable}
    if plan.references:
        keys = record.references
        state.references = {name: None if (key := keys.get(name)) is None else records[key].version for name in plan.references}
    for field in plan.collections:
        members = record.members[field.name]
        state.members[field.name] = ([objects[key] for key in members], [records[key].version for key in members], len(members))
        if field.shape is dict:
            state.keys[field.name] = tuple(record.keys[field.name])
    return state
