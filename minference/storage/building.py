"""Objects from records: a stored tree becomes live entities that know the version they stand on."""

from __future__ import annotations

import gc
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

from minference.ecs.cold import FrozenDict, FrozenList, freeze
from minference.ecs.entity import Entity, plan_of, state_of, write_state
from minference.ecs.partial import PartialDict, PartialList
from minference.ecs.plan import CollectionField, EntityPlan
from minference.ecs.shapes import Shape
from minference.ecs.state import Ledger, State, Version, Watch
from minference.ecs.values import dump_json
from minference.errors import WrongEntityType
from minference.storage.base import Record

E = TypeVar("E", bound=Entity)

_LIVE_IDS = TypeAdapter(list[UUID])
_VERSION = bytes(octet & 0x0F | 0x40 for octet in range(256))
_VARIANT = bytes(octet & 0x3F | 0x80 for octet in range(256))
# The slots of pydantic's objects and ours, without the assignment checks.
_SET_DICT = vars(BaseModel)["__dict__"].__set__
_SET_FIELDS_SET = vars(BaseModel)["__pydantic_fields_set__"].__set__
_SET_EXTRA = vars(BaseModel)["__pydantic_extra__"].__set__
_SET_PRIVATE = vars(BaseModel)["__pydantic_private__"].__set__


def build(records: dict[int, Record], cls: type[E], ledger: Ledger, *, cold: bool) -> E:
    """Live objects for all records; returns the first, on which the others hang.

    Raises:
        WrongEntityType: The first record is of another class.
    """
    first = next(iter(records.values()))
    if not issubclass(first.cls, cls):
        known = first.opaque is None
        raise WrongEntityType(first.version.ecs_id, cls.__name__, first.cls.__name__ if known else first.kind, defined=known)
    objects, holders = _build(records, ledger, cold=cold)
    key = next(iter(records))
    root = objects[key]
    assert isinstance(root, cls), "checked above"
    if not cold:
        _watch(key, root, holders.values(), objects)
    return root


def _watch(key: int, root: Entity, holders: Collection[Record], objects: dict[int, Entity]) -> None:
    """Watch everything below the root: all of it is as it is stored, so that the first save need not visit it again.

    `holders` are those that may hold something.
    """
    state = state_of(root)
    assert state is not None, "it was just built"
    watch = state.watch = Watch()
    watch.cyclic = any(key in record.references.values() or any(key in each for each in record.members.values()) for record in holders)
    restless = {cls for cls in set(map(type, objects.values())) if plan_of(cls).changes_in_place}
    for entity in objects.values():
        below = state_of(entity)
        if below is not None and below is not state:
            below.watchers = watch.alone
            if type(entity) in restless:
                watch.inspect.append(entity)


def build_all(records: dict[int, Record], ledger: Ledger, *, cold: bool) -> dict[int, Entity]:
    """Live objects for all records, by key. Partial records are for cold objects only."""
    return _build(records, ledger, cold=cold)[0]


def _build(records: dict[int, Record], ledger: Ledger, *, cold: bool) -> tuple[dict[int, Entity], dict[int, Record]]:
    """The objects by key, and the records of those that may hold something."""
    with no_garbage_collection():
        objects, holders = _bare_objects(records)
        stays_cold = records if cold else _below_opaque(records)
        for key, record in holders.items():
            _fill(objects[key], record, objects, cold=key in stays_cold)
        for key in holders:
            if type(objects[key]).__pydantic_post_init__:
                objects[key].model_post_init(None)
        for (key, entity), record in zip(objects.items(), records.values(), strict=True):
            if key in stays_cold:
                state = State(ledger, record.version, entity.__dict__, cold=True)
            elif key in holders:
                state = _state(entity, record, records, objects, ledger)
            else:
                state = State(ledger, record.version, entity.__dict__)
                state.references, state.members, state.keys = _mould(record.cls).nothing
            if record.erased_at is not None:
                state.erased = True
            write_state(entity, state)
    return objects, holders


