"""Tombstones of erased lineages, and indexes that find what belongs to a message or a thread."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from minference.storage.sql.migrations.undoing import refuse

revision = "0004"
down_revision = "0003"

TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")

_INDEXED = (("processed_output", "chat_thread_id"), ("processed_output", "message_uuid"), ("raw_output", "thread_version"))


def upgrade() -> None:
    """Create the table and the indexes. The trigger that reads it is set up with all others, after every upgrade."""
    op.create_table(
        "erasure",
        sa.Column("lineage_id", sa.Uuid(), nullable=False),
        sa.Column("erased_at", TIME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=True),
        sa.Column("because_of", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("lineage_id", name=op.f("pk_erasure")),
        sqlite_with_rowid=False,
    )
    for table, column in _INDEXED:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def downgrade() -> None:
    """Refused."""
    refuse("what was erased stays erased")
