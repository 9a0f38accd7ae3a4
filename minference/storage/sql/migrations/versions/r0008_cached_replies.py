"""Replies that may be given again, and which replies were."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSON = sa.JSON().with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    """Create the table, and mark the replies that are there as what providers gave."""
    op.create_table(
        "cached_reply",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_cached_reply")),
    )
    op.create_index(op.f("ix_cached_reply_request_sha256"), "cached_reply", ["request_sha256"])
    op.add_column("raw_output", sa.Column("from_cache", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("usage", sa.Column("from_cache", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Forget both."""
    op.drop_column("usage", "from_cache")
    op.drop_column("raw_output", "from_cache")
    op.drop_table("cached_reply")
