"""Fields against columns: each field has exactly one home, each column a source."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Literal, get_args, get_origin
from uuid import UUID

from sqlalchemy import BigInteger, Column, Integer, Table

from minference.ecs.entity import Entity, plan_of
from minference.ecs.plan import CollectionField, arms
from minference.errors import TableMismatch
from minference.storage.sql.converting import FieldConversion, RowConversion, Shown
from minference.storage.sql.mapping import Mapping, ValueColumn
from minference.storage.sql.types import Kind, kind_of

_KINDS: tuple[tuple[type, Kind], ...] = (
    (bool, Kind.boolean),
    (str, Kind.text),
    (int, Kind.integer),
    (float, Kind.real),
    (datetime, Kind.time),
    (UUID, Kind.uuid),
    (bytes, Kind.bytes),
)
_EXTRA = "extra"
_VERSIONS = "entity_version"


@dataclass(frozen=True)
class Home:
    """A table as one mapped class sees it."""

    entity: type[Entity]
    model: Any
    """The mapped class."""
    table: Table
    columns: dict[str, Column[Any]]
    attributes: dict[str, str]
    """Of the mapped class, by column."""
    rename: Dict[str, str]
    constants: dict[str, object]
    shared: bool
    """Whether other classes use the table as well."""
    private: frozenset[str]
    """Columns of a shared table that the other classes leave empty."""
    encoded: tuple[str, ...]
    """Fields that the mapped class converts with `encode` and `decode`."""
    encodes: bool
    """Whether it overrides either of the two."""
    converts_rows: bool
    """Whether it overrides `from_entity` or `to_entity`, so that fields and columns need not be alike."""

    @property
    def name(self) -> str:
        """Of the mapped class."""
        return str(self.model.__name__)


@dataclass
class _Match:
    """A matching in progress."""

    cls: type[Entity]
    home: Home
    homes: Dict[type[Entity], Home]
    whole: bool
    problems: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def column_of(self, name: str, column: str) -> Column[Any] | None:
        """The column, if the table has it and no other field uses it."""
        if column not in self.home.columns or column in ("id", *self.home.constants):
            return None
        if column in self.used:
            self.problems.append(f"field {name!r} shares column {column!r} with another field")
        self.used.add(column)
        return self.home.columns[column]

    def missing(self, name: str, *columns: str) -> None:
        """Note that a field has no column. The fields that a subclass adds need none."""
        if self.whole:
            self.problems.append(f"field {name!r} has no column {' and '.join(map(repr, columns))}")


def match(cls: type[Entity], home: Home, homes: Dict[type[Entity], Home], *, whole: bool) -> Mapping:
    """Find the home of every field of `cls`; `whole`: the table is that of this class, not of a base class.

    Raises:
        TableMismatch: A field has no column, a column no field, or they do not fit; lists everything.
    """
    plan, run = plan_of(cls), _Match(cls, home, homes, whole)
    plain = (*plan.values, *plan.mutable)
    values = () if home.converts_rows else tuple(filter(None, (_match_value(run, name) for name in plain if name not in home.encoded)))
    encoded = _match_encoded(run)
    references = dict(filter(None, (_match_reference(run, name) for name in plan.references)))
    collections = dict(filter(None, (_match_collection(run, each) for each in plan.collections)))
    has_extra = _EXTRA in home.columns and _EXTRA not in run.used
    conversion = _match_rows(run) if home.converts_rows else _of_fields(run, encoded)
    held = {value.field for value in values}.union(conversion.fields if conversion is not None else ())
    packed = tuple(name for name in plain if name not in held)
    if packed and not has_extra and not run.problems:
        run.problems.append(f"fields {', '.join(map(repr, packed))} have no column, and there is no JSON column {_EXTRA!r} for them")
    if has_extra and (kind_of(home.columns[_EXTRA].type) is not Kind.json or not home.columns[_EXTRA].nullable):
        run.problems.append(f"column {_EXTRA!r} is for fields of subclasses: make it Json and nullable")
    run.problems.extend(f"column {name!r} is empty for the other classes of the table: make it nullable" for name in _not_null(home))
    spare = home.columns.keys() - run.used - {"id", *home.constants} - ({_EXTRA} if has_extra else set())
    run.problems.extend(f"column {name!r} holds no field of {cls.__name__}" for name in sorted(spare))
    if run.problems:
        raise TableMismatch(home.name, cls.__name__, run.problems)
    return Mapping(
        cls=cls,
        table=home.table,
        constants=home.constants,
        values=values,
        references=references,
        collections=collections,
        packed_column=_EXTRA if has_extra else None,
        packed=packed,
        links=tuple(name for name in plan.references if name not in references),
        sequences=tuple(each.name for each in plan.collections if each.name not in collections),
        mutable=frozenset(plan.mutable),
        keyed=frozenset(each.name for each in plan.collections if each.shape is dict),
        model=home.model,
        conversion=conversion,
    )


def _match_encoded(run: _Match) -> dict[str, Column[Any]]:
    """The columns of the fields that the model encodes; they may be of any kind."""
    home, plan = run.home, plan_of(run.cls)
    if run.whole and home.encodes and not home.encoded:
        run.problems.append("it overrides encode() or decode(), and __encoded__ does not say for which fields")
    if run.whole and home.encoded and not home.encodes:
        run.problems.append("__encoded__ names fields, and neither encode() nor decode() is overridden")
    found: dict[str, Column[Any]] = {}
    for name in home.encoded:
        target = home.rename.get(name, name)
        if name not in (*plan.values, *plan.mutable):
            run.problems.append(f"__encoded__ names {name!r}, which is no field with a plain value")
        elif (column := run.column_of(name, target)) is None:
            run.missing(name, target)
        else:
            found[name] = column
    run.problems.extend(_unfit(found.values()))
    return {} if home.converts_rows else found


def _unfit(columns: Iterable[Column[Any]]) -> list[str]:
    unknown = [each for each in columns if kind_of(each.type) is None]
    return [f"column {each.name!r} is of type {each.type!r}, in which nothing can be stored" for each in unknown]


def _of_fields(run: _Match, encoded: Dict[str, Column[Any]]) -> FieldConversion | None:
    return FieldConversion(run.cls, run.home.model, tuple(encoded), tuple(encoded.values())) if encoded else None


def _match_rows(run: _Match) -> RowConversion:
    """Everything but keys is the model's business; fields and columns that are alike are what its base class converts."""
    home, plan = run.home, plan_of(run.cls)
    fields = tuple(name for name in (*plan.values, *plan.mutable) if name in home.entity.model_fields)
    encoded = {home.rename.get(name, name) for name in home.encoded}
    taken = {"id", _EXTRA, *home.constants, *(run.used - encoded)}
    columns = {name: column for name, column in home.columns.items() if name not in taken}
    run.problems.extend(_unfit(columns.values()))
    run.used.update(columns)
    alike = tuple(Shown(name, columns[target]) for name in fields if (target := home.rename.get(name, name)) in columns)
    fitting = tuple(each for each in alike if each.field in home.encoded or _fits(run.cls, each.field, each.column))
    attributes = tuple(home.attributes[name] for name in columns)
    return RowConversion(run.cls, home.model, fields, tuple(columns.values()), home.entity, attributes, fitting)