def _below_opaque(records: dict[int, Record]) -> set[int]:
    """The versions of unknown kinds, and those that only hang on them: an edit of one would not be saved with what holds it."""
    if all(record.opaque is None for record in records.values()):
        return set()
    reached: set[int] = set()
    waiting = [next(iter(records))]
    while waiting:
        key = waiting.pop()
        if key not in reached and (record := records[key]).opaque is None:
            reached.add(key)
            waiting += [child for child in record.references.values() if child is not None]
            waiting += [child for members in record.members.values() for child in members]
    return records.keys() - reached


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


@dataclass(frozen=True, slots=True)
class _Mould:
    """What the objects of a class have in common."""

    fields: set[str]
    """One set for all: it holds every field already, so nothing is ever added to it."""
    inverses: dict[str, Any]
    """The weak inverses, before anybody holds the object."""
    blank: dict[str, Any] | None
    """Those and the entity fields of an object that holds nothing; `None` if those can change in place, or it is initialised further."""
    nothing: tuple[Mapping[str, None], Mapping[str, tuple[list[Entity], list[Version], int]], Mapping[str, tuple[str, ...]]]
    """The state of entity fields that are all empty: references, members and keys. An empty list is never extended in place."""


@cache
def _mould(cls: type[Entity]) -> _Mould:
    plan = plan_of(cls)
    references: dict[str, None] = dict.fromkeys(plan.references)
    members: dict[str, tuple[list[Entity], list[Version], int]] = {field.name: ([], [], 0) for field in plan.collections}
    keys: dict[str, tuple[str, ...]] = {field.name: () for field in plan.collections if field.shape is dict}
    inverses: dict[str, Any] = dict.fromkeys(name for name, _ in plan.back_references)
    return _Mould(
        fields=set(cls.model_fields),
        inverses=inverses,
        blank=None if plan.changes_in_place or cls.__pydantic_post_init__ else {**inverses, **references, **dict.fromkeys(members, ())},
        nothing=(references, members, keys),
    )


def _bare_objects(records: dict[int, Record]) -> tuple[dict[int, Entity], dict[int, Record]]:
    """Objects with identity and plain values, and the records, in order, of those that are still to get their entity fields.

    Made without validation: the values were validated when they were read.
    """
    objects: dict[int, Entity] = {}
    holders: dict[int, Record] = {}
    for (key, record), live_id in zip(records.items(), _live_ids(len(records)), strict=True):
        cls = record.cls
        objects[key] = entity = cls.__new__(cls)
        data = record.blank.copy() if record.blank is not None else blank_of(record)
        if data is None or not (record.leaf or holds_nothing(record)):
            holders[key] = record
        if data is None:
            data = _plain(record)
        data["live_id"] = live_id
        _SET_DICT(entity, data)
        _SET_FIELDS_SET(entity, _mould(cls).fields)
        _SET_EXTRA(entity, None)
        _SET_PRIVATE(entity, None)
    return objects, holders


def blank_of(record: Record) -> dict[str, Any] | None:
    """The `__dict__` of an object of this version, but for its live id and what it holds; `None` if that can change in place."""
    blank = _mould(record.cls).blank
    if blank is None or record.opaque is not None or record.partial is not None:
        return None
    return {**_plain(record), **blank}


def _plain(record: Record) -> dict[str, Any]:
    """Identity but for the live id, which keeps its place, plain values, and weak inverses before anybody holds the object."""
    version = record.version
    data = record.values.copy() if record.opaque is None else opaque_values(record, record.opaque)
    data["ecs_id"] = version.ecs_id
    data["lineage_id"] = version.lineage_id
    data["parent_id"] = record.parent_id
    data["created_at"] = version.created_at
    data["live_id"] = None
    data.update(_mould(record.cls).inverses)
    return data


