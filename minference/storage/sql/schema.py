"""The tables that every entity shares: versions, commits, ordered fields, and classes without a table of their own."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, MetaData, PrimaryKeyConstraint, Text, UniqueConstraint, Uuid, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from minference.storage.sql.types import ExactText, Id, Json, UtcDateTime


class Base(DeclarativeBase):
    """Base of all tables. Every constraint has a name, so that migrations and errors can refer to it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def reference(target: str) -> ForeignKey:
    """A foreign key that is checked at the end of the transaction: versions of one commit may refer to each other in cycles."""
    return ForeignKey(target, deferrable=True, initially="DEFERRED")


class StorageInfo(Base):
    """The one row that says what this database is."""

    __tablename__ = "storage_info"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Always 1."""
    database_id: Mapped[UUID] = mapped_column(Uuid)
    """Names the database for as long as it exists."""
    next_id: Mapped[int] = mapped_column(Id)
    """The first integer key that no process has reserved."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class EntityKind(Base):
    """One shape of one entity class: each version says in which shape it was written."""

    __tablename__ = "entity_kind"
    __table_args__ = (UniqueConstraint("name", "revision"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(Text)
    revision: Mapped[int]
    fields: Mapped[Any] = mapped_column(Json)
    """Field name to annotation, as text."""


class EntityCommit(Base):
    """One atomic save: who, when, why."""

    __tablename__ = "entity_commit"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    author: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)


class EntityVersion(Base):
    """One version of anything."""

    __tablename__ = "entity_version"
    __table_args__ = (
        Index("ix_entity_version_lineage", "lineage_id", "created_at", "id"),
        Index(
            "uq_entity_version_child",
            "parent_id",
            "fork_no",
            unique=True,
            sqlite_where=text("parent_id IS NOT NULL"),
            postgresql_where=text("parent_id IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    ecs_id: Mapped[UUID] = mapped_column(Uuid, unique=True)
    lineage_id: Mapped[UUID] = mapped_column(Uuid)
    parent_id: Mapped[int | None] = mapped_column(Id, reference("entity_version.id"))
    fork_no: Mapped[int]
    """0: continues its parent; 1, 2, ...: branches off it."""
    kind_id: Mapped[int] = mapped_column(Id, reference("entity_kind.id"), index=True)
    commit_id: Mapped[int] = mapped_column(Id, reference("entity_commit.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RunItem(Base):
    """One cell of a run: written once by whoever comes first, never changed."""

    __tablename__ = "run_item"
    __table_args__ = (PrimaryKeyConstraint("run_id", "position"), {"sqlite_with_rowid": False})

    run_id: Mapped[int] = mapped_column(Id, autoincrement=False)
    position: Mapped[int] = mapped_column(autoincrement=False)
    child_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), index=True)
    owner_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"))
    """The version that put it there."""


class SequenceSpan(Base):
    """A slice of a run, as a part of a sequence."""

    __tablename__ = "sequence_span"
    __table_args__ = (PrimaryKeyConstraint("sequence_id", "position"), {"sqlite_with_rowid": False})

    sequence_id: Mapped[int] = mapped_column(Id, autoincrement=False)
    position: Mapped[int] = mapped_column(autoincrement=False)
    """Where the span begins in the sequence."""
    run_id: Mapped[int] = mapped_column(Id)
    run_position: Mapped[int]
    length: Mapped[int]
    """2**31 - 1 for the last, open one: the length that the owner stores cuts it."""


class Tag(Base):
    """A name for one version of a lineage."""

    __tablename__ = "tag"
    __table_args__ = (PrimaryKeyConstraint("lineage_id", "name"),)

    lineage_id: Mapped[UUID] = mapped_column(Uuid)
    name: Mapped[str] = mapped_column(Text)
    version_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), index=True)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ErasureRow(Base):
    """The tombstone of a lineage: why its versions have no content, and get no new ones."""

    __tablename__ = "erasure"
    __table_args__ = ({"sqlite_with_rowid": False},)

    lineage_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(ExactText)
    author: Mapped[str | None] = mapped_column(ExactText)
    because_of: Mapped[UUID] = mapped_column(Uuid)
    """The lineage that was to be erased."""


class AnyEntity(Base):
    """Plain values of a class without a table of its own."""

    __tablename__ = "entity_any"

    id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), primary_key=True, autoincrement=False)
    data: Mapped[Any] = mapped_column(Json)


class EntityLink(Base):
    """A single reference that has no column of its own; a reference to nothing has no row."""

    __tablename__ = "entity_link"
    __table_args__ = (PrimaryKeyConstraint("owner_id", "field"), {"sqlite_with_rowid": False})

    owner_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"))
    field: Mapped[str] = mapped_column(Text)
    child_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), index=True)


class EntitySequence(Base):
    """An ordered field that has no columns of its own; one that was never anything but empty has no row."""

    __tablename__ = "entity_sequence"
    __table_args__ = (PrimaryKeyConstraint("owner_id", "field"), {"sqlite_with_rowid": False})

    owner_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"))
    field: Mapped[str] = mapped_column(Text)
    sequence_id: Mapped[int] = mapped_column(Id)
    length: Mapped[int]
    keys: Mapped[Any | None] = mapped_column(Json)
    """The keys of a keyed field, in order."""