def _fits(cls: type[Entity], name: str, column: Column[Any]) -> bool:
    return kind_of(column.type) in (kind_of_annotation(cls.model_fields[name].annotation), Kind.json)


def _not_null(home: Home) -> list[str]:
    return sorted(name for name in home.private if not home.columns[name].nullable)


def _match_value(run: _Match, name: str) -> ValueColumn | None:
    target = run.home.rename.get(name, name)
    annotation = run.cls.model_fields[name].annotation
    if target == _EXTRA and not _is_own_extra(run, name):
        return None
    column = run.column_of(name, target)
    if column is None:
        run.missing(name, target)
        return None
    if not _fits(run.cls, name, column):
        wanted = kind_of_annotation(annotation).value
        run.problems.append(f"field {name!r} ({annotation}) needs a column of kind {wanted}, and {target!r} is {column.type!r}")
    _check_nullable(run, name, column, nullable=is_nullable(annotation))
    return ValueColumn(name, column)


def _is_own_extra(run: _Match, name: str) -> bool:
    """A field that is itself called `extra` needs `__rename__`, so that the column stays free for subclasses."""
    if run.whole:
        run.problems.append(f"field {name!r} has the name of the column for fields of subclasses: give it another with __rename__")
    return False


def _match_reference(run: _Match, name: str) -> tuple[str, str] | None:
    target = run.home.rename.get(name, f"{name}_id")
    column = run.column_of(name, target)
    if column is None:
        run.missing(name, target)
        return None
    classes = [arm for arm in arms(run.cls.model_fields[name].annotation) if arm is not type(None)]
    allowed = {_VERSIONS, *_common_table(run, classes)}
    keys = {key.target_fullname for key in column.foreign_keys}
    if not any(f"{table}.id" in keys for table in allowed) or len(keys) != 1:
        wanted = " or ".join(f"{table}.id" for table in sorted(allowed))
        run.problems.append(
            f"reference {name!r} needs {target!r} as a foreign key to {wanted}, and it refers to {', '.join(keys) or 'nothing'}"
        )
    if not all(key.deferrable and key.initially == "DEFERRED" for key in column.foreign_keys):
        run.problems.append(f"the foreign key of {target!r} must be deferred to the end of the transaction: use reference(...)")
    if kind_of(column.type) is not Kind.integer or not isinstance(column.type, BigInteger):
        run.problems.append(f"column {target!r} must be of type Id, and is {column.type!r}")
    _check_nullable(run, name, column, nullable=len(classes) < len(arms(run.cls.model_fields[name].annotation)))
    return name, target


