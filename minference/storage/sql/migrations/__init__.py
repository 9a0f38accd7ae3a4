"""The history of the package's own tables, as alembic revisions. Importing this does not import alembic."""

VERSION_TABLE = "storage_revision"
"""Where the database keeps its revision; not alembic's usual name, so that an application may use alembic beside us."""

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010")
"""Every revision that this minference knows, oldest first."""

HEAD = REVISIONS[-1]

PACKAGE_TABLES = frozenset(
    {
        "attachment",
        "blob",
        "cached_reply",
        "chat_message",
        "chat_thread",
        "entity_any",
        "entity_blob",
        "entity_commit",
        "entity_kind",
        "entity_link",
        "entity_merge",
        "entity_sequence",
        "entity_version",
        "erasure",
        "generated_json_object",
        "llm_config",
        "processed_output",
        "raw_output",
        "run",
        "run_entry",
        "run_item",
        "sequence_span",
        "storage_info",
        "system_prompt",
        "tag",
        "tool",
        "usage",
    }
)
"""Tables that the revisions make. Tables that an application declares for its own entities are created when missing."""
