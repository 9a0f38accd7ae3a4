"""The tables that an application declares for its own entities: made, and brought up to what its classes need now.

A column is added where rows without it are sound: if it is nullable, has a server default, or is that of an ordered field,
which is empty then. A column that no class fills any more loses its NOT NULL, and keeps what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Column, Connection, MetaData, Table
from sqlalchemy.schema import CreateColumn

from minference.storage.sql.mapping import quoted
from minference.storage.sql.migrations import PACKAGE_TABLES
from minference.storage.sql.registered import fillers
from minference.storage.sql.schema import Base

_COLUMNS = {
    "sqlite": """
        SELECT t.name, c.name, c."notnull" = 0, c.dflt_value IS NOT NULL
        FROM sqlite_master t JOIN pragma_table_xinfo(t.name) c WHERE t.type = 'table' AND t.rootpage > 0 AND c.hidden <> 1""",
    "postgresql": """
        SELECT t.relname, c.attname, NOT c.attnotnull, c.atthasdef OR c.attidentity <> ''
        FROM pg_class t JOIN pg_attribute c ON c.attrelid = t.oid
        WHERE t.relkind IN ('r', 'p') AND t.relnamespace = current_schema()::regnamespace AND c.attnum > 0 AND NOT c.attisdropped""",
}
"""Each column that there is, with its table: whether it may be NULL, and whether the database fills it where nobody else does.

SQLAlchemy would tell more of them, with two statements for each table on SQLite, and this is asked at each opening.
"""


@dataclass(frozen=True, slots=True)
class _Present:
    """A column that is there."""

    nullable: bool
    filled: bool


@dataclass(slots=True)
class Work:
    """What is to be done so that the classes of the application can be stored."""

    create: list[Table] = field(default_factory=list)
    add: list[tuple[Table, Column[object]]] = field(default_factory=list)
    loosen: list[tuple[Table, str]] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)
    """What nobody but the application can decide, in words."""

    def __bool__(self) -> bool:
        return bool(self.create or self.add or self.loosen or self.impossible)

    def described(self) -> list[str]:
        """What is missing, in words."""
        found = [f"it lacks the table {name}" for name in sorted(table.name for table in self.create)]
        found += [f"table {table.name} lacks the column {column.name}" for table, column in self.add]
        found += [f"column {column} of table {table.name} is NOT NULL, and no class fills it" for table, column in self.loosen]
        return [*found, *self.impossible]


def work_for(connection: Connection) -> Work:
    """Compare the declared tables with those that are there. Reads only."""
    declared = [table for name, table in Base.metadata.tables.items() if name not in PACKAGE_TABLES]
    if not declared:
        return Work()
    present: dict[str, dict[str, _Present]] = {}
    for name, column, nullable, filled in connection.exec_driver_sql(_COLUMNS[connection.dialect.name]):
        present.setdefault(name, {})[column] = _Present(bool(nullable), bool(filled))
    work = Work(create=[table for table in declared if table.name not in present])
    for table in declared:
        if table.name in present:
            _compare(work, table, present[table.name])
    return work


def _compare(work: Work, table: Table, there: Mapping[str, _Present]) -> None:
    empty = fillers(table)
    for column in table.columns:
        if column.name in there:
            continue
        if column.nullable or column.server_default is not None or column.name in empty:
            work.add.append((table, column))
        else:
            work.impossible.append(
                f"table {table.name} lacks the column {column.name}, which is NOT NULL: give it a server_default for the rows "
                "that are there, mapped_column(..., server_default=...), or let the field be None"
            )
    for name, known in there.items():
        if name not in table.columns and not known.nullable and not known.filled:
            work.loosen.append((table, name))


def do(connection: Connection, work: Work) -> None:
    """Do it, but for what is impossible. To be undone if anything fails, and on SQLite with foreign keys off."""
    Base.metadata.create_all(connection, tables=work.create)
    for table in {table for table, _ in work.loosen}:
        _loosen(connection, table.name, [name for other, name in work.loosen if other is table])
    for table, column in work.add:
        connection.exec_driver_sql(f"ALTER TABLE {quoted(table.name)} ADD COLUMN {_definition(connection, column, fillers(table))}")
    for table in {table for table, _ in work.add}:
        added = {column.name for other, column in work.add if other is table}
        for index in table.indexes:
            if added & {column.name for column in index.columns}:
                index.create(connection, checkfirst=True)


def _definition(connection: Connection, column: Column[object], empty: Mapping[str, str]) -> str:
    text = str(CreateColumn(column).compile(dialect=connection.dialect))
    if column.name in empty and column.server_default is None:
        text += f" DEFAULT {empty[column.name]}"
    for key in column.foreign_keys:
        target = f"{quoted(key.column.table.name)} ({quoted(key.column.name)})"
        text += f" CONSTRAINT {quoted(f'fk_{column.table.name}_{column.name}')} REFERENCES {target} DEFERRABLE INITIALLY DEFERRED"
    return text


def _loosen(connection: Connection, name: str, columns: Iterable[str]) -> None:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    there = Table(name, MetaData(), autoload_with=connection)
    for key in there.foreign_key_constraints:
        # SQLite does not tell this of a key that came with an added column, and the table is made anew there.
        key.deferrable, key.initially = True, "DEFERRED"
    with Operations(MigrationContext.configure(connection)).batch_alter_table(name, copy_from=there) as batch:
        for column in columns:
            batch.alter_column(column, nullable=True)
