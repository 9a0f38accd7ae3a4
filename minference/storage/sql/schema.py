"""The tables that every entity shares: versions, commits, ordered fields, and classes without a table of their own."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
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
    """When its first tables were made."""


class EntityKind(Base):
    """One shape of one entity class: each version says in which shape it was written."""

    __tablename__ = "entity_kind"
    __table_args__ = (UniqueConstraint("name", "revision"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    """Key of the shape."""
    name: Mapped[str] = mapped_column(Text)
    """What the class is called here, whatever its module."""
    revision: Mapped[int]
    """1 for the first shape, one more for each other."""
    fields: Mapped[Any] = mapped_column(Json)
    """Field name to annotation, as text."""
    version: Mapped[int] = mapped_column(server_default="1")
    """The schema version that the class declared."""
    layout: Mapped[Any | None] = mapped_column(Json)
    """In which table and columns the fields are, and what they hold; `None` if it was written before that was noted."""


class EntityCommit(Base):
    """One atomic save: who, when, why."""

    __tablename__ = "entity_commit"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    """Key of the save."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    """When."""
    author: Mapped[str | None] = mapped_column(Text)
    """Who, if they said so."""
    note: Mapped[str | None] = mapped_column(Text)
    """Why, e.g. the function that was traced."""


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
    """Its key, by which rows refer to it."""
    ecs_id: Mapped[UUID] = mapped_column(Uuid, unique=True)
    """Its name, by which programs refer to it."""
    lineage_id: Mapped[UUID] = mapped_column(Uuid)
    """The logical object that it is a version of."""
    parent_id: Mapped[int | None] = mapped_column(Id, reference("entity_version.id"))
    """The version that it was made from; NULL for the first."""
    fork_no: Mapped[int]
    """0: continues its parent; 1, 2, ...: branches off it."""
    kind_id: Mapped[int] = mapped_column(Id, reference("entity_kind.id"), index=True)
    """The shape in which it was written."""
    commit_id: Mapped[int] = mapped_column(Id, reference("entity_commit.id"), index=True)
    """The save that made it."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When it came to be; after its parent."""
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When its content was erased; NULL if it is there."""


class EntityMerge(Base):
    """What a version brought in beside what it was made from."""

    __tablename__ = "entity_merge"
    __table_args__ = (PrimaryKeyConstraint("version_id", "merged_id"), {"sqlite_with_rowid": False})

    version_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), autoincrement=False)
    """The version that came of the merge."""
    merged_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), autoincrement=False)
    """The version of the same lineage, on another branch, that was merged into it."""


class RunItem(Base):
    """One cell of a run: written once by whoever comes first, never changed."""

    __tablename__ = "run_item"
    __table_args__ = (PrimaryKeyConstraint("run_id", "position"), {"sqlite_with_rowid": False})

    run_id: Mapped[int] = mapped_column(Id, autoincrement=False)
    """The run: rows with the same number, in order."""
    position: Mapped[int] = mapped_column(autoincrement=False)
    """0, 1, 2, ..."""
    child_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), index=True)
    """The member."""
    owner_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"))
    """The version that put it there."""


class SequenceSpan(Base):
    """A slice of a run, as a part of a sequence."""

    __tablename__ = "sequence_span"
    __table_args__ = (PrimaryKeyConstraint("sequence_id", "position"), {"sqlite_with_rowid": False})

    sequence_id: Mapped[int] = mapped_column(Id, autoincrement=False)
    """The sequence: rows with the same number, in order."""
    position: Mapped[int] = mapped_column(autoincrement=False)
    """Where the span begins in the sequence."""
    run_id: Mapped[int] = mapped_column(Id)
    """The run of which it is a slice."""
    run_position: Mapped[int]
    """Where the slice begins in the run."""
    length: Mapped[int]
    """2**31 - 1 for the last, open one: the length that the owner stores cuts it."""


class Tag(Base):
    """A name for one version of a lineage."""

    __tablename__ = "tag"
    __table_args__ = (PrimaryKeyConstraint("lineage_id", "name"),)

    lineage_id: Mapped[UUID] = mapped_column(Uuid)
    """Names are unique within a lineage."""
    name: Mapped[str] = mapped_column(Text)
    """The name."""
    version_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), index=True)
    """The version that has it."""
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When it was given."""


class StoredBlob(Base):
    """Bytes, once for all versions that hold them."""

    __tablename__ = "blob"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    """In hexadecimal digits."""
    size: Mapped[int] = mapped_column(BigInteger)
    """In bytes."""
    data: Mapped[bytes] = mapped_column(LargeBinary)
    """The bytes."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When they were first stored."""


