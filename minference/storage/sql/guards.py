"""Triggers: rules that the database itself keeps, whoever writes to it.

Stored versions never change, but for what an erasure takes out of them; what was erased gets no new versions. Inserting costs
next to nothing more: one look into `erasure` for each version. They are no part of the revisions, because one that rebuilds a table
on SQLite would lose them: an upgrade takes all of them away before it begins, and sets them up again when it is done. Every opening
asks which there are, and adds what is missing.
Whoever moves rows from one table into another lets them rest for one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from sqlalchemy import Connection, inspect

from minference.storage.sql.dialects import ERASED_LINEAGE
from minference.storage.sql.mapping import quoted
from minference.storage.sql.migrations import PACKAGE_TABLES
from minference.storage.sql.schema import AnyEntity, Base
from minference.storage.sql.types import DialectName

EXISTING = {
    "sqlite": "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'guard%'",
    "postgresql": """
        SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE NOT t.tgisinternal AND t.tgname LIKE 'guard%' AND c.relnamespace = current_schema()::regnamespace""",
}
"""The guards that there are, with their tables."""

NAMES = {
    "sqlite": f"SELECT json_group_array(name) FROM ({EXISTING['sqlite']})",
    "postgresql": f"SELECT json_agg(tgname)::text FROM ({EXISTING['postgresql']}) g",
}
"""The names of the guards that there are, as one JSON array; NULL may stand for none."""

_DROP = {"sqlite": 'DROP TRIGGER "{name}"', "postgresql": 'DROP TRIGGER "{name}" ON "{table}"'}
_SAID = "stored versions never change"
_IDENTITY = "id, ecs_id, lineage_id, parent_id, fork_no, commit_id, created_at"
_FIXED = ("entity_commit", "entity_merge", "erasure", "run_item", "sequence_span")
"""Tables whose rows never change."""
_OWNED = ("entity_link", "entity_sequence")
_CONTENTS = (
    "attachment",
    "chat_message",
    "chat_thread",
    "entity_any",
    "generated_json_object",
    "llm_config",
    "processed_output",
    "raw_output",
    "system_prompt",
    "tool",
    "usage",
)
"""Tables of this package that hold the contents of versions, whether or not the program has imported their classes."""
_LONGEST = 63
"""Bytes of a name that PostgreSQL keeps."""
_MOVING = "minference.moving"
"""On PostgreSQL the setting of whoever moves rows."""

_FUNCTIONS = (
    f"""
    CREATE OR REPLACE FUNCTION guard_lineage() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM erasure e WHERE e.lineage_id = NEW.lineage_id) THEN
            RAISE EXCEPTION 'lineage % was erased', NEW.lineage_id USING ERRCODE = 'check_violation', CONSTRAINT = '{ERASED_LINEAGE}';
        END IF;
        RETURN NEW;
    END $$""",
    f"""
    CREATE OR REPLACE FUNCTION guard_rows() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE version bigint;
    BEGIN
        IF TG_NARGS = 1 THEN
            EXECUTE format('SELECT ($1).%I', TG_ARGV[0]) INTO version USING OLD;
            IF current_setting('{_MOVING}', true) = 'on'
                OR EXISTS (SELECT 1 FROM entity_version v WHERE v.id = version AND v.erased_at IS NOT NULL)
            THEN
                IF TG_OP = 'DELETE' THEN RETURN OLD; ELSE RETURN NEW; END IF;
            END IF;
        END IF;
        RAISE EXCEPTION '{_SAID}' USING ERRCODE = 'check_violation';
    END $$""",
)
"""What the triggers of PostgreSQL call."""


@dataclass(frozen=True, slots=True)
class _Guard:
    """One trigger. What it is for is refused, unless there is a condition that says otherwise."""

    name: str
    table: str
    event: str
    key: str | None = None
    """The column with the version whose content a row is: if that is erased, the row may change."""
    when: str = ""
    """A condition on OLD and NEW that both databases understand."""

    def sqlite(self) -> str:
        said, conditions = _SAID, [self.when] if self.when else []
        if self.event == "INSERT":
            said = ERASED_LINEAGE
            conditions.append("EXISTS (SELECT 1 FROM erasure e WHERE e.lineage_id = NEW.lineage_id)")
        if self.key is not None:
            conditions.append(f"NOT EXISTS (SELECT 1 FROM entity_version v WHERE v.id = OLD.{self.key} AND v.erased_at IS NOT NULL)")
        when = f"WHEN {' AND '.join(conditions)} " if conditions else ""
        return f"{self._head} {when}BEGIN SELECT RAISE(FAIL, '{said}'); END"

    def postgresql(self) -> str:
        argument = f"'{self.key}'" if self.key is not None else ""
        function = "guard_lineage()" if self.event == "INSERT" else f"guard_rows({argument})"
        when = f"WHEN ({self.when}) " if self.when else ""
        return f"{self._head} FOR EACH ROW {when}EXECUTE FUNCTION {function}"

    @property
    def _head(self) -> str:
        return f"CREATE TRIGGER {quoted(self.name)} BEFORE {self.event} ON {quoted(self.table)}"


def take_away_guards(connection: Connection) -> set[str]:
    """Nothing is guarded when this returns, for whoever changes rows on purpose and sets the guards up again. Returns what was guarded."""
    dialect = connection.dialect.name
    there = connection.exec_driver_sql(EXISTING[dialect]).all()
    for name, table in there:
        connection.exec_driver_sql(_DROP[dialect].format(name=name, table=table))
    return {table for _, table in there}


def set_up_guards(connection: Connection, before: Set[str] = frozenset()) -> None:
    """Every table that is there is guarded when this returns, as are those that were `before`: other programs declare them."""
    sqlite = connection.dialect.name == "sqlite"
    there = {name for name, _ in connection.exec_driver_sql(EXISTING[connection.dialect.name]).all()}
    for function in () if sqlite else _FUNCTIONS:
        connection.exec_driver_sql(function)
    for guard in _missing(set(inspect(connection).get_table_names()), there, before - PACKAGE_TABLES):
        connection.exec_driver_sql(guard.sqlite() if sqlite else guard.postgresql())


def before_moving(dialect: DialectName) -> list[str]:
    """Statements after which rows may be moved out of the table for any entity, until `after_moving` or the end of the transaction."""
    if dialect == "postgresql":
        return [f"SELECT set_config('{_MOVING}', 'on', true)"]
    return [f"DROP TRIGGER IF EXISTS {quoted(guard.name)}" for guard in _in_the_way()]


def after_moving(dialect: DialectName) -> list[str]:
    """Statements after which every guard is on duty again."""
    if dialect == "postgresql":
        return [f"SELECT set_config('{_MOVING}', 'off', true)"]
    return [guard.sqlite() for guard in _in_the_way()]


def _in_the_way() -> list[_Guard]:
    names = {"guard_kind", *(f"guard_delete_{table}" for table in (*_OWNED, AnyEntity.__tablename__))}
    return [guard for guard in _guards(Base.metadata.tables.keys()) if guard.name in names]


def missing_guards(tables: Set[str], there: Set[str]) -> list[str]:
    """The names of triggers that belong to those of these tables that are ours, and are not among those that are there."""
    return sorted(guard.name for guard in _missing(tables, there))


def _missing(tables: Set[str], there: Set[str], others: Set[str] = frozenset()) -> list[_Guard]:
    return [guard for guard in _guards(tables, others) if not {guard.name, _clipped(guard.name)} & there]


def _clipped(name: str) -> str:
    return name.encode()[:_LONGEST].decode(errors="ignore")


def _guards(tables: Set[str], others: Set[str] = frozenset()) -> Iterator[_Guard]:
    yield _Guard("guard_lineages", "entity_version", "INSERT", when="NEW.erased_at IS NULL")
    yield _Guard("guard_identity", "entity_version", f"UPDATE OF {_IDENTITY}")
    yield _Guard("guard_kind", "entity_version", "UPDATE OF kind_id", "id")
    yield _Guard("guard_erased", "entity_version", "UPDATE OF erased_at", when="OLD.erased_at IS NOT NULL")
    yield _Guard("guard_delete_entity_version", "entity_version", "DELETE")
    declared = {name for name, table in Base.metadata.tables.items() if "id" in table.c and table.c["id"].foreign_keys}
    contents = dict.fromkeys({*_CONTENTS, *declared, *others}, "id")
    keys: dict[str, str | None] = {**contents, **dict.fromkeys(_OWNED, "owner_id"), **dict.fromkeys(_FIXED)}
    for table, key in sorted(keys.items()):
        if table in tables:
            yield _Guard(f"guard_delete_{table}", table, "DELETE", key)
            yield _Guard(f"guard_update_{table}", table, "UPDATE", key)
