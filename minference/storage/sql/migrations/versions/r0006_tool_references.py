"""Tools whose arguments may refer to stored entities, and tools that are source text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns. Tools from before resolve no references, and have no source to run."""
    op.add_column("tool", sa.Column("resolve_references", sa.Boolean(), nullable=True))
    op.add_column("tool", sa.Column("source_text", sa.Text(), nullable=True))
    tool = sa.table("tool", sa.column("tool_type", sa.String), sa.column("resolve_references", sa.Boolean))
    op.execute(tool.update().where(tool.c.tool_type == "callable").values(resolve_references=False))


def downgrade() -> None:
    """Forget both."""
    op.drop_column("tool", "source_text")
    op.drop_column("tool", "resolve_references")
