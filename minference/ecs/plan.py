"""What each field of an entity class is: a plain value, a reference, or an ordered or keyed collection of entities."""

from __future__ import annotations

import types
import typing
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypeAliasType, is_typeddict

from minference.ecs.blobs import Blob
from minference.ecs.exactness import is_exact, mentions_doubtful
from minference.errors import MisplacedMark, UnsupportedConfig, UnsupportedField

if TYPE_CHECKING:
    from minference.ecs.entity import Entity

_ALIASES: tuple[Any, ...] = (TypeAliasType, getattr(typing, "TypeAliasType", TypeAliasType))
"""`type Name = ...` of Python 3.12 and its backport."""
IDENTITY_FIELDS = ("ecs_id", "lineage_id", "parent_id", "created_at", "live_id")

_IMMUTABLE = (str, int, float, bool, bytes, UUID, datetime, date, time, timedelta, Decimal, type(None), Enum, Blob)


@dataclass(frozen=True, slots=True)
class BackRef:
    """Marks a field as the weak inverse of `field` of the referenced entity.

    It is not stored, not compared, not dumped and not copied, and filled when the referenced entity is loaded; `None` until
    then, so annotate it as `Annotated[Holder | None, BackRef("field")] = None`.
    """

    field: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The holder is validated like any field, and dumped as None: it would hold what is being dumped."""
        nothing = core_schema.plain_serializer_function_ser_schema(_nothing, return_schema=core_schema.none_schema())
        return core_schema.nullable_schema(handler(source), serialization=nothing)


def _nothing(_value: Any) -> None:
    return None


class OnErase(Enum):
    """Marks what happens at an erasure to the entities that a field holds, or to the entity whose field it is.

    It stands in the annotation: `history: Annotated[list[ChatMessage], OnErase.too]`. Entities in a field without a mark are
    erased with whoever holds them if nobody else does.
    """

    too = "too"
    """What the field holds is erased as well, whoever else holds it."""
    stays = "stays"
    """What the field holds is not erased."""
    follows = "follows"
    """The field is the id of a lineage or of a version: when that is erased, the entity is as well."""
    uncaches = "uncaches"
    """The field is the digest of a request: when the entity is erased, so are cached replies to that request."""


@dataclass(frozen=True, slots=True)
class CollectionField:
    """A field that holds entities in order."""

    name: str
    shape: type[list[Any]] | type[tuple[Any, ...]] | type[dict[Any, Any]]

    def members(self, value: Any) -> list[Entity]:
        """The entities of a field value, in order."""
        return list(value.values()) if self.shape is dict else list(value)

    def build(self, members: list[Any], keys: list[str] | None) -> Any:
        """The field value that holds these entities."""
        return dict(zip(keys or (), members, strict=True)) if self.shape is dict else self.shape(members)


@dataclass(frozen=True, slots=True)
class EntityPlan:
    """The compiled fields of one entity class, identity fields left out."""

    values: tuple[str, ...]
    """Fields with plain values that cannot change in place."""
    mutable: tuple[str, ...]
    """Fields with plain values that can (dicts, lists, models): compared in the form in which they are stored."""
    references: tuple[str, ...]
    """Fields that hold one entity or None."""
    collections: tuple[CollectionField, ...]
    keyed: tuple[str, ...]
    """Those of the collections that have keys."""
    types: dict[str, tuple[type[Entity], ...]]
    """The classes that each reference, collection and back-reference allows."""
    back_references: tuple[tuple[str, str], ...]
    """Weak inverses (own field, field of the other): neither stored nor compared."""
    on_erase: dict[str, OnErase]
    """The marks of those fields that have one."""
    inexact: tuple[str, ...]
    """Those of `values` whose annotation does not say that what is written can be read back: each value has to be tried."""
    doubtful: tuple[str, ...]
    """Others of `values`, of whose annotation a few values cannot be read back."""
    changes_in_place: bool
    """Whether an object can become another one without any assignment to it."""

    def accepts(self, name: str, value: Any) -> bool:
        """Whether `value` has the shape and the classes that an entity field asks for."""
        if name in self.references or any(name == own for own, _ in self.back_references):
            return value is None or self.admits(name, value)
        field = next((each for each in self.collections if each.name == name), None)
        return field is not None and isinstance(value, field.shape) and all(self.admits(name, each) for each in field.members(value))

    def admits(self, name: str, child: object) -> bool:
        """Whether an entity field may hold this: an entity of one of its classes, or one whose class is not known."""
        return isinstance(child, self.types[name]) or is_opaque(child)

    def children(self, entity: Entity) -> Sequence[Entity]:
        """Every entity that this one holds, in field order, repetitions included."""
        if not self.types:
            return ()
        data = entity.__dict__
        found = [child for name in self.references if (child := data[name]) is not None]
        for field in self.collections:
            value = data[field.name]
            found.extend(value.values() if field.shape is dict else value)
        return found


def compile_plan(cls: type[Entity]) -> EntityPlan:
    """Sort the fields of `cls`.

    Raises:
        UnsupportedField: A field nests entities in a shape whose versions could not be tracked.
        UnsupportedConfig: Objects of the class could hold values that are no fields.
    """
    if cls.model_config.get("extra") == "allow":
        raise UnsupportedConfig(cls.__name__)
    values: list[str] = []
    mutable: list[str] = []
    references: list[str] = []
    types: dict[str, tuple[type[Entity], ...]] = {}
    collections: list[CollectionField] = []
    back_references: list[tuple[str, str]] = []
    on_erase: dict[str, OnErase] = {}
    for name, field in cls.model_fields.items():
        if name in IDENTITY_FIELDS:
            continue
        if inverse := next((mark for mark in field.metadata if isinstance(mark, BackRef)), None):
            back_references.append((name, inverse.field))
            types[name] = _entities(field.annotation)
            continue
        if field.exclude:
            raise UnsupportedField(cls.__name__, name, field.annotation, "is excluded from dumps, so its value would be lost")
        kind = _classify(cls.__name__, name, field.annotation)
        for mark in field.metadata:
            if isinstance(mark, OnErase):
                on_erase[name] = _fitting(cls.__name__, name, field.annotation, mark, is_value=kind == "value")
        match kind:
            case "value":
                (values if _is_immutable(field.annotation) else mutable).append(name)
            case "reference":
                references.append(name)
                types[name] = _entities(field.annotation)
            case shape:
                collections.append(CollectionField(name, shape))
                types[name] = _entities(get_args(_strip(field.annotation))[1 if shape is dict else 0])
    fields = {name: cls.model_fields[name] for name in values}
    inexact = tuple(name for name, field in fields.items() if not is_exact(field.annotation, field.metadata))
    doubtful = tuple(name for name, field in fields.items() if name not in inexact and mentions_doubtful(field.annotation))
    keyed = tuple(field.name for field in collections if field.shape is dict)
    held = (tuple(references), tuple(collections), keyed, types, tuple(back_references))
    changes_in_place = bool(mutable) or any(field.shape is not tuple for field in collections)
    return EntityPlan(tuple(values), tuple(mutable), *held, on_erase, inexact, doubtful, changes_in_place)


_MARKED: dict[OnErase, tuple[type, str]] = {OnErase.follows: (UUID, "UUID or UUID | None"), OnErase.uncaches: (str, "str or str | None")}
"""What the fields hold that marks are for, other than entities."""


def _fitting(owner: str, name: str, annotation: Any, mark: OnErase, *, is_value: bool) -> OnErase:
    wanted, said = _MARKED.get(mark, (None, "entities"))
    fits = all(arm is wanted or arm is type(None) for arm in arms(annotation))
    if is_value != (wanted is not None) or (is_value and not fits):
        raise MisplacedMark(owner, name, annotation, str(mark), said)
    return mark


def _classify(owner: str, name: str, annotation: Any) -> Any:
    if not _mentions_entity(annotation):
        return "value"
    plain = _strip(annotation)
    if all(_is_entity(arm) or arm is type(None) for arm in arms(plain)):
        return "reference"
    origin, arguments = get_origin(plain), get_args(plain)
    if origin is list and _only_entities(arguments[0]):
        return list
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis and _only_entities(arguments[0]):
        return tuple
    if origin is dict and _strip(arguments[0]) is str and _only_entities(arguments[1]):
        return dict
    raise UnsupportedField(owner, name, annotation, "nests entities where their versions cannot be tracked")


def _entities(annotation: Any) -> tuple[type[Entity], ...]:
    return tuple(arm for arm in arms(annotation) if arm is not type(None))


def _strip(annotation: Any) -> Any:
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, _ALIASES) and _mentions_entity(annotation):
            annotation = annotation.__value__
        else:
            return annotation


def arms(annotation: Any) -> list[Any]:
    """The alternatives of a union, nested ones included; the annotation itself if it is none."""
    plain = _strip(annotation)
    if get_origin(plain) in (Union, types.UnionType):
        return [arm for part in get_args(plain) for arm in arms(part)]
    return [plain]


def is_opaque(value: object) -> bool:
    """Whether this stands for an entity whose class is not known, so that it may be anywhere."""
    from minference.ecs.entity import Entity

    return isinstance(value, Entity) and type(value).__opaque__


def _is_entity(annotation: Any) -> bool:
    from minference.ecs.entity import Entity

    return isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, Entity)


def _only_entities(annotation: Any) -> bool:
    return all(_is_entity(arm) for arm in arms(annotation))


def _mentions_entity(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if _is_entity(annotation):
        return True
    parts = [*get_args(annotation), *_parts(get_origin(annotation) or annotation)]
    if parts and isinstance(annotation, Hashable):
        if annotation in seen:
            return False
        seen |= {annotation}
    return any(_mentions_entity(part, seen) for part in parts)


def _parts(kind: Any) -> list[Any]:
    """The annotations of what a class holds, or what an alias stands for."""
    if isinstance(kind, _ALIASES):
        return [kind.__value__]
    if not isinstance(kind, type):
        return []
    if issubclass(kind, BaseModel):
        return [field.annotation for field in kind.model_fields.values()]
    if is_dataclass(kind) or is_typeddict(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        with suppress(NameError):  # of a class inside of a function only pydantic knows where it was defined
            return list(get_type_hints(kind, include_extras=True).values())
    return []


def _is_immutable(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    for arm in arms(annotation):
        origin, arguments = get_origin(arm), get_args(arm)
        if origin is Literal:
            continue
        if origin in (tuple, frozenset):
            if not all(part is Ellipsis or _is_immutable(part, seen) for part in arguments):
                return False
            continue
        if not isinstance(arm, type):
            return False
        if issubclass(arm, BaseModel):
            inside = seen | {arm}
            if arm not in seen and not (
                arm.model_config.get("frozen") and all(_is_immutable(f.annotation, inside) for f in arm.model_fields.values())
            ):
                return False
            continue
        if not issubclass(arm, _IMMUTABLE):
            return False
    return True
