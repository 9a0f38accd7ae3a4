"""Typed tables, checked against the entities that they hold when the class is defined.

    class NoteSQL(EntityTable[Note]):
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

from typing import Any, ClassVar, Generic, Self, cast, get_args

from sqlalchemy import ColumnElement, Table, inspect
from sqlalchemy.orm import Mapped, declared_attr, foreign, mapped_column, relationship
from typing_extensions import TypeVar

from minference.ecs.entity import Entity, kind_to_class
from minference.errors import TableMismatch, UnknownKind
from minference.storage.sql.mapping import Mapping
from minference.storage.sql.matching import Home
from minference.storage.sql.registered import mapping_for, register_home
from minference.storage.sql.rows import attributes_of, entity_of, kind_of_field, loaded, shown
from minference.storage.sql.schema import Base, reference
from minference.storage.sql.types import Id
from minference.storage.sql.views import LineageVersionView

E = TypeVar("E", bound=Entity, default=Entity)


class EntityTable(Base, Generic[E]):
    """Base of typed tables: `EntityTable[Note]` holds the versions of `Note`.

    `__rename__` maps a field to the name of its column where the two differ. A table for several classes is a class for
    no entity of its own, `class ToolSQL(EntityTable[E])` with `polymorphic_on`, and a subclass for each, `ToolSQL[CallableTool]`.

    Values are converted as the columns say. A table that stores some fields in another form names them in `__encoded__` and
    overrides `encode` and `decode`; one whose columns are not those of the fields at all overrides `from_entity` and `to_entity`.
    On each save the storage reads back what they make of a value, and refuses to write what would not come back the same.
    """

    __abstract__ = True
    __rename__: ClassVar[dict[str, str]] = {}
    __encoded__: ClassVar[tuple[str, ...]] = ()
    __entity__: ClassVar[type[Entity] | None] = None

    id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), primary_key=True, autoincrement=False, sort_order=-10)
    """Key of the version."""

    @declared_attr
    def entity_version(cls) -> Mapped[LineageVersionView]:  # noqa: N805 - SQLAlchemy passes the class
        """What is known of the version: ids, time, author, note. Loaded together with the row."""

        def is_its_version() -> ColumnElement[bool]:
            return foreign(cls.__table__.c.id) == LineageVersionView.id

        return relationship(LineageVersionView, primaryjoin=is_its_version, viewonly=True, lazy="joined", innerjoin=True)

    def __init_subclass__(cls, entity: type[Entity] | None = None, **kwargs: Any) -> None:
        """Map the class, and check it against the entity: `entity`, or the one in brackets.

        Raises:
            TableMismatch: They do not fit together; the message lists everything that is wrong.
        """
        options: dict[str, Any] = cls.__dict__.get("__mapper_args__", {})
        if "polymorphic_on" in options:  # asynchronous sessions cannot fetch the columns of subclasses later
            cls.__mapper_args__ = {"with_polymorphic": "*", **options}
        super().__init_subclass__(**kwargs)
        cls.__entity__ = entity = entity or _entity_in_brackets(cls)
        if entity is None:
            return
        home = _home_of(cls, entity)
        try:
            register_home(entity, home)
        except TableMismatch:
            if not home.shared:
                Base.metadata.remove(home.table)
            raise

    @classmethod
    def encode(cls, field: str, value: Any) -> Any:
        """What the column of a field in `__encoded__` shows for `value`. Override it together with `decode`.

        By itself, the value: numbers, texts, times and ids as they are, an enum member as what it stands for, anything else as
        what its JSON holds.
        """
        return shown(cls._own_entity(), field, value, kind_of_field(cls._own_entity(), field))

    @classmethod
    def decode(cls, field: str, value: Any) -> Any:
        """The value for which `encode` gave this."""
        return loaded(cls._own_entity(), field, value, kind_of_field(cls._own_entity(), field))

    @classmethod
    def from_entity(cls, entity: E) -> Self:
        """A row with the plain values of `entity`. Its keys are left open: only the storage knows them, and writes rows.

        When the storage calls it, `entity` has its identity and plain values, and nothing of what it holds.

        Raises:
            TableMismatch: Entities of this class are stored in another table.
        """
        mapping = mapping_for(type(entity))
        model: Any = mapping.model
        if model is None or not issubclass(model, cls):
            raise TableMismatch(cls.__name__, type(entity).__name__, [f"its versions are in table {mapping.table.name!r}"])
        if model is not cls:
            return cast(Self, model.from_entity(entity))
        return cls(**attributes_of(mapping, entity))

    def to_entity(self, **fields: Any) -> E:
        """The entity of this version with its identity: a copy of its own that no storage knows. To edit it, load it with `get`.

        A row has only the keys of what its entity holds, so that references and ordered fields that are not empty need to be
        passed by name; `usage=None` or `history=[]` leaves them out knowingly. Whatever is passed goes before what the row says.
        When the storage calls it, it passes stand-ins of the right type for references, and ordered fields that are empty.

        Raises:
            IncompleteRow: The row has only the key of a field that is not passed.
            NoSuchField: The class has no field that is passed.
            WrongMember: What is passed is not what the field allows.
            UnreadableVersion: The row does not fit the class.
            UnknownKind: The version is of a class that the program has not defined.
        """
        version = self.entity_version if inspect(self).key is not None else None
        return cast(E, entity_of(self._mapping(version), self, version, fields))

    @classmethod
    def _own_entity(cls) -> type[Entity]:
        if cls.__entity__ is None:
            raise TableMismatch(cls.__name__, "any entity", ["it is declared for none: class ...SQL(EntityTable[YourEntity])"])
        return cls.__entity__

    def _mapping(self, version: LineageVersionView | None) -> Mapping:
        """That of the class of the version, which may be a subclass of the one that the table was declared for."""
        found = self._own_entity() if version is None else kind_to_class(version.kind)
        if found is None:
            raise UnknownKind(version.kind if version is not None else "")
        return mapping_for(found)


def _entity_in_brackets(cls: type[Any]) -> type[Entity] | None:
    """The class that the table is declared for as `EntityTable[...]`."""
    arguments = [argument for base in cls.__dict__.get("__orig_bases__", ()) for argument in get_args(base)]
    return next((each for each in arguments if isinstance(each, type) and issubclass(each, Entity)), None)


def _home_of(cls: type[EntityTable[Any]], entity: type[Entity]) -> Home:
    mapper = cls.__mapper__
    table = mapper.local_table
    assert isinstance(table, Table), "a declarative model with a table name has a table"
    mapped = set(mapper.columns)
    private = mapped - set(mapper.inherits.columns) if mapper.inherits is not None else set()
    discriminator = mapper.polymorphic_on.name if mapper.polymorphic_on is not None else None
    return Home(
        entity=entity,
        model=cls,
        table=table,
        columns={column.name: column for column in table.columns if column in mapped},
        attributes={column.name: mapper.get_property_by_column(column).key for column in table.columns if column in mapped},
        rename=cls.__rename__,
        constants={discriminator: mapper.polymorphic_identity} if discriminator is not None else {},
        shared=mapper.inherits is not None,
        private=frozenset(column.name for column in private),
        encoded=tuple(cls.__encoded__),
        encodes=_overrides(cls, "encode", "decode"),
        converts_rows=_overrides(cls, "from_entity", "to_entity"),
    )


def _overrides(cls: type[EntityTable[Any]], *methods: str) -> bool:
    """Whether the class or a base of it has one of these methods of its own."""
    return any(next(vars(base)[name] for base in cls.__mro__ if name in vars(base)) is not vars(EntityTable)[name] for name in methods)
