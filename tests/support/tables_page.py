"""The parts of docs/tables.md that follow from the code: a picture of the tables, and what each column means.

`python -m tests.support.tables_page` writes them into the page, between the lines `<!-- begin NAME -->` and `<!-- end NAME -->`.
A column means what the text under it says where it is declared, or under the field that it holds.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Column, ColumnElement, Table

import minference.threads.tables as thread_tables
from minference.ecs.entity import Entity, plan_of
from minference.storage.sql import schema, views
from minference.storage.sql.migrations import PACKAGE_TABLES
from minference.storage.sql.registered import mapping_for
from minference.storage.sql.schema import Base
from minference.storage.sql.tables import EntityTable
from minference.storage.sql.types import kind_of
from minference.storage.sql.views import View
from tests.support.generated import with_parts, write_anew
from tests.support.source import ROOT

PAGE = ROOT / "docs/tables.md"
WITHOUT_KEY = {("sequence_span", "run_id"): "run_item", ("entity_sequence", "sequence_id"): "sequence_span"}
"""Columns that name rows of another table, though no key says so: a sequence has several rows, a run as well."""


@cache
def declared(module: ModuleType) -> dict[str, tuple[str, dict[str, str]]]:
    """Class name to its first sentence, and to what stands under each of its attributes."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            pairs = zip(node.body, node.body[1:], strict=False)
            fields = ((each.target, after) for each, after in pairs if isinstance(each, ast.AnnAssign))
            texts = {target.id: _text(after) for target, after in fields if isinstance(target, ast.Name)}
            found[node.name] = (ast.get_docstring(node) or "", texts)
    return found


