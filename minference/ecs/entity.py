"""`Entity`: a pydantic object whose every saved state is an immutable version."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from functools import cache
from inspect import signature
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar
from uuid import UUID
from warnings import warn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from minference.ecs.assigning import assign_refused
from minference.ecs.cold import thaw, thaw_fields
from minference.ecs.defaults import own_defaults
from minference.ecs.evolution import Evolution, H, Hook, declare, hook_into, hooks_from
from minference.ecs.identity import Moment, random_uuid, utc_now, uuid7
from minference.ecs.plan import IDENTITY_FIELDS, EntityPlan, OnErase, compile_plan
from minference.ecs.recording import note_constructed
from minference.ecs.sameness import own_equality, strictness
from minference.ecs.spelling import explained, without_name
from minference.errors import DuplicateKind, EntityError, FrozenSnapshot, OpaqueVersion

if TYPE_CHECKING:
    from minference.ecs.comparing import FieldValues
    from minference.ecs.state import State

E = TypeVar("E", bound="Entity")

_KINDS: dict[str, type[Entity]] = {}
"""By kind, former ones included."""


class Entity(BaseModel):
    """Base of everything that has versions.

    Constructing, validating and editing an entity does no I/O. What is held in memory is *warm*: mutable, validated
    on assignment. `register` turns what changed into new immutable (*cold*) versions, while the object stays the same.

    A subclass is stored under a short name, its *kind*: the class name in snake_case, or `class Note(Entity, kind="my_note")`.
    What it was like before, so that old versions can be read, it says in the same place: `version=` (the schema version,
    see `upgrade`), `renamed={"old": "new"}`, `removed=("old",)`, and `aliases=("former_kind",)`.
    """

    model_config = ConfigDict(validate_assignment=True, extra="forbid", protected_namespaces=())
    __slots__ = ("__ecs_state__", "__weakref__")
    __kind__: ClassVar[str] = "entity"
    __evolution__: ClassVar[Evolution] = Evolution()
    __opaque__: ClassVar[bool] = False
    """Whether objects of the class stand for entities whose own class is not known."""

    ecs_id: UUID = Field(default_factory=uuid7, frozen=True)
    """Names one version and never another. Time-ordered (UUIDv7)."""
    lineage_id: UUID = Field(default_factory=uuid7, frozen=True)
    """Shared by all versions of one logical object."""
    parent_id: UUID | None = Field(default=None, frozen=True)
    """The version that this one was made from; `None` for the first."""
    created_at: Moment = Field(default_factory=utc_now, frozen=True)
    """When this version came to be; aware, UTC."""
    live_id: UUID = Field(default_factory=random_uuid, frozen=True)
    """Names the object in memory: two warm copies of one version differ."""

    def __init_subclass__(
        cls,
        kind: str | None = None,
        version: int | None = None,
        renamed: Mapping[str, str] | None = None,
        removed: Collection[str] = (),
        aliases: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        """The arguments are handled in `__pydantic_init_subclass__`, when the fields are known."""
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        kind: str | None = None,
        version: int | None = None,
        renamed: Mapping[str, str] | None = None,
        removed: Collection[str] = (),
        aliases: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.__eq__ is not Entity.__eq__:
            own_equality.add(cls)
        cls.__kind__ = kind or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
        fields, bases = cls.model_fields.keys() - set(IDENTITY_FIELDS), _evolutions(cls)
        cls.__evolution__ = declare(cls.__name__, fields, bases, version=version, renamed=renamed or {}, removed=removed, aliases=aliases)
        for name in (cls.__kind__, *aliases):
            holder = _KINDS.get(name)
            if holder is not None and holder.__module__ != cls.__module__:
                raise DuplicateKind(name, _full_name(holder), _full_name(cls))
        own_defaults(cls)  # also if it is completed later: until then, other classes may have taken over its fields
        if cls.__pydantic_complete__:
            plan_of(cls)
        _KINDS.update(dict.fromkeys((cls.__kind__, *aliases), cls))

    @classmethod
    def __pydantic_on_complete__(cls) -> None:
        super().__pydantic_on_complete__()
        if own_defaults(cls):
            cls.model_rebuild(force=True)

    if not TYPE_CHECKING:  # signatures as those of BaseModel: who sees `__setattr__` takes every misspelt name for one that exists

        def __init__(self, /, *values: Any, **data: Any) -> None:
            """Validates like `BaseModel`; a block that records what is constructed inside learns of the object."""
            if values:
                raise without_name(type(self), values)
            write_state(self, None)
            try:
                made = self.__pydantic_validator__.validate_python(thaw_fields(data), self_instance=self)
            except ValidationError as error:
                raise explained(error, type(self)) from None
            if made is not self:
                warn(f"a validator of {type(self).__name__} returns another value than self, which is ignored", stacklevel=2)
            note_constructed(self)

        # What pydantic makes the signatures of classes of: nothing is to be passed without a name.
        __init__.__signature__ = signature(BaseModel.__init__)
        # Pydantic need not call it for members of what it validates: those are found in what holds them.
        __init__.__pydantic_base_init__ = True

        @classmethod
        def model_validate(cls, obj: Any, **options: Any) -> Self:
            return _noted(super().model_validate(thaw(obj), **options), obj)

        @classmethod
        def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
            return _noted(super().model_validate_json(json_data, **options), None)

        @classmethod
        def model_construct(cls, _fields_set: set[str] | None = None, **values: Any) -> Self:
            return _noted(super().model_construct(_fields_set, **thaw(values)), None)

        def __setattr__(self, name: str, value: Any) -> None:
            before, value = self.__dict__, thaw(value)
            if (state := state_of(self)) is not None:
                if state.cold:
                    raise frozen(self, name)
                state.touch(before)
            if not self.model_config.get("validate_assignment"):
                # Pydantic would assign in place; the version before needs its values kept.
                object.__setattr__(self, "__dict__", dict(before))
            try:
                super().__setattr__(name, value)
            except ValidationError as error:
                object.__setattr__(self, "__dict__", before)
                assign_refused(self, plan_of(type(self)), name, value, error)
            except BaseException:
                # A validator that runs after the assignment may refuse it: pydantic then leaves the new value in place.
                object.__setattr__(self, "__dict__", before)
                raise

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"fields of {type(self).__name__} cannot be deleted: assign another value to {name!r}")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if strictness.on:
            return False
        return isinstance(other, Entity) and self.ecs_id == other.ecs_id and self.live_id == other.live_id

    def __hash__(self) -> int:
        return hash(self.live_id)

    @recursive_repr()
    def __repr__(self) -> str:
        return super().__repr__()

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        from minference.ecs.showing import shown

        collections = {field.name for field in plan_of(type(self)).collections}
        yield "version", str(self.ecs_id)
        for name, value in super().__repr_args__():
            if name not in IDENTITY_FIELDS:
                yield name, shown(value) if name in collections else value

    def __copy__(self) -> Self:
        shallow = super().__copy__()
        if (state := state_of(self)) is not None and state.cold:
            object.__setattr__(shallow, "__dict__", thaw(shallow.__dict__))
        return _renewed(shallow)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A new logical object with copies of everything below. Its back-references stay empty, unless what they name is copied too."""
        memo = {} if memo is None else memo
        copied = memo[id(self)] = type(self).__new__(type(self))
        weak = {name for name, _ in plan_of(type(self)).back_references}
        data = {name: memo.get(id(value)) if name in weak else deepcopy(value, memo) for name, value in self.__dict__.items()}
        object.__setattr__(copied, "__dict__", data)
        for name in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
            object.__setattr__(copied, name, deepcopy(getattr(self, name), memo))
        return _renewed(copied)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A new logical object with these values: a copy has an identity and a lineage of its own, and can change."""
        return _renewed(super().model_copy(update=update and thaw({**update}), deep=deep))

    def get_sub_entities(self) -> list[Entity]:
        """Every entity reachable from this one, each once, itself left out; nearest first."""
        found: dict[int, Entity] = {}
        level: list[Entity] = [self]
        while level:
            following: list[Entity] = []
            for entity in level:
                for child in plan_of(type(entity)).children(entity):
                    if id(child) not in found and child is not self:
                        found[id(child)] = child
                        following.append(child)
            level = following
        return list(found.values())

    def has_modifications(self, other: Entity) -> bool:
        """Whether this entity and everything below it hold other values than `other`, usually a stored version of it.

        Raises:
            DifferentClasses: They are of different classes.
        """
        from minference.ecs.comparing import compare_fields

        return compare_fields(other, self)[0]

    def modified_entities(self, other: Entity) -> list[Entity]:
        """What is not as in `other`: entities of this tree that differ or are new, and those that reach one of them; this one first.

        Raises:
            DifferentClasses: They are of different classes.
        """
        from minference.ecs.comparing import modified_entities

        return modified_entities(other, self)

    def compare_entity_fields(self, other: Entity) -> tuple[bool, dict[str, FieldValues]]:
        """Whether `other` differs, and by field name the `old` value, from here, and the `new` one, from `other`.

        `diff_entities(self, other)` says in detail what changed inside the fields.

        Raises:
            DifferentClasses: They are of different classes.
        """
        from minference.ecs.comparing import compare_fields

        return compare_fields(self, other)

    @property
    def erased(self) -> bool:
        """Whether this was loaded from a version whose content was erased. What was loaded before stays as it is, and says False."""
        state = state_of(self)
        return state is not None and state.erased

    @classmethod
    def erased_values(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """What the plain values of a version become when it is erased: here, empty ones (see `empty_values`).

        Ids that are marked `OnErase.follows` stay. A class that knows which other values are no content overrides this, and
        keeps those. Pure, and given its own result it gives the same again.

        Raises:
            NoEmptyValue: No empty value fits the annotation of a field.
        """
        from minference.ecs.erasing import empty_values

        ids = {name: values[name] for name, mark in plan_of(cls).on_erase.items() if mark is OnErase.follows}
        return empty_values(cls) | ids

    def fork(self) -> Self:
        """Make the next version of what changed here, as `submit` of the current storage does, and return this object.

        Returns at once, standing on the new version; `await storage.flush()` waits until it is durable.
        """
        from minference.ecs.registry import current_storage

        current_storage().submit(self)
        return self

    @classmethod
    def upgrade(cls, *, from_version: int) -> Callable[[H], H]:
        """Decorates a function from the stored plain values of one schema version to those of the next, as JSON data.

            class Note(Entity, version=2): ...

            @Note.upgrade(from_version=1)
            def stars_out_of_five(data: dict[str, Any]) -> dict[str, Any]: ...

        It is called for versions written then, when they are read, and may change and return the dict that it is given.

        Raises:
            InvalidEvolution: The class is in no later version, or has a hook from this one.
        """
        return hook_into(cls.__name__, cls.__evolution__, from_version)

    @classmethod
    async def get(cls, ecs_id: UUID) -> Self:
        """A warm copy of one version, from the current storage.

        Raises:
            VersionNotFound: No version has this id.
            WrongEntityType: The version is of another class.
            NoStorage: No storage is open in this context.
        """
        from minference.ecs.registry import current_storage

        return await current_storage().get(cls, ecs_id)


def _renewed(copied: E) -> E:
    """The object with an identity and a lineage of its own."""
    fresh = {"ecs_id": uuid7(), "lineage_id": uuid7(), "parent_id": None, "created_at": utc_now(), "live_id": random_uuid()}
    object.__setattr__(copied, "__dict__", {**copied.__dict__, **fresh})
    note_constructed(copied)
    return copied


def _noted(made: E, source: object) -> E:
    if made is not source:
        note_constructed(made)
    return made


def state_of(entity: Entity) -> State | None:
    """What is known of the version that the object stands on; `None` if it was never stored or loaded."""
    try:
        return _READ_STATE(entity)
    except AttributeError:
        # Pydantic makes members without calling `__init__`. An empty slot is slow to ask, and is asked often.
        write_state(entity, None)
        return None


# The slot itself: a plain attribute that is not set yet would be searched for in pydantic's `__getattr__`, in Python.
_READ_STATE: Callable[[Entity], State | None] = vars(Entity)["__ecs_state__"].__get__
write_state: Callable[[Entity, State | None], None] = vars(Entity)["__ecs_state__"].__set__
"""Note on what an object stands from now on."""


def frozen(entity: Entity, name: str) -> EntityError:
    """Why a cold object does not let itself be assigned to."""
    if type(entity).__opaque__:
        return OpaqueVersion(entity.__dict__["kind"], entity.ecs_id, name, f"so {name!r} cannot change")
    return FrozenSnapshot(type(entity).__name__, entity.ecs_id, name)


@cache
def plan_of(cls: type[Entity]) -> EntityPlan:
    """The compiled fields of an entity class.

    Raises:
        UnsupportedField: A field nests entities in a shape whose versions could not be tracked.
    """
    if not cls.__pydantic_complete__:
        cls.model_rebuild()
    return compile_plan(cls)


def kind_to_class(kind: str) -> type[Entity] | None:
    """The class that is or was stored under this name, if the program has defined it."""
    return _KINDS.get(kind)


def kinds_of(cls: type[Entity]) -> tuple[str, ...]:
    """Every name under which versions of the class itself are stored, the present one first."""
    return (cls.__kind__, *cls.__evolution__.aliases)


def upgrade_hooks(cls: type[Entity], from_version: int) -> list[tuple[int, Hook]]:
    """The hooks for versions of a class that were written in an older schema version, in order; see `hooks_from`."""
    return list(hooks_from([cls.__evolution__, *_evolutions(cls)], from_version)) if from_version < cls.__evolution__.version else []


def _evolutions(cls: type[Entity]) -> list[Evolution]:
    """Those of the base classes, nearest first."""
    return [base.__dict__["__evolution__"] for base in cls.__mro__[1:] if "__evolution__" in base.__dict__]


def _full_name(cls: type[Entity]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