def _common_table(run: _Match, classes: list[Any]) -> set[str]:
    """The table in which all versions of these classes and of their subclasses are, if there is one."""
    homes = {**run.homes, run.cls: run.home}
    nearest = [next((homes[base] for base in cls.__mro__ if base in homes), None) for cls in classes]
    below = [home for other, home in homes.items() if issubclass(other, tuple(classes))]
    tables = {home.table.name if home is not None else None for home in (*nearest, *below)}
    return {name for name in tables if name is not None} if len(tables) == 1 else set()


def _match_collection(run: _Match, each: CollectionField) -> tuple[str, tuple[str, str, str | None]] | None:
    stem = run.home.rename.get(each.name, each.name)
    names = [f"{stem}_seq", f"{stem}_len", *([f"{stem}_keys"] if each.shape is dict else [])]
    columns = [run.column_of(each.name, name) for name in names]
    present = [column for column in columns if column is not None]
    if len(present) < len(names):
        if present or run.whole:
            run.missing(each.name, *(name for name, column in zip(names, columns, strict=True) if column is None))
        return None
    kinds = (Kind.integer, Kind.integer, Kind.json)
    for column, kind in zip(present, kinds, strict=False):
        if kind_of(column.type) is not kind or (column is present[1] and not isinstance(column.type, Integer)):
            run.problems.append(f"column {column.name!r} of ordered field {each.name!r} must be of kind {kind.value}")
    _check_nullable(run, each.name, present[0], nullable=True)
    for column in present[1:]:
        _check_nullable(run, each.name, column, nullable=False)
    return each.name, (names[0], names[1], names[2] if each.shape is dict else None)


def _check_nullable(run: _Match, name: str, column: Column[Any], *, nullable: bool) -> None:
    if nullable and not column.nullable:
        run.problems.append(f"field {name!r} can be None, and column {column.name!r} is NOT NULL")
    if not nullable and column.nullable and not run.home.shared:
        run.problems.append(f"field {name!r} is never None, and column {column.name!r} is nullable")


def kind_of_annotation(annotation: Any) -> Kind:
    """The kind of column that holds every value of an annotation, other than None."""
    kinds = {_kind_of_arm(arm) for arm in arms(annotation) if arm is not type(None)}
    return kinds.pop() if len(kinds) == 1 else Kind.json


def is_nullable(annotation: Any) -> bool:
    """Whether None is among the values of an annotation, or may be, as with `Any` and `JsonValue`."""
    return any(_admits_none(arm) for arm in arms(annotation))


def _admits_none(arm: Any) -> bool:
    if get_origin(arm) is Literal:
        return None in get_args(arm)
    return arm is type(None) or (get_origin(arm) is None and not isinstance(arm, type))


def _kind_of_arm(arm: Any) -> Kind:
    if get_origin(arm) is Literal:
        return _kind_of_values(get_args(arm))
    if not isinstance(arm, type):
        return Kind.json
    if issubclass(arm, Enum):
        return _kind_of_values([member.value for member in arm])
    return next((kind for python, kind in _KINDS if arm is python), Kind.json)


def _kind_of_values(values: Any) -> Kind:
    types = {type(value) for value in values}
    return Kind.text if types == {str} else Kind.integer if types == {int} else Kind.json