def _text(node: ast.stmt) -> str:
    """What a statement that is only a text says."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def models(table: Table) -> list[type[Any]]:
    """The classes that declare a table, bases first."""
    found = [mapper.class_ for mapper in Base.registry.mappers if mapper.local_table is table]
    return sorted(found, key=lambda each: (len(each.__mro__), each.__name__))


def summary(table: Table) -> str:
    """What a table holds."""
    [first, *_] = models(table)
    return declared(sys.modules[first.__module__])[first.__name__][0]


def meaning(column: Column[Any]) -> str:
    """What a column holds; empty if nobody says."""
    for model in models(column.table):
        attribute = model.__mapper__.get_property_by_column(column).key if column.key in model.__mapper__.columns else None
        text = declared(sys.modules[model.__module__])[model.__name__][1].get(attribute or column.name)
        if text:
            return text
    return _of_field(column) or _of_any(column)


def _of_field(column: Column[Any]) -> str:
    """What stands under the field that a column of a typed table holds."""
    for model in models(column.table):
        entity: type[Entity] | None = getattr(model, "__entity__", None)
        fields = {column_name: name for name, column_name in getattr(model, "__rename__", {}).items()}
        name = fields.get(column.name, re.sub(r"_id$", "", column.name) if column.foreign_keys else column.name)
        classes = [each for each in entity.__mro__ if issubclass(each, Entity)] if entity is not None else []
        if text := next((told for each in classes if (told := declared(sys.modules[each.__module__])[each.__name__][1].get(name))), ""):
            return text
    return ""


def _of_any(column: Column[Any]) -> str:
    """What columns of this name hold in every typed table."""
    if not any(issubclass(model, EntityTable) for model in models(column.table)):
        return ""
    ordered = {"_seq": "Where the ordered field `{}` is: its sequence", "_len": "How many members `{}` has"}
    if column.name == "id":
        return "Key of the version"
    if column.name == "extra":
        return "Fields of subclasses"
    for ending, text in ordered.items():
        if column.name.endswith(ending):
            return text.format(column.name.removesuffix(ending))
    return ""


def ours() -> list[Table]:
    """The tables of the package, those that others refer to first."""
    return [table for table in Base.metadata.sorted_tables if table.name in PACKAGE_TABLES]


def shared() -> list[Table]:
    """Those that every entity has a part in."""
    return [table for table in ours() if models(table)[0].__module__ == schema.__name__]


def typed() -> list[Table]:
    """Those of entity classes."""
    return [table for table in ours() if table not in shared()]


def all_views() -> list[type[View]]:
    """The views."""
    return [mapper.class_ for mapper in sorted(View.registry.mappers, key=lambda each: each.class_.__tablename__)]


def picture(tables: list[Table]) -> str:
    """A Mermaid diagram: keys and what they refer to. That a typed row has the key of its version is left out."""
    lines = ["```mermaid", "erDiagram"]
    for table in tables:
        lines.append(f"    {table.name} {{")
        lines.extend(f"        {_type(column)} {column.name}{_keys(column)}" for column in table.columns if _is_drawn(column))
        lines.append("    }")
    lines.extend(f"    {line}" for table in tables for line in _edges(table, {each.name for each in tables}))
    return "\n".join([*lines, "```"])


def _is_drawn(column: Column[Any]) -> bool:
    return (
        column.primary_key or bool(column.foreign_keys) or column.name.endswith("_seq") or (column.table.name, column.name) in WITHOUT_KEY
    )


def _keys(column: Column[Any]) -> str:
    keys = [*(["PK"] if column.primary_key else []), *(["FK"] if column.foreign_keys else [])]
    return f" {', '.join(keys)}" if keys else ""


def _lists(table: Table, drawn: set[str]) -> Iterator[str]:
    """From the tables of the members of ordered fields."""
    for model in models(table):
        entity: type[Entity] | None = getattr(model, "__entity__", None)
        for field in plan_of(entity).collections if entity is not None else ():
            for target in sorted({mapping_for(member).table.name for member in plan_of(entity).types[field.name]} & drawn):
                yield f"{target} }}o..o{{ {table.name} : {field.name}"


def _edges(table: Table, drawn: set[str]) -> Iterator[str]:
    for column in table.columns:
        for key in column.foreign_keys:
            target = key.column.table.name
            if target in drawn:
                one, many = ("|o" if column.nullable else "||"), ("o|" if column.primary_key and len(table.primary_key) == 1 else "o{")
                yield f"{target} {one}--{many} {table.name} : {column.name}"
        if (run := WITHOUT_KEY.get((table.name, column.name))) is not None and run in drawn:
            yield f"{run} }}o..o{{ {table.name} : {column.name}"
    yield from _lists(table, drawn)


def _type(column: ColumnElement[Any]) -> str:
    kind = kind_of(column.type)
    return kind.value if kind is not None else "other"


def listing(tables: list[Table]) -> str:
    """Every column of every table."""
    parts = []
    for table in sorted(tables, key=lambda each: each.name):
        rows = [f"| `{column.name}` | {_described(column)} | {meaning(column)} |" for column in table.columns]
        parts.append("\n".join([f"### {table.name}", "", summary(table), "", "| column | holds | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _described(column: Column[Any]) -> str:
    parts = [_type(column), *([f"→ `{key.column.table.name}`" for key in column.foreign_keys]), *(["or NULL"] if column.nullable else [])]
    return " ".join(parts)


def view_listing() -> str:
    """Every column of every view."""
    parts = []
    for view in all_views():
        text, columns = declared(sys.modules[view.__module__])[view.__name__]
        rows = [
            f"| `{column.name}` | {_type(column)}{' or NULL' if column.nullable else ''} | {columns.get(column.name, '')} |"
            for column in view.__table__.columns
        ]
        parts.append("\n".join([f"### {view.__tablename__}", "", text, "", "| column | holds | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def without_meaning() -> list[str]:
    """Columns of which nobody says what they hold."""
    columns = [f"{table.name}.{column.name}" for table in ours() for column in table.columns if not meaning(column)]
    for view in all_views():
        told = declared(sys.modules[view.__module__])[view.__name__][1]
        columns += [f"{view.__tablename__}.{column.name}" for column in view.__table__.columns if not told.get(column.name)]
    return columns


def filled(page: str) -> str:
    """The page with everything that follows from the code."""
    parts = {
        "shared picture": picture(shared()),
        "typed picture": picture(typed()),
        "views": view_listing(),
        "shared tables": listing(shared()),
        "typed tables": listing(typed()),
    }
    return with_parts(page, parts)


def main(path: Path = PAGE) -> None:
    """Write the page anew."""
    write_anew(path, filled)


if __name__ == "__main__":
    main()

_ = (thread_tables, views)
