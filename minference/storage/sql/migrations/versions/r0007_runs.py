"""Named runs with their work lists, and what replies cost."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSON = sa.JSON().with_variant(sa.Text(), "sqlite")

SUMMED = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "audio_tokens",
)


def upgrade() -> None:
    """Create the tables, and add the price of a reply, which nobody knows of those that are there."""
    _create_runs()
    op.execute("DROP VIEW thread_usage")
    op.add_column("usage", sa.Column("cost_usd", sa.Double(), nullable=True))
    _create_thread_usage(", SUM(u.cost_usd) AS cost_usd, COUNT(*) - COUNT(u.cost_usd) AS unpriced")


def downgrade() -> None:
    """Forget work lists and prices."""
    op.execute("DROP VIEW thread_usage")
    op.drop_column("usage", "cost_usd")
    _create_thread_usage("")
    op.drop_table("run_entry")
    op.drop_table("run")


def _create_thread_usage(more: str) -> None:
    sums = ", ".join(f"CAST(SUM(u.{name}) AS BIGINT) AS {name}" for name in SUMMED)
    op.execute(f"""
        CREATE VIEW thread_usage AS
        SELECT m.thread_id, m.thread_ecs_id, m.thread_lineage_id, u.model, COUNT(*) AS replies, {sums}{more}
        FROM thread_messages m
        JOIN usage u ON u.id = m.usage_id
        GROUP BY m.thread_id, m.thread_ecs_id, m.thread_lineage_id, u.model""")


def _create_runs() -> None:
    op.create_table(
        "run",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("held_until", TIME, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_run")),
    )
    op.create_table(
        "run_entry",
        sa.Column("run_name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("lineage_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("starts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("replies", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["run_name"], ["run.name"], name=op.f("fk_run_entry_run_name"), deferrable=True, initially="DEFERRED"),
        sa.PrimaryKeyConstraint("run_name", "position", name=op.f("pk_run_entry")),
        sa.UniqueConstraint("run_name", "lineage_id", name=op.f("uq_run_entry_run_name_lineage_id")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_run_entry_lineage_id"), "run_entry", ["lineage_id"])
