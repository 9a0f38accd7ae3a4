"""First tables: versions, commits, ordered fields, and the tables of threads."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSON = sa.JSON().with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    """Create everything in an empty database."""
    _create_versions()
    _create_ordered_fields()
    _create_generic_tables()
    _create_messages()
    _create_tools_and_configs()
    _create_outputs()
    _create_threads()
    _create_views(least="min" if op.get_bind().dialect.name == "sqlite" else "least")
    _describe_database()


def downgrade() -> None:
    """There is nothing before the first tables."""
    raise NotImplementedError("the first revision cannot be undone: delete the database instead")


def _required(name: str, type: Any) -> sa.Column[Any]:
    return sa.Column(name, type, nullable=False)


def _optional(name: str, type: Any) -> sa.Column[Any]:
    return sa.Column(name, type, nullable=True)


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}")
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=name, deferrable=True, initially="DEFERRED")


def _create(table: str, *parts: Any, key: tuple[str, ...] = ("id",), **options: Any) -> None:
    op.create_table(table, *parts, sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{table}")), **options)


def _create_entity_table(table: str, *parts: Any) -> None:
    _create(table, _required("id", ID), *parts, _optional("extra", JSON), _reference(table, "id", "entity_version"))


def _index(table: str, column: str) -> None:
    op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def _create_versions() -> None:
    _create(
        "storage_info",
        _required("id", sa.Integer()),
        _required("database_id", sa.Uuid()),
        _required("next_id", ID),
        _required("created_at", TIME),
    )
    _create(
        "entity_kind",
        _required("id", ID),
        _required("name", sa.Text()),
        _required("revision", sa.Integer()),
        _required("fields", JSON),
        sa.UniqueConstraint("name", "revision", name=op.f("uq_entity_kind_name_revision")),
    )
    _create(
        "entity_commit", _required("id", ID), _required("created_at", TIME), _optional("author", sa.Text()), _optional("note", sa.Text())
    )
    _index("entity_commit", "created_at")
    _create(
        "entity_version",
        _required("id", ID),
        _required("ecs_id", sa.Uuid()),
        _required("lineage_id", sa.Uuid()),
        _optional("parent_id", ID),
        _required("fork_no", sa.Integer()),
        _required("kind_id", ID),
        _required("commit_id", ID),
        _required("created_at", TIME),
        _optional("erased_at", TIME),
        _reference("entity_version", "parent_id", "entity_version"),
        _reference("entity_version", "kind_id", "entity_kind"),
        _reference("entity_version", "commit_id", "entity_commit"),
        sa.UniqueConstraint("ecs_id", name=op.f("uq_entity_version_ecs_id")),
    )
    _index("entity_version", "kind_id")
    _index("entity_version", "commit_id")
    op.create_index("ix_entity_version_lineage", "entity_version", ["lineage_id", "created_at", "id"])
    has_parent = sa.text("parent_id IS NOT NULL")
    op.create_index(
        "uq_entity_version_child",
        "entity_version",
        ["parent_id", "fork_no"],
        unique=True,
        sqlite_where=has_parent,
        postgresql_where=has_parent,
    )


def _create_ordered_fields() -> None:
    _create(
        "run_item",
        _required("run_id", ID),
        _required("position", sa.Integer()),
        _required("child_id", ID),
        _required("owner_id", ID),
        _reference("run_item", "child_id", "entity_version"),
        _reference("run_item", "owner_id", "entity_version"),
        key=("run_id", "position"),
        sqlite_with_rowid=False,
    )
    _index("run_item", "child_id")
    _create(
        "sequence_span",
        _required("sequence_id", ID),
        _required("position", sa.Integer()),
        _required("run_id", ID),
        _required("run_position", sa.Integer()),
        _required("length", sa.Integer()),
        key=("sequence_id", "position"),
        sqlite_with_rowid=False,
    )
    _create(
        "tag",
        _required("lineage_id", sa.Uuid()),
        _required("name", sa.Text()),
        _required("version_id", ID),
        _required("updated_at", TIME),
        _reference("tag", "version_id", "entity_version"),
        key=("lineage_id", "name"),
    )
    _index("tag", "version_id")


def _create_generic_tables() -> None:
    _create("entity_any", _required("id", ID), _required("data", JSON), _reference("entity_any", "id", "entity_version"))
    _create(
        "entity_link",
        _required("owner_id", ID),
        _required("field", sa.Text()),
        _required("child_id", ID),
        _reference("entity_link", "owner_id", "entity_version"),
        _reference("entity_link", "child_id", "entity_version"),
        key=("owner_id", "field"),
        sqlite_with_rowid=False,
    )
    _index("entity_link", "child_id")
    _create(
        "entity_sequence",
        _required("owner_id", ID),
        _required("field", sa.Text()),
        _required("sequence_id", ID),
        _required("length", sa.Integer()),
        _optional("keys", JSON),
        _reference("entity_sequence", "owner_id", "entity_version"),
        key=("owner_id", "field"),
        sqlite_with_rowid=False,
    )


def _create_messages() -> None:
    _create_entity_table("system_prompt", _required("name", sa.Text()), _required("content", sa.Text()))
    _create_entity_table(
        "usage",
        _required("model", sa.Text()),
        *(_required(name, sa.BigInteger()) for name in ("prompt_tokens", "completion_tokens", "total_tokens")),
        *(_optional(name, sa.BigInteger()) for name in ("cache_creation_input_tokens", "cache_read_input_tokens")),
        *(_optional(name, sa.BigInteger()) for name in ("accepted_prediction_tokens", "rejected_prediction_tokens")),
        *(_optional(name, sa.BigInteger()) for name in ("audio_tokens", "reasoning_tokens", "cached_tokens")),
    )
    _create_entity_table(
        "chat_message",
        _required("role", sa.String(20)),
        _required("content", sa.Text()),
        _required("timestamp", TIME),
        _optional("author_uuid", sa.Uuid()),
        _optional("parent_message_uuid", sa.Uuid()),
        _required("tool_calls", JSON),
        _optional("tool_call_id", sa.Text()),
        _optional("tool_name", sa.Text()),
        _optional("tool_uuid", sa.Uuid()),
        _required("tool_error", sa.Boolean()),
        _optional("reasoning", sa.Text()),
        _optional("reasoning_json", sa.Text()),
        _optional("refusal", sa.Text()),
        _optional("finish_reason", sa.String(20)),
        _optional("usage_id", ID),
        _reference("chat_message", "usage_id", "usage"),
    )
    _index("chat_message", "usage_id")


def _create_tools_and_configs() -> None:
    _create_entity_table(
        "tool",
        _required("tool_type", sa.String(20)),
        _required("name", sa.Text()),
        _required("strict_schema", sa.Boolean()),
        _optional("docstring", sa.Text()),
        _optional("input_schema", JSON),
        _optional("output_schema", JSON),
        _optional("callable_text", sa.Text()),
        _optional("timeout", sa.Double()),
        _optional("idempotent", sa.Boolean()),
        _optional("description", sa.Text()),
        _optional("instruction_string", sa.Text()),
        _optional("json_schema", JSON),
    )
    _create_entity_table(
        "llm_config",
        _required("client", sa.Text()),
        _required("model", sa.Text()),
        _required("max_tokens", sa.BigInteger()),
        _optional("temperature", sa.Double()),
        _optional("top_p", sa.Double()),
        _optional("seed", sa.BigInteger()),
        _required("stop", JSON),
        _required("response_format", sa.String(20)),
        _required("use_cache", sa.Boolean()),
        _required("reasoner", sa.Boolean()),
        _optional("reasoning_effort", sa.String(20)),
        _required("timeout", sa.Double()),
        _optional("fallbacks_seq", ID),
        _required("fallbacks_len", sa.Integer()),
        _required("extra_parameters", JSON),
    )


def _create_outputs() -> None:
    _create_entity_table(
        "generated_json_object", _required("name", sa.Text()), _required("object", JSON), _optional("tool_call_id", sa.Text())
    )
    _create_entity_table(
        "raw_output",
        _required("client", sa.Text()),
        _required("thread_version", sa.Uuid()),
        _required("request_parameters", JSON),
        _required("request_sha256", sa.Text()),
        _required("raw_result", JSON),
        _required("start_time", TIME),
        _required("end_time", TIME),
        _required("attempts", JSON),
    )
    _create_entity_table(
        "processed_output",
        _optional("content", sa.Text()),
        _optional("error", sa.Text()),
        _required("time_taken", sa.Double()),
        _required("llm_client", sa.Text()),
        _required("chat_thread_id", sa.Uuid()),
        _required("message_uuid", sa.Uuid()),
        _optional("json_object_id", ID),
        _optional("usage_id", ID),
        _required("raw_output_id", ID),
        _reference("processed_output", "json_object_id", "generated_json_object"),
        _reference("processed_output", "usage_id", "usage"),
        _reference("processed_output", "raw_output_id", "raw_output"),
    )
    _index("processed_output", "usage_id")
    _index("processed_output", "raw_output_id")


def _create_threads() -> None:
    _create_entity_table(
        "chat_thread",
        _optional("name", sa.Text()),
        _optional("new_message", sa.Text()),
        _required("prefill", sa.Text()),
        _required("postfill", sa.Text()),
        _required("use_schema_instruction", sa.Boolean()),
        _required("use_history", sa.Boolean()),
        _optional("workflow_step", sa.BigInteger()),
        _optional("system_prompt_id", ID),
        _required("llm_config_id", ID),
        _optional("forced_output_id", ID),
        _optional("history_seq", ID),
        _required("history_len", sa.Integer()),
        _optional("tools_seq", ID),
        _required("tools_len", sa.Integer()),
        _reference("chat_thread", "system_prompt_id", "system_prompt"),
        _reference("chat_thread", "llm_config_id", "llm_config"),
        _reference("chat_thread", "forced_output_id", "tool"),
    )


def _create_views(least: str) -> None:
    op.execute("""
        CREATE VIEW lineage_versions AS
        SELECT v.id, v.lineage_id, v.ecs_id, p.ecs_id AS parent_ecs_id, v.fork_no, k.name AS kind, k.revision,
               v.created_at, v.erased_at, c.id AS commit_id, c.author, c.note
        FROM entity_version v
        JOIN entity_kind k ON k.id = v.kind_id
        JOIN entity_commit c ON c.id = v.commit_id
        LEFT JOIN entity_version p ON p.id = v.parent_id""")
    op.execute(f"""
        CREATE VIEW thread_messages AS
        SELECT t.id AS thread_id, v.ecs_id AS thread_ecs_id, v.lineage_id AS thread_lineage_id,
               s.position + i.position - s.run_position AS position, i.child_id AS message_id, i.owner_id AS added_by
        FROM chat_thread t
        JOIN entity_version v ON v.id = t.id
        JOIN sequence_span s ON s.sequence_id = t.history_seq AND s.position < t.history_len
        JOIN run_item i ON i.run_id = s.run_id AND i.position >= s.run_position
                       AND i.position < s.run_position + {least}(s.length, t.history_len - s.position)""")
    sums = ", ".join(f"CAST(SUM(u.{name}) AS BIGINT) AS {name}" for name in _SUMMED)
    op.execute(f"""
        CREATE VIEW thread_usage AS
        SELECT m.thread_id, m.thread_ecs_id, m.thread_lineage_id, u.model, COUNT(*) AS replies, {sums}
        FROM thread_messages m
        JOIN chat_message c ON c.id = m.message_id
        JOIN usage u ON u.id = c.usage_id
        GROUP BY m.thread_id, m.thread_ecs_id, m.thread_lineage_id, u.model""")


_SUMMED = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "audio_tokens",
)


def _describe_database() -> None:
    info = sa.table("storage_info", sa.column("id"), sa.column("database_id", sa.Uuid()), sa.column("next_id"), sa.column("created_at"))
    sqlite = op.get_bind().dialect.name == "sqlite"
    now = sa.text("strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000+00:00'" if sqlite else "now()")
    op.execute(info.insert().values(id=1, database_id=uuid4(), next_id=1, created_at=now))
