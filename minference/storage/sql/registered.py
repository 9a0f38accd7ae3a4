"""Which class is stored in which table."""

from __future__ import annotations

from functools import cache

from sqlalchemy import Table

from minference.ecs.entity import Entity, plan_of
from minference.errors import TableMismatch
from minference.storage.sql.mapping import Mapping
from minference.storage.sql.matching import Home, match
from minference.storage.sql.schema import AnyEntity, Base

_HOMES: dict[type[Entity], Home] = {}


def register_home(entity: type[Entity], home: Home) -> None:
    """Store versions of `entity`, and of subclasses without a table of their own, in this table from now on.

    Raises:
        TableMismatch: The table does not hold every field of the class, or others refer to it by the table of a base class.
    """
    _refuse_split(entity, home)
    match(entity, home, _HOMES, whole=True)
    _HOMES[entity] = home
    mapping_for.cache_clear()


@cache
def mapping_for(cls: type[Entity]) -> Mapping:
    """Where the fields of a class are stored: in the table of its nearest base class that has one, else in `entity_any`.

    Raises:
        TableMismatch: The class changes a field of its base class so that the table can't hold it.
    """
    home = next((_HOMES[base] for base in cls.__mro__ if base in _HOMES), None)
    if home is not None:
        return match(cls, home, _HOMES, whole=False)
    plan = plan_of(cls)
    return Mapping(
        cls=cls,
        table=Base.metadata.tables[AnyEntity.__tablename__],
        constants={},
        values=(),
        references={},
        collections={},
        packed_column="data",
        packed=(*plan.values, *plan.mutable),
        links=plan.references,
        sequences=tuple(field.name for field in plan.collections),
        mutable=frozenset(plan.mutable),
        keyed=frozenset(field.name for field in plan.collections if field.shape is dict),
    )


def fillers(table: Table) -> dict[str, str]:
    """Columns of ordered fields that are never NULL, and the SQL of what an empty one has there."""
    found: dict[str, str] = {}
    for cls, home in _HOMES.items():
        if home.table is table:
            for _, length, keys in mapping_for(cls).collections.values():
                found |= {length: "0"} if keys is None else {length: "0", keys: "'[]'"}
    return found


def list_columns(table: Table) -> set[str]:
    """The columns of a table that say where ordered fields are and how long."""
    classes = [cls for cls, home in _HOMES.items() if home.table is table]
    return {column for cls in classes for columns in mapping_for(cls).collections.values() for column in columns[:2]}


def _refuse_split(entity: type[Entity], home: Home) -> None:
    """Versions of a class must not be in two tables if somebody refers to them by the key of one."""
    for base in entity.__mro__[1:]:
        other = _HOMES.get(base)
        if other is None or other.table is home.table:
            continue
        for table in Base.metadata.tables.values():
            if any(key.column.table is other.table for key in table.foreign_keys if table is not home.table):
                raise TableMismatch(
                    home.name,
                    entity.__name__,
                    [f"{table.name} refers to {base.__name__} by the key of table {other.table.name}: leave it there, in column 'extra'"],
                )
