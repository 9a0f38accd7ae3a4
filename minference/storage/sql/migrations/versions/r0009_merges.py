"""Which versions merged which others, so that a branch can be merged again from where it was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table. What was merged before is not known but by the notes of the commits."""
    op.create_table(
        "entity_merge",
        sa.Column("version_id", ID, nullable=False),
        sa.Column("merged_id", ID, nullable=False),
        _reference("version_id"),
        _reference("merged_id"),
        sa.PrimaryKeyConstraint("version_id", "merged_id", name=op.f("pk_entity_merge")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_table("entity_merge")


def _reference(column: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_entity_merge_{column}")
    return sa.ForeignKeyConstraint([column], ["entity_version.id"], name=name, deferrable=True, initially="DEFERRED")