class EntityBlob(Base):
    """A version whose values refer to bytes. Those that no version refers to are of no use to anybody."""

    __tablename__ = "entity_blob"
    __table_args__ = (PrimaryKeyConstraint("owner_id", "sha256"), {"sqlite_with_rowid": False})

    owner_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"))
    """The version."""
    sha256: Mapped[str] = mapped_column(String(64), reference("blob.sha256"), index=True)
    """The bytes."""


class ErasureRow(Base):
    """The tombstone of a lineage: why its versions have no content, and get no new ones."""

    __tablename__ = "erasure"
    __table_args__ = ({"sqlite_with_rowid": False},)

    lineage_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    """The logical object whose content was erased."""
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When."""
    reason: Mapped[str] = mapped_column(ExactText)
    """Why."""
    author: Mapped[str | None] = mapped_column(ExactText)
    """By whom; NULL if nobody was named."""
    because_of: Mapped[UUID] = mapped_column(Uuid)
    """The lineage that was to be erased."""


class RunRow(Base):
    """A named run."""

    __tablename__ = "run"

    name: Mapped[str] = mapped_column(ExactText, primary_key=True)
    """What it is called."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When it was begun first."""
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When it was last begun or continued, or something of it ended."""
    settings: Mapped[Any] = mapped_column(Json)
    """What whoever continues it needs to know."""
    holder: Mapped[str | None] = mapped_column(Text)
    """The process that works on it; NULL if none does."""
    held_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Until when that process keeps others out."""


class RunEntryRow(Base):
    """A thread in the work list of a run."""

    __tablename__ = "run_entry"
    __table_args__ = (
        PrimaryKeyConstraint("run_name", "position"),
        UniqueConstraint("run_name", "lineage_id"),
        {"sqlite_with_rowid": False},
    )

    run_name: Mapped[str] = mapped_column(ExactText, reference("run.name"))
    """The run."""
    position: Mapped[int] = mapped_column(autoincrement=False)
    """0, 1, 2, ..."""
    lineage_id: Mapped[UUID] = mapped_column(Uuid, index=True)
    """The thread."""
    state: Mapped[str] = mapped_column(String(20))
    """`pending`, `running`, `done` or `failed`."""
    starts: Mapped[int]
    """How often somebody has begun with it."""
    error: Mapped[str | None] = mapped_column(ExactText)
    """Why it failed."""
    replies: Mapped[int]
    """Replies that came in this run."""
    tokens: Mapped[int] = mapped_column(BigInteger)
    """Of these replies and their requests."""
    cost_usd: Mapped[float | None] = mapped_column(Double)
    """US dollars for these replies; NULL if the price of one is unknown."""
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When the state changed."""
    counted_to: Mapped[UUID | None] = mapped_column(Uuid)
    """While it is running: `ecs_id` of the thread version whose replies, and those before, are counted here; later ones are not yet."""


class CachedReplyRow(Base):
    """A reply that is given again to whoever asks exactly the same."""

    __tablename__ = "cached_reply"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Names the exact request, and who was asked."""
    request_sha256: Mapped[str] = mapped_column(String(64), index=True)
    """Digest of the request alone, as in `raw_output`: erasing that removes this."""
    payload: Mapped[Any] = mapped_column(Json)
    """The body of the reply."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When it came."""


class AnyEntity(Base):
    """Plain values of a class without a table of its own."""

    __tablename__ = "entity_any"

    id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), primary_key=True, autoincrement=False)
    """Key of the version."""
    data: Mapped[Any] = mapped_column(Json)
    """Field name to value."""


class EntityLink(Base):
    """A single reference that has no column of its own; a reference to nothing has no row."""

    __tablename__ = "entity_link"
    __table_args__ = (PrimaryKeyConstraint("owner_id", "field"), {"sqlite_with_rowid": False})

    owner_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"))
    """The version that refers."""
    field: Mapped[str] = mapped_column(Text)
    """By which field."""
    child_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"), index=True)
    """To which version."""


class EntitySequence(Base):
    """An ordered field that has no columns of its own; one that was never anything but empty has no row."""

    __tablename__ = "entity_sequence"
    __table_args__ = (PrimaryKeyConstraint("owner_id", "field"), {"sqlite_with_rowid": False})

    owner_id: Mapped[int] = mapped_column(Id, reference("entity_version.id"))
    """The version that has the field."""
    field: Mapped[str] = mapped_column(Text)
    """Its name."""
    sequence_id: Mapped[int] = mapped_column(Id)
    """Where its members are."""
    length: Mapped[int]
    """How many they are."""
    keys: Mapped[Any | None] = mapped_column(Json)
    """The keys of a keyed field, in order."""