def _live_ids(count: int) -> list[UUID]:
    """Random UUIDs (version 4), made in bulk: one by one they would cost more than all else that an object needs."""
    random = bytearray(os.urandom(16 * count))
    random[6::16] = random[6::16].translate(_VERSION)
    random[8::16] = random[8::16].translate(_VARIANT)
    octets = bytes(random)
    return _LIVE_IDS.validate_python([octets[i : i + 16] for i in range(0, len(octets), 16)])


def assembled(cls: type[E], values: dict[str, Any]) -> E:
    """An object of these field values, which are not validated; unknown to any storage and recording, and not initialised further."""
    entity = cls.__new__(cls)
    _SET_DICT(entity, values)
    _SET_FIELDS_SET(entity, _mould(cls).fields)
    _SET_EXTRA(entity, None)
    _SET_PRIVATE(entity, None)
    return entity


def opaque_values(record: Record, shape: Shape) -> dict[str, Any]:
    """The plain fields of an entity that stands for one of an unknown kind."""
    sizes = {name: list(record.keys[name]) if name in record.keys else len(members) for name, members in _ordered(record)}
    return {"kind": shape.kind, "data": freeze(record.values), "collections": freeze(sizes)}


def _ordered(record: Record) -> list[tuple[str, list[int]]]:
    return sorted(record.members.items())


def _fill(entity: Entity, record: Record, objects: dict[int, Entity], *, cold: bool) -> None:
    if record.opaque is not None:
        there = {name: objects[key] for name, key in sorted(record.references.items()) if key is not None}
        held = [objects[key] for _, members in _ordered(record) for key in members]
        entity.__dict__.update(references=FrozenDict(there), held=FrozenList(held))
        return
    plan, data = plan_of(type(entity)), entity.__dict__
    for name in plan.references:
        key = record.references.get(name)
        data[name] = None if key is None else objects[key]
        if key is not None and plan_of(type(objects[key])).back_references:
            _answer(entity, name, [objects[key]])
    if _mould(record.cls).blank is not None and _has_no_members(record):
        return  # as it began
    for field in plan.collections:
        members = [objects[key] for key in record.members[field.name]]
        if members:
            _answer(entity, field.name, members)
        if record.partial is not None and field.name in record.partial:
            data[field.name] = _partial(record, record.partial[field.name], field, members)
        else:
            data[field.name] = field.build(members, list(record.keys.get(field.name, ())))
    if cold:
        for name in plan.mutable:
            data[name] = freeze(data[name])
        for field in plan.collections:
            data[field.name] = freeze(data[field.name])


def holds_nothing(record: Record) -> bool:
    """Whether all entity fields are empty, and none has keys."""
    for key in record.references.values():
        if key is not None:
            return False
    return _has_no_members(record)


def _has_no_members(record: Record) -> bool:
    """Whether all collections are empty, and none has keys."""
    for members in record.members.values():
        if members:
            return False
    return record.partial is None and not any(record.keys.values())


def _partial(record: Record, places: Sequence[int], field: CollectionField, members: list[Entity]) -> PartialList | PartialDict:
    loaded = dict(zip(places, members, strict=True))
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
    cls, data, version = record.cls, entity.__dict__, record.version
    plan: EntityPlan = plan_of(cls)
    state = State(ledger, version, data)
    if plan.mutable:
        state.json = {name: dump_json(cls, name, data[name]) for name in plan.mutable}
    nothing = _mould(cls).nothing
    if holds_nothing(record):
        state.references, state.members, state.keys = nothing
        return state
    if plan.references:
        keys = record.references
        state.references = {name: None if (key := keys.get(name)) is None else records[key].version for name in plan.references}
    if _has_no_members(record):
        state.members, state.keys = nothing[1:]
        return state
    state.members = {
        name: ([objects[key] for key in members], [records[key].version for key in members], len(members))
        for name, members in record.members.items()
    }
    if record.keys:
        state.keys = {field.name: tuple(record.keys[field.name]) for field in plan.collections if field.shape is dict}
    return state
