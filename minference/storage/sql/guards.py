"""Triggers: rules that the database itself keeps, whoever writes to it.

They are no part of the revisions, because a revision that rebuilds a table on SQLite would lose them: an upgrade takes all
of them away before it begins, and sets them up again when it is done.
"""

from __future__ import annotations

from sqlalchemy import Connection

from minference.storage.sql.dialects import ERASED_LINEAGE

_EXISTING = {
    "sqlite": "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'guard%'",
    "postgresql": """
        SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE NOT t.tgisinternal AND t.tgname LIKE 'guard%' AND c.relnamespace = current_schema()::regnamespace""",
}
_DROP = {"sqlite": 'DROP TRIGGER "{name}"', "postgresql": 'DROP TRIGGER "{name}" ON "{table}"'}

_REFUSE_ERASED_LINEAGES = {
    "sqlite": (
        f"""
        CREATE TRIGGER guard_erased_lineages BEFORE INSERT ON entity_version
        WHEN NEW.erased_at IS NULL AND EXISTS (SELECT 1 FROM erasure e WHERE e.lineage_id = NEW.lineage_id)
        BEGIN SELECT RAISE(ABORT, '{ERASED_LINEAGE}'); END""",
    ),
    "postgresql": (
        f"""
        CREATE OR REPLACE FUNCTION guard_erased_lineages() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT 1 FROM erasure e WHERE e.lineage_id = NEW.lineage_id) THEN
                RAISE EXCEPTION 'lineage % was erased', NEW.lineage_id
                    USING ERRCODE = 'check_violation', CONSTRAINT = '{ERASED_LINEAGE}';
            END IF;
            RETURN NEW;
        END $$""",
        """
        CREATE TRIGGER guard_erased_lineages BEFORE INSERT ON entity_version
        FOR EACH ROW WHEN (NEW.erased_at IS NULL) EXECUTE FUNCTION guard_erased_lineages()""",
    ),
}


def take_away_guards(connection: Connection) -> None:
    """Nothing is guarded when this returns."""
    dialect = connection.dialect.name
    for name, table in connection.exec_driver_sql(_EXISTING[dialect]).all():
        connection.exec_driver_sql(_DROP[dialect].format(name=name, table=table))


def set_up_guards(connection: Connection) -> None:
    """Every table that is there is guarded when this returns."""
    take_away_guards(connection)
    for sql in _REFUSE_ERASED_LINEAGES[connection.dialect.name]:
        connection.exec_driver_sql(sql)
