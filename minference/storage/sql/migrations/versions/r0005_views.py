"""Views that answer the usual questions without a join: what was said in a version, and what every thread is like now."""

from __future__ import annotations

from alembic import op

from minference.storage.sql.migrations.undoing import refuse

revision = "0005"
down_revision = "0004"

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
    """Give `thread_messages` the role and text of each message, and add `thread_heads`."""
    op.execute("DROP VIEW thread_usage")
    op.execute("DROP VIEW thread_messages")
    _create_thread_messages(least="min" if op.get_bind().dialect.name == "sqlite" else "least")
    _create_thread_usage()
    _create_thread_heads()


def downgrade() -> None:
    """Refused."""
    refuse("whoever queries the views relies on their columns")


def _create_thread_messages(least: str) -> None:
    op.execute(f"""
        CREATE VIEW thread_messages AS
        SELECT t.id AS thread_id, v.ecs_id AS thread_ecs_id, v.lineage_id AS thread_lineage_id,
               s.position + i.position - s.run_position AS position,
               i.child_id AS message_id, m.ecs_id AS message_ecs_id, m.lineage_id AS message_lineage_id,
               c.role, c.content, c.usage_id, i.owner_id AS added_by
        FROM chat_thread t
        JOIN entity_version v ON v.id = t.id
        JOIN sequence_span s ON s.sequence_id = t.history_seq AND s.position < t.history_len
        JOIN run_item i ON i.run_id = s.run_id AND i.position >= s.run_position
                       AND i.position < s.run_position + {least}(s.length, t.history_len - s.position)
        JOIN entity_version m ON m.id = i.child_id
        JOIN chat_message c ON c.id = i.child_id""")


def _create_thread_usage() -> None:
    sums = ", ".join(f"CAST(SUM(u.{name}) AS BIGINT) AS {name}" for name in SUMMED)
    op.execute(f"""
        CREATE VIEW thread_usage AS
        SELECT m.thread_id, m.thread_ecs_id, m.thread_lineage_id, u.model, COUNT(*) AS replies, {sums}
        FROM thread_messages m
        JOIN usage u ON u.id = m.usage_id
        GROUP BY m.thread_id, m.thread_ecs_id, m.thread_lineage_id, u.model""")


def _create_thread_heads() -> None:
    op.execute("""
        CREATE VIEW thread_heads AS
        SELECT n.id, n.lineage_id, n.ecs_id, n.name, n.messages, n.versions, n.created_at, c.author, c.note
        FROM (SELECT t.id, v.lineage_id, v.ecs_id, t.name, t.history_len AS messages, v.created_at, v.commit_id,
                     COUNT(*) OVER (PARTITION BY v.lineage_id) AS versions,
                     ROW_NUMBER() OVER (PARTITION BY v.lineage_id ORDER BY v.created_at DESC, v.id DESC) AS age
              FROM chat_thread t JOIN entity_version v ON v.id = t.id) n
        JOIN entity_commit c ON c.id = n.commit_id
        WHERE n.age = 1""")
