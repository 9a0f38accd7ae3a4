"""What is noted of each shape of a class: the schema version that it declared, and where its fields are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from minference.storage.sql.migrations.undoing import refuse

revision = "0002"
down_revision = "0001"

JSON = sa.JSON().with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    """Versions that are there were written in schema version 1; where, is found out when they are read."""
    op.add_column("entity_kind", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("entity_kind", sa.Column("layout", JSON, nullable=True))


def downgrade() -> None:
    """Refused."""
    refuse("versions in later schema versions would be misread")
