"""The views as SQLAlchemy's ORM sees them. They are apart from the tables: nothing creates them but the migrations."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import MetaData, Text, Uuid
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from minference.storage.sql.types import Id, UtcDateTime


class View(DeclarativeBase):
    """Base of all views."""

    metadata = MetaData()


class LineageVersionView(View):
    """Every version of everything, with who saved it, when and why."""

    __tablename__ = "lineage_versions"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    """Key of the version."""
    lineage_id: Mapped[UUID] = mapped_column(Uuid)
    """The logical object that it is a version of."""
    ecs_id: Mapped[UUID] = mapped_column(Uuid)
    """Name of the version."""
    parent_ecs_id: Mapped[UUID | None] = mapped_column(Uuid)
    """The version that it was made from; NULL for the first."""
    fork_no: Mapped[int]
    """0: continues its parent; 1, 2, ...: branches off it."""
    kind: Mapped[str] = mapped_column(Text)
    """Name under which its class is stored."""
    revision: Mapped[int]
    """Which shape of the class it was written in."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When it came to be."""
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When its content was erased; NULL if it is there."""
    commit_id: Mapped[int] = mapped_column(Id)
    """The save that made it, and what became durable together with it."""
    author: Mapped[str | None] = mapped_column(Text)
    """Who saved it."""
    note: Mapped[str | None] = mapped_column(Text)
    """Why."""
