"""Typed tables, checked against the entities that they hold when the class is defined.

    class NoteSQL(EntityTable, entity=Note):
        __tablename__ = "note"
        text: Mapped[str] = mapped_column(ExactText)
        author_id: Mapped[int | None] = mapped_column(Id, reference("person.id"))     # author: Person | None
        pages_seq: Mapped[int | None] = mapped_column(Id)                             # pages: list[Page]
        pages_len: Mapped[int]
        extra: Mapped[Any | None] = mapped_column(Json)                               # fields of subclasses of Note

A class without a table is stored under that of its nearest base class that has one, its further fields in `extra`, or
in the tables for any entity. Giving a class a table, or not, changes nothing for who uses the class.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import Table
from sqlalchemy.orm import Mapped, mapped_column

from minference.ecs.entity import Entity
from minference.errors import TableMismatch
from minference.storage.sql.matching import Home
from minference.storage.sql.registered import register_home
from minference.storage.sql.schema import Base, reference
from minference.storage.sql.types import Id


class EntityTable(Base):
    """Base of typed tables.

    `entity` names the class whose versions the table holds. `__rename__` maps a field to the name of its column where
    the two differ. A table for several classes is a class without `entity` that has `polymorphic_on`, with a subclass
    for each.
    """

    __abstract__ = True
    __rename__: ClassVar[dict[str, str]] = {}

    id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), primary_key=True, autoincrement=False, sort_order=-10)

    def __init_subclass__(cls, entity: type[Entity] | None = None, **kwargs: Any) -> None:
        """Map the class, and check it against `entity`.

        Raises:
            TableMismatch: They do not fit together; the message lists everything that is wrong.
        """
        super().__init_subclass__(**kwargs)
        if entity is None:
            return
        home = _home_of(cls)
        try:
            register_home(entity, home)
        except TableMismatch:
            if not home.shared:
                Base.metadata.remove(home.table)
            raise


def _home_of(model: type[EntityTable]) -> Home:
    mapper = model.__mapper__
    table = mapper.local_table
    assert isinstance(table, Table), "a declarative model with a table name has a table"
    mapped = set(mapper.columns)
    private = mapped - set(mapper.inherits.columns) if mapper.inherits is not None else set()
    discriminator = mapper.polymorphic_on.name if mapper.polymorphic_on is not None else None
    return Home(
        name=model.__name__,
        table=table,
        columns={column.name: column for column in table.columns if column in mapped},
        rename=model.__rename__,
        constants={discriminator: mapper.polymorphic_identity} if discriminator is not None else {},
        shared=mapper.inherits is not None,
        private=frozenset(column.name for column in private),
    )
