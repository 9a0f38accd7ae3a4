"""Up to which version the replies of a thread count in its run, so that a process that is killed takes none of them out of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column. Of threads that are running, nobody knows with which version they were begun."""
    op.add_column("run_entry", sa.Column("counted_to", sa.Uuid(), nullable=True))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("run_entry", "counted_to")
