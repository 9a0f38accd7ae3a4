"""Whether the plain values of an entity are what their fields take: `__dict__` and `model_construct` ask nobody.

This is asked of every version before it is written. Of most values their class alone tells, of most others one comparison;
pydantic is asked about what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import cache, partial
from math import isfinite
from operator import ge, gt, itemgetter, le, lt
from types import UnionType
from typing import Any, Union, get_args, get_origin
from uuid import UUID

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, AllowInfNan, AwareDatetime, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from minference.ecs.entity import Entity, plan_of
from minference.ecs.exactness import is_doubtful, mentions_doubtful
from minference.ecs.identity import in_utc
from minference.ecs.plan import OnErase
from minference.ecs.values import brief, is_same, stored_config, stored_type
from minference.errors import UnstorableValue

_TYPED_DICT: Any = TypedDict
_IDENTITY: dict[str, Any] = {"ecs_id": UUID, "lineage_id": UUID, "created_at": AwareDatetime}
_TELLING = (str, int, float, bool, bytes, UUID, datetime, type(None))
"""Classes every object of which a field takes that names the class, and leaves as it is."""

_Check = Callable[[Any], bool]


def verify_plain(cls: type[Entity], values: Mapping[str, Any]) -> tuple[str, ...]:
    """Make sure that those values that cannot change in place are what their fields take.

    Returns the fields of whose values it is still to be proved that they are read back as they are.

    Raises:
        UnstorableValue: One is not, or would be read back as something else.
    """
    fields = _fields(cls)
    held = fields.of(values)
    classes = tuple(map(type, held))
    if classes in fields.fitting or fields.fit(classes):
        for at, check in fields.checks:
            value = held[at]
            if value is not None and not check(value):
                break
        else:
            return fields.unproved
    _ask_pydantic(cls, fields, held)
    return fields.doubtful


@dataclass(slots=True)
class _Fields:
    """The fields of a class whose values cannot change in place, those of the identity included."""

    names: tuple[str, ...]
    of: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    taken: tuple[frozenset[type], ...]
    """The classes that each field takes for sure, if the value also passes its check."""
    checks: tuple[tuple[int, _Check], ...]
    """What values of some fields have to pass unless they are None."""
    adapter: TypeAdapter[Any]
    doubtful: tuple[str, ...]
    """Fields not all of whose values are read back as they are."""
    unproved: tuple[str, ...]
    """Those of them that may hold such a value although it is of a class that they take, and passes the check."""
    fitting: set[tuple[type, ...]] = field(default_factory=set)
    """Classes of values, field by field, that were found to be among those taken."""

    def fit(self, classes: tuple[type, ...]) -> bool:
        """Whether these are classes that the fields take."""
        if not all(each in taken for each, taken in zip(classes, self.taken, strict=True)):
            return False
        self.fitting.add(classes)
        return True


def _ask_pydantic(cls: type[Entity], fields: _Fields, held: Sequence[Any]) -> None:
    given = dict(zip(fields.names, held, strict=True))
    try:
        found = fields.adapter.validator.validate_python(given, strict=False, by_alias=False, by_name=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        reason = f"{brief(problem['input'])} is none for it ({problem['msg']})"
        raise UnstorableValue(cls.__kind__, str(problem["loc"][0]), reason) from error
    for name, value in given.items():
        # Which `==` does not tell: 1 is no flag, and no float. Of a `Moment` the clock is not kept.
        if not is_same(found[name], value) and not (type(value) is datetime and found[name] == value):
            raise UnstorableValue(cls.__kind__, name, f"it would be read back as {brief(found[name])}, not as {brief(value)}")


@cache
def _fields(cls: type[Entity]) -> _Fields:
    plan = plan_of(cls)
    plain = {name: cls.model_fields[name] for name in plan.values}
    types = _IDENTITY | {name: stored_type(cls, name) for name in plain}
    held = _TYPED_DICT(f"{cls.__name__}Plain", types)
    held.__pydantic_config__ = stored_config(cls)
    marks = {name: tuple(each.metadata) for name, each in plain.items()} | {"created_at": (AwareDatetime,)}
    annotations = {"ecs_id": UUID, "lineage_id": UUID, "created_at": datetime} | {name: each.annotation for name, each in plain.items()}
    checks = {name: _checks(annotation, marks.get(name, ())) for name, annotation in annotations.items()}
    return _Fields(
        names=tuple(types),
        of=itemgetter(*types),  # there are several: also those of the identity
        taken=tuple(_taken(annotation) if checks[name] is not None else frozenset[type]() for name, annotation in annotations.items()),
        checks=tuple((at, check) for at, check in enumerate(map(_all_of, checks.values())) if check is not None),
        adapter=TypeAdapter(held),
        doubtful=(*plan.inexact, *plan.doubtful),
        unproved=tuple(name for name in plan.inexact if not _is_any_length(annotations[name])),
    )


def _taken(annotation: Any) -> frozenset[type]:
    """Classes of the values that such a field takes if they pass its checks."""
    plain = [part for part in _parts(annotation) if part in _TELLING or (isinstance(part, type) and issubclass(part, Enum))]
    return frozenset((*plain, tuple) if _is_any_length(annotation) else plain)


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _is_any_length(annotation: Any) -> bool:
    return get_origin(annotation) is tuple and get_args(annotation)[1:] == (Ellipsis,)


def _checks(annotation: Any, marks: Sequence[object]) -> list[_Check] | None:
    """What tells of a value of one of the classes taken that the field takes it, and reads it back; `None` if only pydantic knows."""
    checks: list[_Check] = [_is_empty] if _is_any_length(annotation) else []
    for mark in marks:
        match mark:
            case OnErase() | AllowInfNan(allow_inf_nan=True):
                continue
            case Ge():
                checks.append(partial(le, mark.ge))
            case Gt():
                checks.append(partial(lt, mark.gt))
            case Le():
                checks.append(partial(ge, mark.le))
            case Lt():
                checks.append(partial(gt, mark.lt))
            case AllowInfNan():
                checks.append(isfinite)
            case AfterValidator(func=validator) if validator is in_utc:
                checks.append(_is_in_utc)
            case _ if mark is AwareDatetime:
                checks.append(_is_in_utc)
            case _:
                return None
    if _is_in_utc not in checks and mentions_doubtful(annotation) and not _is_between_ints(marks):
        checks.append(_is_beyond_doubt)
    return list(dict.fromkeys(checks))


def _is_between_ints(marks: Sequence[object]) -> bool:
    """Whether the constraints leave only ints that are read back."""
    low = [mark.ge if isinstance(mark, Ge) else mark.gt for mark in marks if isinstance(mark, Ge | Gt)]
    high = [mark.le if isinstance(mark, Le) else mark.lt for mark in marks if isinstance(mark, Le | Lt)]
    return all(any(isinstance(end, int) and not is_doubtful(end) for end in ends) for ends in (low, high))


def _all_of(checks: Sequence[_Check] | None) -> _Check | None:
    match checks:
        case None | []:
            return None
        case [one]:
            return one
        case [one, other]:
            return lambda value: one(value) and other(value)
        case _:
            return lambda value: all(check(value) for check in checks)


def _is_beyond_doubt(value: Any) -> bool:
    return not is_doubtful(value)


def _is_empty(value: Any) -> bool:
    return not value


def _is_in_utc(value: Any) -> bool:
    return value.tzinfo is UTC
