"""Attachments: bytes by their hash, who holds them, and what messages carry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from minference.storage.sql.migrations.undoing import refuse

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSON = sa.JSON().with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    """Add the tables, and two columns that say of the messages that are there: they carry nothing."""
    _create_blobs()
    _create_attachments()
    # SQLite adds columns in place, without touching a row; so does PostgreSQL, with a default that is a constant.
    op.add_column("chat_message", sa.Column("attachments_seq", ID, nullable=True))
    op.add_column("chat_message", sa.Column("attachments_len", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Refused."""
    refuse("attachments would be lost")


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_{table}_{column}"), deferrable=True, initially="DEFERRED")


def _create_blobs() -> None:
    op.create_table(
        "blob",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blob")),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Images and PDFs are compressed already: trying again would only cost time.
        op.execute("ALTER TABLE blob ALTER COLUMN data SET STORAGE EXTERNAL")
    op.create_table(
        "entity_blob",
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        _reference("entity_blob", "owner_id", "entity_version.id"),
        _reference("entity_blob", "sha256", "blob.sha256"),
        sa.PrimaryKeyConstraint("owner_id", "sha256", name=op.f("pk_entity_blob")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_entity_blob_sha256"), "entity_blob", ["sha256"])


def _create_attachments() -> None:
    op.create_table(
        "attachment",
        sa.Column("id", ID, nullable=False),
        sa.Column("attachment_type", sa.String(20), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("content", JSON, nullable=True),
        sa.Column("detail", sa.String(20), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("extra", JSON, nullable=True),
        _reference("attachment", "id", "entity_version.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachment")),
    )
